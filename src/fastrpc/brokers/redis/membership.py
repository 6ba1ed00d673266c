"""One member of a group. It takes messages under leases, renews the leases, and settles the messages."""

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from redis import exceptions

from fastrpc.brokers.base import Delivery, GroupSettings, TopicSettings
from fastrpc.brokers.base.checks import check_pause
from fastrpc.brokers.local.counts import TopicCounts
from fastrpc.brokers.redis.bells import TopicBell
from fastrpc.brokers.redis.entries import Fields, delivery_of, fields_of
from fastrpc.brokers.redis.keys import milliseconds
from fastrpc.brokers.redis.link import ANSWER_ROOM, RedisLink
from fastrpc.brokers.redis.member_scripts import ACK, LEAVE, NACK, REJECT, RENEW, STOP_WAITING, TAKE
from fastrpc.errors import BrokerError, FastRPCError, copied_error
from fastrpc.registries.redis.server import Word
from fastrpc.status import Status

__all__ = ["GroupOwner", "HeldMessage", "RedisMembership", "left", "stop_waiting"]

#: Numbers in answers of the script `TAKE`. _REMOVED: the group was removed. _FULL: there may be more messages now.
_REMOVED: Final = -1
_FULL: Final = -2

#: The fields of an entry that are not part of a message.
_OWN_FIELDS: Final = {b"n", b"entry"}


class GroupOwner(Protocol):
    """The part of the broker that its memberships use."""

    link: RedisLink

    #: The length of a lease in seconds.
    lease: float

    #: The channel whose messages wake the takes of this process.
    channel: str

    #: The counters of messages that this process published and settled, by topic.
    counts: defaultdict[str, TopicCounts]

    async def restore(self, topic: TopicSettings, group: GroupSettings, member: str) -> bytes:
        """Create a group again that the server has lost; return its epoch."""

    def report(self, topic: TopicSettings, reports: Sequence[Sequence[Any]]) -> None:
        """Log events for operators, and count lost messages."""

    def forget(self, membership: Any) -> None:
        """Stop renewing the leases of a membership."""


@dataclass(slots=True, eq=False)
class HeldMessage:
    """The token of a delivery."""

    #: `entry`: the entry id. `stream`: the stream of the entry: "log" or "replays".
    entry: bytes
    stream: str

    #: The id of the message's entry in the log; a replay has another entry.
    origin: bytes
    fields: Fields
    epoch: bytes

    #: The instant at which its lease ends, by this process's clock.
    until: float
    is_lost: bool = False

    #: True once a verb has started to settle the message.
    is_claimed: bool = False

    #: True if the outcome of an attempt to settle the message is unknown.
    may_be_settled: bool = False


class RedisMembership:
    """A member of a group. Its name is the name of its consumer in the stream's group."""

    def __init__(
        self,
        owner: GroupOwner,
        topic: TopicSettings,
        key: str,
        group: GroupSettings,
        member: str,
        epoch: bytes,
    ) -> None:
        self.key, self.group, self.name = key, group, member
        #: Rung when the group may have messages.
        self.bell = TopicBell()
        self._owner = owner
        self._topic = topic
        self._counts = owner.counts[topic.name]
        self._group_name = group.name or ""
        self._epoch = epoch
        self._held: dict[tuple[str, bytes], HeldMessage] = {}
        # The number of takes in progress.
        self._takes = 0
        # The pending answers of takes.
        self._asking: set[asyncio.Future[Any]] = set()
        # Messages that are acknowledged in this iteration of the loop.
        self._acks: list[tuple[HeldMessage, asyncio.Future[int]]] = []
        # After an answer that was not full: the bell's count before the request, and the instant of the next poll.
        self._idle: tuple[int, float] | None = None
        self._has_left = False

    @property
    def is_taking(self) -> bool:
        """True if a take will request messages once the bell rings."""
        return self._takes > 0

    async def take(self, most: int) -> Sequence[Delivery]:
        """Wait for messages, and return at least one."""
        self._takes += 1
        try:
            return await self._take(most)
        except asyncio.CancelledError:
            if self._takes == 1 and not self._has_left:
                # The member may have been woken for a message that it will not take: another member has to be woken.
                stop_waiting(self._owner.link, self.key, self._group_name, self.name)
            raise
        finally:
            self._takes -= 1

    async def _take(self, most: int) -> Sequence[Delivery]:
        while True:
            if self._has_left:
                raise left()
            if self._idle is not None:
                (rang, until), self._idle = self._idle, None
                await self.bell.wait(rang, max(until - time.monotonic(), 0.0))
                continue
            rang = self.bell.count
            wait, found = await self._claim(most)
            if self._has_left:
                raise left()
            if wait is not None:
                self._idle = rang, time.monotonic() + wait
            if found:
                return found

    async def _claim(self, most: int) -> tuple[float | None, list[Delivery]]:
        """Return the seconds until the group may have more messages, None for immediately, and the claimed messages."""
        until = time.monotonic() + self._owner.lease
        lease, channel = milliseconds(self._owner.lease), self._owner.channel
        answer = self._run(list, TAKE, self.name, most, lease, channel, ANSWER_ROOM)
        self._asking.add(answer)
        answer.add_done_callback(self._asking.discard)
        try:
            told = await asyncio.shield(answer)
        except asyncio.CancelledError:
            answer.add_done_callback(lambda done: self._return(done, until))
            raise
        if len(told) == 1:
            self.lose_all()
            if told[0] == _REMOVED:
                raise BrokerError(
                    f"the group {self._group_name} was removed", status=Status.NOT_FOUND, processed="no"
                )
            self._epoch = await self._owner.restore(self._topic, self.group, self.name)
            return None, []
        found = self._started(told, until)
        # After a full answer request again immediately, as more messages may wait. Otherwise poll at intervals, as the
        # bell may miss an event.
        is_full = told[1] == _FULL
        longest = self._owner.lease / 3
        return None if is_full else longest if told[1] < 0 else min(told[1] / 1000, longest), found

    def _started(self, told: Sequence[Any], until: float) -> list[Delivery]:
        epoch, _, reports, found = told
        if epoch != self._epoch:
            self.lose_all()
            self._epoch = epoch
        if reports:
            self._owner.report(self._topic, reports)
        return [self._delivery(one, until) for one in found]

    def _delivery(self, told: Sequence[Any], until: float) -> Delivery:
        entry, words, number, is_replay = told
        fields = fields_of(words)
        origin = fields.get(b"entry", entry) if is_replay else entry
        stream = "replays" if is_replay else "log"
        token = HeldMessage(entry, stream, origin, fields, self._epoch, until)
        earlier = self._held.get((stream, entry))
        if earlier is not None:
            # The lease of the earlier delivery had expired.
            earlier.is_lost = True
        self._held[stream, entry] = token
        return delivery_of(self._topic.name, origin, fields, number, token)

    def _return(self, answer: "asyncio.Future[Any]", until: float) -> None:
        """Hand back the messages of a take that was cancelled."""
        if answer.exception() is None and isinstance(answer.result(), list):
            for one in self._started(answer.result(), until):
                token = one.token
                token.is_claimed = True
                self._held.pop((token.stream, token.entry), None)
                # If this fails, or the broker is closed, the lease expires.
                with contextlib.suppress(BrokerError):
                    self._settle_by(NACK, token, 0, -1).add_done_callback(_leave_to_lease)

    # The end of a delivery

    def is_lost(self, token: HeldMessage) -> bool:
        """Return whether another member may already have the message."""
        if not token.is_lost and not token.is_claimed and time.monotonic() >= token.until:
            # This is final, as the lease is no longer renewed.
            self._lose(token)
        return token.is_lost

    async def ack(self, token: HeldMessage) -> bool:
        """Settle a message."""
        is_ours = await self._settle(token, self._ack)
        self._counts.acked += is_ours
        return is_ours

    async def ack_many(self, tokens: Sequence[HeldMessage]) -> Sequence[bool]:
        """Settle messages as handled, with one command per stream."""
        ours = [token for token in tokens if self._may_settle(token)]
        try:
            # `_ack` returns futures, so `gather` creates no tasks.
            outcomes = await asyncio.gather(*map(self._ack, ours), return_exceptions=True)
        except BaseException as error:
            for token in ours:
                self._note_fault(token, error)
            raise
        failure: BaseException | None = None
        settled: dict[int, bool] = {}
        for token, outcome in zip(ours, outcomes, strict=True):
            if isinstance(outcome, BaseException):
                self._note_fault(token, outcome)
                failure = failure or outcome
            else:
                settled[id(token)] = self._note_end(token, outcome)
        self._counts.acked += sum(settled.values())
        if failure is not None:
            raise failure
        return [settled.pop(id(token), False) for token in tokens]

    async def nack(self, token: HeldMessage, delay: float) -> bool:
        """Deliver a message again after `delay` seconds. The current delivery counts."""
        check_pause(delay)
        # The pause is rounded up, so that no message is delivered early.
        pause = milliseconds(delay) if delay else 0
        is_ours = await self._again(token, pause, 0)
        self._counts.retried += is_ours
        return is_ours

    async def reject(self, token: HeldMessage, reason: str, error: str) -> bool:
        """Make a message a dead letter of the group."""
        words = [word for pair in token.fields.items() if pair[0] not in _OWN_FIELDS for word in pair]
        texts = [text.encode(errors="replace") for text in (reason, error)]
        is_ours = await self._settle(
            token, lambda one: self._settle_by(REJECT, one, one.origin, *texts, *words)
        )
        self._counts.dead += is_ours
        return is_ours

    async def hand_back(self, token: HeldMessage) -> bool:
        """Deliver a message again immediately. The current delivery does not count."""
        return await self._again(token, 0, -1)

    async def _again(self, token: HeldMessage, pause: int, added: int) -> bool:
        is_ours = await self._settle(token, lambda one: self._settle_by(NACK, one, pause, added))
        # A take of this member may get the message again.
        self.bell.ring()
        return is_ours

    async def _settle(self, token: HeldMessage, ask: Callable[[HeldMessage], "asyncio.Future[int]"]) -> bool:
        if not self._may_settle(token):
            return False
        try:
            outcome = await ask(token)
        except BaseException as error:
            self._note_fault(token, error)
            raise
        return self._note_end(token, outcome)

    def _may_settle(self, token: HeldMessage) -> bool:
        """Claim a message for a verb; return whether the verb may settle it."""
        if token.is_claimed or self.is_lost(token):
            return False
        token.is_claimed = True
        return True

    def _note_fault(self, token: HeldMessage, error: BaseException) -> None:
        """Record that a verb has failed, so that another attempt is possible."""
        token.is_claimed = False
        token.may_be_settled |= not isinstance(error, FastRPCError) or error.processed != "no"

    def _note_end(self, token: HeldMessage, outcome: int) -> bool:
        """Record the answer to a verb; return whether the message is settled by this member."""
        self._held.pop((token.stream, token.entry), None)
        # 0 after an attempt with an unknown outcome: that attempt settled it, as no other member can during the lease.
        is_ours = outcome == 1 or (outcome == 0 and token.may_be_settled and time.monotonic() < token.until)
        token.is_lost = not is_ours
        return is_ours

    def _settle_by(self, script: Any, token: HeldMessage, *words: Word) -> "asyncio.Future[int]":
        return self._run(int, script, self.name, token.epoch, token.stream, token.entry, *words)

    def _ack(self, token: HeldMessage) -> "asyncio.Future[int]":
        """Acknowledge a message in one command with all messages of this iteration of the loop."""
        outcome: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        if not self._acks:
            asyncio.get_running_loop().call_soon(self._send_acks)
        self._acks.append((token, outcome))
        return outcome

    def _send_acks(self) -> None:
        acks, self._acks = self._acks, []
        parts: dict[tuple[str, bytes], list[tuple[HeldMessage, asyncio.Future[int]]]] = {}
        for token, outcome in acks:
            if not outcome.done():
                parts.setdefault((token.stream, token.epoch), []).append((token, outcome))
        for (stream, epoch), part in parts.items():
            try:
                answer = self._run(list[int], ACK, self.name, epoch, stream, *[one.entry for one, _ in part])
            except BrokerError as error:
                _share([outcome for _, outcome in part], error)
            else:
                answer.add_done_callback(_Shared([outcome for _, outcome in part]))

    # Leases

    async def renew(self) -> None:
        """Renew the leases of all held messages. Mark messages as lost that other members may have."""
        now = time.monotonic()
        held = [one for one in self._held.values() if not self.is_lost(one)]
        logged, replays = [[one for one in held if one.stream == name] for name in ("log", "replays")]
        until = now + self._owner.lease
        lease = milliseconds(self._owner.lease)
        entries = [one.entry for one in (*logged, *replays)]
        outcomes = await self._run(list[int], RENEW, self.name, self._epoch, lease, len(logged), *entries)
        if not outcomes:
            # The next take reports the reason.
            self.lose_all()
            self.bell.ring()
            return
        for one, is_held in zip((*logged, *replays), outcomes[1:], strict=True):
            if is_held:
                one.until = until
            elif not one.is_claimed:
                self._lose(one)

    def lose_all(self) -> None:
        """Mark all messages as lost, because the group was moved, removed or lost."""
        for one in list(self._held.values()):
            self._lose(one)

    def _lose(self, token: HeldMessage) -> None:
        token.is_lost = True
        if self._held.get((token.stream, token.entry)) is token:
            del self._held[token.stream, token.entry]

    async def close(self) -> None:
        """Leave the group."""
        if self._has_left:
            return
        self._has_left = True
        self._owner.forget(self)
        self.bell.ring()
        asking = list(self._asking)
        if asking:
            # First hand back the messages of cancelled takes; then the member leaves.
            await asyncio.wait(asking)
            await asyncio.sleep(0)
        self.lose_all()
        silence = next((error for one in asking if (error := one.exception()) and _is_silence(error)), None)
        if silence is not None:
            # The server is silent: another request would only wait for its timeout, too.
            raise silence
        await self._run(int, LEAVE, self.name)

    def _run(self, kind: Any, script: Any, *words: Word) -> "asyncio.Future[Any]":
        return self._owner.link.run(kind, script, (self.key,), (self._group_name, *words))


class _Shared:
    """Distributes the outcomes of one command to the waiting callers."""

    def __init__(self, outcomes: Sequence["asyncio.Future[int]"]) -> None:
        self._outcomes = outcomes

    def __call__(self, answer: "asyncio.Future[list[int]]") -> None:
        error = answer.exception()
        if isinstance(error, Exception):
            _share(self._outcomes, error)
            return
        for outcome, found in zip(self._outcomes, answer.result(), strict=True):
            if not outcome.done():
                outcome.set_result(found)


def _share(outcomes: Sequence["asyncio.Future[int]"], error: Exception) -> None:
    for outcome in outcomes:
        if not outcome.done():
            outcome.set_exception(copied_error(error))


def stop_waiting(link: RedisLink, key: str, group: str, member: str) -> None:
    """Record that a member has no waiting take. If it was woken before, the server wakes another member."""
    # If the server is unreachable, takes find messages by polling.
    with contextlib.suppress(BrokerError):
        link.run(int, STOP_WAITING, (key,), (group, member)).add_done_callback(_leave_to_lease)


def _leave_to_lease(answer: "asyncio.Future[int]") -> None:
    with contextlib.suppress(BrokerError):
        answer.result()


def _is_silence(error: BaseException) -> bool:
    """Return whether an error means that the server did not answer in time."""
    return isinstance(error.__cause__, TimeoutError | exceptions.TimeoutError)


def left() -> BrokerError:
    """Return the error of a take of a member that has left its group."""
    return BrokerError("the member has left its group", processed="no")
