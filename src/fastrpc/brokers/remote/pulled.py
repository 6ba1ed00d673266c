"""Messages that callers pull by plain calls, each until it is settled or its lease ends."""

import asyncio
import secrets
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

__all__ = ["LONGEST_LEASE_SECONDS", "LONGEST_WAIT_SECONDS", "MOST_PULLED", "PulledMessages"]

#: Longest wait of a pull, in seconds. The least one is for a broker that reads from a disk.
LONGEST_WAIT_SECONDS: Final = 60.0
_LEAST_WAIT_SECONDS: Final = 0.05

#: Bounds of the seconds of a lease.
_LEAST_LEASE_SECONDS: Final = 1.0
LONGEST_LEASE_SECONDS: Final = 43_200.0

#: Most messages of one pull, and of all pulls together that are not settled.
_MOST_AT_ONCE: Final = 1_000
MOST_PULLED: Final = 100_000

#: Bytes of the messages of one pull, about; the others are handed back.
_PULLED_BYTES: Final = 4 * 1024 * 1024


@dataclass(slots=True, eq=False)
class _Pull:
    """The membership of one call of `pull`, which lasts as long as one of its messages is under way."""

    membership: Membership
    left: int = 0


@dataclass(slots=True, eq=False)
class _Lease:
    pull: _Pull
    token: Any
    owner: str | None
    timer: asyncio.TimerHandle = field(repr=False)


class PulledMessages:
    """Leases of messages, by their tokens.

    A lease that ends gives its message back, counted: it is delivered again at once, with the next number. So a message
    whose answer was lost on its way comes again after its lease. A restart of the broker forgets all leases.
    """

    def __init__(self) -> None:
        self._leases: dict[str, _Lease] = {}
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
            seconds: of the wait for a first message, and of the lease.
            owner: the caller, who alone may settle them.
            drain: ends the wait.

        Raises:
            ConfigError: an argument is out of bounds, or the group has another pattern or order.
            BrokerError: RESOURCE_EXHAUSTED: too many pulled messages are not settled.
        """
        wait, lease = seconds
        _check_most(most)
        _check_lease(lease)
        check_pause(wait)
        if len(self._leases) + most > MOST_PULLED:
            raise BrokerError(
                f"{len(self._leases)} pulled messages are not settled, the limit is {MOST_PULLED}",
                status=Status.RESOURCE_EXHAUSTED,
                processed="no",
                retry_after=1.0,
            )
        pull = _Pull(await backend.join(settings))
        try:
            limit = min(max(wait, _LEAST_WAIT_SECONDS), LONGEST_WAIT_SECONDS)
            found = await _taken_at_once(pull.membership, most, limit, drain)
            return [
                PulledMessage(self._lease(pull, one.token, owner, lease), delivered(0, one)) for one in found
            ]
        finally:
            if not pull.left:
                await pull.membership.close()

    async def settle(self, settlements: Sequence[PulledSettlement], owner: str | None) -> list[bool]:
        """Settle or renew messages; False: the lease has ended, or it is not the owner's.

        Raises:
            ConfigError: a number is out of bounds; nothing is settled.
        """
        for one in settlements:
            check_pause(one.delay)
            _check_lease(one.lease_seconds)
        return list(await asyncio.gather(*(self._settled(one, owner) for one in settlements)))

    async def close(self) -> None:
        """Forget all leases."""
        for lease in self._leases.values():
            lease.timer.cancel()
        self._leases.clear()
        while self._ending:
            await asyncio.wait(self._ending)

    async def _settled(self, one: PulledSettlement, owner: str | None) -> bool:
        lease = self._leases.get(one.token)
        if lease is None or lease.owner != owner:
            return False
        lease.timer.cancel()
        if one.verb == "renew":
            lease.timer = self._timer(one.token, one.lease_seconds)
            return not lease.pull.membership.is_lost(lease.token)
        del self._leases[one.token]
        try:
            return await ended(lease.pull.membership, lease.token, one)
        finally:
            await self._release(lease.pull)

    def _lease(self, pull: _Pull, token: Any, owner: str | None, seconds: float) -> str:
        name = secrets.token_urlsafe(16)
        pull.left += 1
        self._leases[name] = _Lease(pull, token, owner, self._timer(name, seconds))
        return name

    def _timer(self, name: str, seconds: float) -> asyncio.TimerHandle:
        # Not in the context of the caller, which the timer would keep.
        return asyncio.get_running_loop().call_later(seconds, self._expire, name, context=Context())

    def _expire(self, name: str) -> None:
        lease = self._leases.pop(name)
        task = asyncio.ensure_future(self._give_back(lease))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _give_back(self, lease: _Lease) -> None:
        # A broker that cannot keep it delivers the message again as the member leaves.
        with suppress(BrokerError):
            await lease.pull.membership.nack(lease.token, 0.0)
        await self._release(lease.pull)

    async def _release(self, pull: _Pull) -> None:
        pull.left -= 1
        if not pull.left:
            await pull.membership.close()


async def _taken_at_once(
    membership: Membership, most: int, seconds: float, drain: asyncio.Future[None]
) -> Sequence[Delivery]:
    """Return messages for one answer; none is under way by a call that is cancelled."""
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
        # A broker that cannot hand them back delivers them as the member leaves.
        with suppress(BrokerError):
            await hand_back(membership, found)
        raise
    return found[:count]


def _check_most(most: int) -> None:
    if not 1 <= most <= _MOST_AT_ONCE:
        raise ConfigError(f"most is {shown(most)}, it must be from 1 to {_MOST_AT_ONCE}")


def _check_lease(seconds: float) -> None:
    if not _LEAST_LEASE_SECONDS <= seconds <= LONGEST_LEASE_SECONDS:
        raise ConfigError(
            f"lease_seconds is {shown(seconds)}, it must be from {_LEAST_LEASE_SECONDS:g} to {LONGEST_LEASE_SECONDS:g}"
        )
