"""Messages that callers pull by unary calls. Each is held until it is settled or its lease expires."""

import asyncio
import secrets
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass, field
from typing import Any, Final

from fastrpc.brokers.base import BrokerBackend, Delivery, GroupSettings, Membership
from fastrpc.brokers.base.checks import check_pause
from fastrpc.brokers.base.seconds import shown
from fastrpc.brokers.remote.messages import PulledMessage, PulledSettlement, delivered, weight
from fastrpc.brokers.remote.taking import ended, hand_back, taken
from fastrpc.errors import BrokerError, ConfigError
from fastrpc.status import Status
from fastrpc.together import together

__all__ = ["LONGEST_LEASE_SECONDS", "LONGEST_WAIT_SECONDS", "MOST_OF_OWNER", "MOST_PULLED", "PulledMessages"]

#: The longest and the shortest wait of a pull, in seconds. A broker may need the shortest wait to read from a disk.
LONGEST_WAIT_SECONDS: Final = 60.0
_LEAST_WAIT_SECONDS: Final = 0.05

#: The shortest and the longest lease, in seconds.
_LEAST_LEASE_SECONDS: Final = 1.0
LONGEST_LEASE_SECONDS: Final = 43_200.0

#: _MOST_AT_ONCE: the most messages of one pull. MOST_OF_OWNER: the most unsettled pulled messages of one identity.
#: MOST_PULLED: the most in total.
_MOST_AT_ONCE: Final = 1_000
MOST_OF_OWNER: Final = 50_000
MOST_PULLED: Final = 100_000

#: Approximate limit of the bytes of one pull; messages beyond it are handed back.
_PULLED_BYTES: Final = 4 * 1024 * 1024


@dataclass(slots=True, eq=False)
class _Pull:
    """The membership of one call of `pull`. It ends when none of its messages is under way."""

    membership: Membership
    left: int = 0


@dataclass(slots=True, eq=False)
class _Lease:
    pull: _Pull
    token: Any
    owner: str | None
    seconds: float = field(init=False)
    timer: asyncio.TimerHandle = field(init=False, repr=False)


class _Places:
    """Limits the messages that are pulled or reserved by waiting calls."""

    def __init__(self) -> None:
        self._used = 0
        # The used places of each owner.
        self._used_of: Counter[str] = Counter()

    def reserve(self, owner: str | None, most: int) -> int:
        """Reserve as many places as are free, at most `most`; return their number.

        Raises:
            BrokerError: RESOURCE_EXHAUSTED: no place is free.
        """
        if owner is not None:
            used = self._used_of[owner]
            most = _left(
                most, used, MOST_OF_OWNER, f"{owner} has {used} pulled messages that are not settled"
            )
        most = _left(most, self._used, MOST_PULLED, f"{self._used} pulled messages are not settled")
        self._used += most
        if owner is not None:
            self._used_of[owner] += most
        return most

    def free(self, owner: str | None, count: int) -> None:
        """Give places back."""
        self._used -= count
        if owner is not None:
            self._used_of[owner] -= count
            if not self._used_of[owner]:
                del self._used_of[owner]


class PulledMessages:
    """The leases of pulled messages, by their tokens.

    When a lease expires, its message is delivered again immediately, with the next delivery number. This includes
    messages whose answer was lost in transit. A restart of the broker forgets all leases.
    """

    def __init__(self) -> None:
        self._leases: dict[str, _Lease] = {}
        self._places = _Places()
        self._ending: set[asyncio.Task[Any]] = set()

    async def pull(
        self,
        backend: BrokerBackend,
        settings: GroupSettings,
        most: int,
        seconds: tuple[float, float],
        owner: str | None,
        drain: asyncio.Future[None],
    ) -> list[PulledMessage]:
        """Take messages as a member of a group.

        Args:
            seconds: the longest wait for a first message, then the length of the lease.
            owner: the caller; only this identity may settle the messages.
            drain: ends the wait when it is done.

        Raises:
            ConfigError: an argument is out of bounds, or the group has another pattern or order.
            BrokerError: RESOURCE_EXHAUSTED: too many pulled messages are unsettled.
        """
        wait, lease = seconds
        _check_most(most)
        _check_lease(lease)
        check_pause(wait)
        # Reserve before the wait, since any number of calls may wait.
        most = left = self._places.reserve(owner, most)
        try:
            found = await self._pulled(await backend.join(settings), most, seconds, owner, drain)
            left -= len(found)
            return found
        finally:
            self._places.free(owner, left)

    async def settle(self, settlements: Sequence[PulledSettlement], owner: str | None) -> list[bool]:
        """Settle or renew messages; return for each False if the lease has expired or belongs to another owner.

        Raises:
            ConfigError: a number is out of bounds; nothing is settled.
        """
        for one in settlements:
            check_pause(one.delay)
            _check_lease(one.lease_seconds)
        return await together(self._settled(one, owner) for one in settlements)

    async def close(self) -> None:
        """Forget all leases."""
        for lease in self._leases.values():
            lease.timer.cancel()
            self._places.free(lease.owner, 1)
        self._leases.clear()
        while self._ending:
            await asyncio.wait(self._ending)

    async def _pulled(
        self,
        membership: Membership,
        most: int,
        seconds: tuple[float, float],
        owner: str | None,
        drain: asyncio.Future[None],
    ) -> list[PulledMessage]:
        pull = _Pull(membership)
        wait, lease = seconds
        try:
            limit = min(max(wait, _LEAST_WAIT_SECONDS), LONGEST_WAIT_SECONDS)
            found = await _taken_at_once(membership, most, limit, drain)
            return [
                PulledMessage(self._lease(pull, one.token, owner, lease), delivered(0, one)) for one in found
            ]
        finally:
            if not pull.left:
                await membership.close()

    async def _settled(self, one: PulledSettlement, owner: str | None) -> bool:
        lease = self._leases.get(one.token)
        if lease is None or lease.owner != owner:
            return False
        lease.timer.cancel()
        if one.verb == "renew":
            self._begin(one.token, lease, one.lease_seconds)
            return not lease.pull.membership.is_lost(lease.token)
        del self._leases[one.token]
        try:
            is_ours = await ended(lease.pull.membership, lease.token, one)
        except BaseException:
            # The message may still be under way. Keep the lease, so that the caller can try again.
            self._begin(one.token, lease, lease.seconds)
            raise
        await self._release(lease)
        return is_ours

    def _lease(self, pull: _Pull, token: Any, owner: str | None, seconds: float) -> str:
        name = secrets.token_urlsafe(16)
        pull.left += 1
        self._begin(name, _Lease(pull, token, owner), seconds)
        return name

    def _begin(self, name: str, lease: _Lease, seconds: float) -> None:
        """Start a lease that lasts some seconds from now."""
        lease.seconds = seconds
        # In an empty context: the timer would keep the caller's context alive.
        lease.timer = asyncio.get_running_loop().call_later(seconds, self._expire, name, context=Context())
        self._leases[name] = lease

    def _expire(self, name: str) -> None:
        lease = self._leases.pop(name)
        task = asyncio.ensure_future(self._give_back(lease))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _give_back(self, lease: _Lease) -> None:
        # If the broker cannot settle it, the message is delivered again when the member leaves.
        with suppress(BrokerError):
            await lease.pull.membership.nack(lease.token, 0.0)
        await self._release(lease)

    async def _release(self, lease: _Lease) -> None:
        self._places.free(lease.owner, 1)
        lease.pull.left -= 1
        if not lease.pull.left:
            await lease.pull.membership.close()


async def _taken_at_once(
    membership: Membership, most: int, seconds: float, drain: asyncio.Future[None]
) -> Sequence[Delivery]:
    """Take messages for one answer. If the call is cancelled, hand its messages back."""
    found = await taken(membership, most, seconds, drain)
    size, count = 0, 0
    for one in found:
        size += weight(one)
        if count and size > _PULLED_BYTES:
            break
        count += 1
    try:
        await hand_back(membership, found[count:])
    except asyncio.CancelledError:
        # If this fails, the messages are delivered again when the member leaves.
        with suppress(BrokerError):
            await hand_back(membership, found)
        raise
    return found[:count]


def _left(most: int, used: int, limit: int, text: str) -> int:
    """Return the number of places that are free below a limit, at most `most`."""
    if used >= limit:
        raise BrokerError(
            f"{text}, the limit is {limit}", status=Status.RESOURCE_EXHAUSTED, processed="no", retry_after=1.0
        )
    return min(most, limit - used)


def _check_most(most: int) -> None:
    if not 1 <= most <= _MOST_AT_ONCE:
        raise ConfigError(f"most is {shown(most)}, it must be from 1 to {_MOST_AT_ONCE}")


def _check_lease(seconds: float) -> None:
    if not _LEAST_LEASE_SECONDS <= seconds <= LONGEST_LEASE_SECONDS:
        raise ConfigError(
            f"lease_seconds is {shown(seconds)}, it must be from {_LEAST_LEASE_SECONDS:g} to {LONGEST_LEASE_SECONDS:g}"
        )
