"""Take messages for callers: in batches of limited size, for a limited time."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final

from fastrpc.brokers.base import Delivery, Membership
from fastrpc.brokers.remote.messages import DeliveredMessage, delivered, weights_of
from fastrpc.errors import BrokerError
from fastrpc.server.wakeup import ended_by_drain
from fastrpc.together import together

__all__ = ["BATCH_BYTES", "BatchSize", "ended", "followed", "hand_back", "taken"]

#: The most messages of the first batch (_FIRST_BATCH), and of any later batch (_LARGEST_BATCH).
_FIRST_BATCH: Final = 8
_LARGEST_BATCH: Final = 512

#: Approximate bytes of a batch.
BATCH_BYTES: Final = 1024 * 1024


class BatchSize:
    """The most messages of the next batch, chosen so that a batch has about a megabyte."""

    def __init__(self) -> None:
        self.messages = _FIRST_BATCH

    def note(self, weights: Sequence[int]) -> None:
        """Adapt the number to a batch whose messages have these bytes."""
        size = sum(weights) // len(weights) + 1
        self.messages = max(1, min(BATCH_BYTES // size, 2 * self.messages, _LARGEST_BATCH))


async def taken(
    membership: Membership, most: int, seconds: float | None, drain: asyncio.Future[None]
) -> Sequence[Delivery]:
    """Take messages; return an empty list after `seconds`, or once the connection drains.

    A cancelled call puts no message under way.
    """
    taking = asyncio.ensure_future(membership.take(most))
    waited: list[asyncio.Future[Any]] = [taking, drain]
    try:
        await asyncio.wait(waited, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        # If this fails, the messages are delivered again when the member leaves.
        with suppress(BrokerError):
            await hand_back(membership, await _withdrawn(taking))
        raise
    return await _withdrawn(taking)


async def _withdrawn(taking: asyncio.Future[Sequence[Delivery]]) -> Sequence[Delivery]:
    """Cancel a take; return the messages that it had got by then."""
    if not taking.done():
        taking.cancel()
        await asyncio.wait([taking])
    return () if taking.cancelled() else taking.result()


async def followed(
    membership: Membership, check: Callable[[], None], drain: asyncio.Future[None]
) -> AsyncGenerator[DeliveredMessage, None]:
    """Yield messages until the connection drains; then leave the group.

    A message is acknowledged once the reader asks for the next message.

    Args:
        check: raises an error if the caller's right has ended.
    """
    size = BatchSize()
    waiting: deque[Delivery] = deque()
    sent: list[Any] = []
    try:
        while found := await taken(membership, size.messages, None, drain):
            size.note(weights_of(found))
            waiting.extend(found)
            check()
            while waiting:
                yield delivered(0, waiting[0])
                sent.append(waiting.popleft().token)
            await _acknowledge(membership, sent)
        raise ended_by_drain()
    finally:
        try:
            await _acknowledge(membership, sent)
            await hand_back(membership, waiting)
        finally:
            await membership.close()


async def hand_back(membership: Membership, messages: Iterable[Delivery]) -> None:
    """Hand back messages, so that others get them immediately; skip messages that were handed back before."""
    await together(membership.hand_back(one.token) for one in messages)


async def ended(membership: Membership, token: Any, end: Any) -> bool:
    """Settle a message by the verb of a settlement. The verb is not `renew`."""
    if end.verb == "ack":
        return await membership.ack(token)
    if end.verb == "nack":
        return await membership.nack(token, end.delay)
    if end.verb == "reject":
        return await membership.reject(token, end.reason, end.error)
    return await membership.hand_back(token)


async def _acknowledge(membership: Membership, tokens: list[Any]) -> None:
    """Acknowledge messages, and clear the list."""
    acks = [membership.ack(token) for token in tokens]
    tokens.clear()
    await together(acks)
