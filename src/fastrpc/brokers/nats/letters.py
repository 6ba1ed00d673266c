"""Dead letters: each group has a stream for its dead letters, with one subject per dead letter."""

import logging
from collections.abc import Sequence
from typing import Final

from nats.aio.msg import Msg
from nats.errors import NoRespondersError

from fastrpc.brokers.base import DeadLetter, Delivery
from fastrpc.brokers.nats.groups import ConsumerGroup
from fastrpc.brokers.nats.link import JetStreamLink
from fastrpc.brokers.nats.messages import (
    MESSAGE_ID,
    DeliveryNumbers,
    at_nanoseconds,
    dead_headers,
    letter_in,
    replay_headers,
)
from fastrpc.errors import BrokerError, DecodeError
from fastrpc.status import Status

__all__ = ["LetterStreams"]

logger = logging.getLogger("fastrpc.broker")

#: The end of a consumer's pause that means that the group is stopped.
_STOPPED_UNTIL: Final = "2200-01-01T00:00:00Z"


class LetterStreams:
    """The dead letters of groups."""

    def __init__(self, link: JetStreamLink) -> None:
        self._link = link

    async def keep(
        self, group: ConsumerGroup, message: Msg, delivery: Delivery, reason: str, error: str
    ) -> None:
        """Store a dead letter under a fixed id: a second letter of the same message replaces it."""
        assert group.name is not None
        fixed = DeliveryNumbers.of(message)
        subject = self._link.names.dead(group.name, str(fixed.sequence), delivery.id)
        headers = dead_headers(message, delivery, reason, error)
        headers[MESSAGE_ID] = f"{fixed.sequence}-{fixed.nanoseconds}"
        try:
            await self._link.kept(subject, message.data, headers)
        except NoRespondersError as failure:
            raise BrokerError(
                f"the group {group.name} was removed", status=Status.NOT_FOUND, processed="no"
            ) from failure
        if await self._is_full(group):
            await self._link.api(f"CONSUMER.PAUSE.{group.place}", pause_until=_STOPPED_UNTIL)
            logger.error(
                "the group %s stops: its dead letters fill max_bytes of %s; replay or discard some",
                group.name,
                group.topic,
            )

    async def all(self, group: ConsumerGroup) -> Sequence[DeadLetter]:
        """Return the dead letters of a group, the oldest death first."""
        return [letter for _, letter in await self._read(group)]

    async def replay(self, group: ConsumerGroup, ids: Sequence[str]) -> int:
        """Redeliver the dead letters with these ids, or all, to the group."""
        assert group.name is not None
        count = 0
        for message, letter in await self._read(group):
            if ids and letter.id not in ids:
                continue
            fixed = DeliveryNumbers.of(message)
            headers = replay_headers(message, letter, f"{group.name}-{fixed.sequence}-{fixed.nanoseconds}")
            await self._link.kept(self._link.names.again(group.topic, group.name), message.data, headers)
            await self._link.find(
                f"STREAM.MSG.DELETE.{self._stream(group)}", seq=fixed.sequence, no_erase=True
            )
            count += 1
        await self._go_on(group)
        return count

    async def discard(self, group: ConsumerGroup, ids: Sequence[str]) -> int:
        """Discard the dead letters with these ids, or all if no id is given."""
        assert group.name is not None
        verb, count = f"STREAM.PURGE.{self._stream(group)}", 0
        for subject in [self._link.names.dead(group.name, id=id) for id in ids or (None,)]:
            count += (await self._link.api(verb, filter=subject))["purged"]
        await self._go_on(group)
        return count

    async def _go_on(self, group: ConsumerGroup) -> None:
        """Resume a stopped group if its dead letters have room again."""
        if not await self._is_full(group):
            await self._link.find(f"CONSUMER.PAUSE.{group.place}")

    async def _is_full(self, group: ConsumerGroup) -> bool:
        topic = await self._link.api(f"STREAM.INFO.{group.stream}")
        letters = await self._link.api(f"STREAM.INFO.{self._stream(group)}")
        return bool(letters["state"]["bytes"] >= topic["config"]["max_bytes"])

    async def _read(self, group: ConsumerGroup) -> list[tuple[Msg, DeadLetter]]:
        found: list[tuple[Msg, DeadLetter]] = []
        for message in await self._link.read(self._stream(group)):
            died_at = at_nanoseconds(DeliveryNumbers.of(message).nanoseconds)
            try:
                found.append((message, letter_in(message, died_at)))
            except DecodeError as error:
                logger.warning(
                    "the stream %s has a message of another program at %s that is not a dead letter: %s",
                    self._stream(group),
                    message.subject,
                    error,
                )
        return found

    def _stream(self, group: ConsumerGroup) -> str:
        assert group.name is not None
        return self._link.names.dead_stream(group.name)
