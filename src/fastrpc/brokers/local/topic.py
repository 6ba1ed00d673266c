"""One topic: its messages, the limits of age and size, and its groups."""

from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from math import inf
from types import MappingProxyType
from typing import Final, Protocol

from fastrpc.brokers.base import OutgoingMessage, TopicSettings
from fastrpc.brokers.base.names import TopicPattern
from fastrpc.brokers.local.alarms import WOKEN_AT_ONCE
from fastrpc.brokers.local.counts import TopicCounts
from fastrpc.brokers.local.effects import Effects, Sleeper
from fastrpc.brokers.local.ids import Ids
from fastrpc.brokers.local.log import Log
from fastrpc.brokers.local.records import (
    MessageDamaged,
    MessageDropped,
    MessagesAppended,
    Record,
    SavedTopic,
)
from fastrpc.brokers.local.removed import REPEATED_SECONDS
from fastrpc.errors import BrokerError
from fastrpc.status import Status

__all__ = ["Reader", "KeptTopic"]

#: Ids may occupy this many bytes, or as many as the topic's messages may occupy if that is more.
_IDS_BYTES: Final = 64 * 1024 * 1024

#: Seconds after which a publication that found the queue full may be tried again.
_FULL_SECONDS: Final = 1.0

#: Most names whose groups are cached.
_KNOWN_NAMES: Final = 10_000

_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


class Reader(Sleeper, Protocol):
    """The part of a group that its topic uses."""

    #: `cursor`: the number of the last message that the group has passed. `behind`: how many messages follow it.
    cursor: int
    behind: int

    #: The name of the group; None: a broadcast, for which a queue keeps no messages.
    name: str | None

    def covers(self, name: str) -> bool: ...

    def holds(self, sequence: int) -> bool: ...

    def drop(self, sequence: int, now: float) -> None: ...

    def lose(self, sequence: int, now: float) -> None: ...


class KeptTopic:
    """A topic with its messages. A log keeps them up to a limit, a queue until each group has handled them."""

    def __init__(self, settings: TopicSettings, effects: Effects) -> None:
        self.settings = settings
        self.pattern = TopicPattern(settings.name)
        self.is_queue = settings.keep_seconds is None
        self.log = Log(counts_names=not self.pattern.is_name, cache=effects.cache)
        self.ids = Ids(settings.dedupe_seconds)
        self.counts = TopicCounts()
        #: The attributes of `RecentTopic`.
        self.name = settings.name
        self.restored = 0
        self.restored_at = self.removed_until = -inf
        # `_wanted`: the numbers of messages that groups need and that are not in memory. `_hungry`: these groups. Only
        # one reading is in progress at a time (`_is_reading`).
        self._is_reading = False
        self._wanted: set[int] = set()
        self._hungry: dict[Reader, None] = {}
        self._effects = effects
        self._groups: list[Reader] = []
        # The groups that get the messages published under a name, by this name.
        self._covering: dict[str, list[Reader]] = {}

    # Publishing

    def check_room(self, count: int, total: int, largest: int, now: float, *, adds_ids: bool) -> None:
        """Check that there is room for messages of these sizes and their ids.

        Args:
            adds_ids: whether a message has an id from its publisher.

        Raises:
            BrokerError: RESOURCE_EXHAUSTED: the topic is full now; INVALID_ARGUMENT: the messages can never fit.
        """
        most = self.settings.max_bytes
        if (total if self.is_queue else largest) > most:
            raise BrokerError(
                f"{count} messages for {self.settings.name} count for {total} bytes, the limit of the topic is "
                f"{most}",
                status=Status.INVALID_ARGUMENT,
                processed="no",
                hint="raise max_bytes, or publish less at once",
            )
        if self.is_queue and self.log.size + total > most:
            raise _full(
                f"the queue {self.settings.name} has {self.log.size} bytes, the limit is {most}",
                _FULL_SECONDS,
                "its groups are too slow; raise max_bytes for longer bursts",
            )
        if not adds_ids:
            if self.ids.size:
                # A publication with ids does this when it looks up its ids.
                self.ids.forget_old(now)
        elif self.ids.size >= max(most, _IDS_BYTES):
            oldest = self.ids.oldest()
            assert oldest is not None
            raise _full(
                f"the ids of {self.settings.name} have {self.ids.size} bytes, the limit is {max(most, _IDS_BYTES)}",
                max(0.0, oldest + self.settings.dedupe_seconds - now),
                "lower dedupe_seconds",
            )

    def append(
        self,
        messages: Iterable[tuple[OutgoingMessage, str, int]],
        now: float,
        published_at: datetime,
    ) -> list[Record]:
        """Append messages with their ids and sizes. No group gets them before `reveal`."""
        number = self.log.last
        records: list[Record] = []
        with_own_ids: list[int] = []
        for message, id, size in messages:
            number += 1
            record = Record(
                number,
                message.topic,
                message.body,
                message.key,
                id,
                _kept_headers(message.headers) if message.headers else _NO_HEADERS,
                message.publisher,
                published_at,
                now,
                now + message.delay,
                size,
            )
            records.append(record)
            if message.id is not None:
                self.ids.add(id, number, now)
                with_own_ids.append(number)
        self.log.append(records)
        if self._effects.note is not None:
            self._effects.note(MessagesAppended(self.settings.name, records, with_own_ids))
        return records

    def reveal(self, records: Sequence[Record], now: float) -> None:
        """Make the next committed messages, which share a name, available to their groups."""
        self.log.reveal(records)
        self.counts.published += len(records)
        roused, numbers = self._effects.roused, [one.sequence for one in records]
        groups = self.groups_of(records[0].topic)
        for group in groups:
            group.behind += len(numbers) - bisect_right(numbers, group.cursor)
            roused[group] = None
        if self.is_queue:
            named = [group for group in groups if group.name is not None]
            for number in numbers:
                self._set_left(number, sum(number > group.cursor for group in named), now)
        elif self.log.visible_size > self.settings.max_bytes:
            # Drop at least as many messages as were added, since their records are in memory now. A later drop may find
            # no record in memory, and lose the message's id.
            self._drop_old(now, max(WOKEN_AT_ONCE, len(records)))
        elif self.settings.keep_seconds is not None:
            self._effects.alarms.set(self, records[0].kept_at + self.settings.keep_seconds)

    def undo(self) -> None:
        """Forget the messages that are not committed."""
        self.ids.undo(self.log.visible)
        self.log.undo()

    def restore(self, saved: SavedTopic, now: float) -> None:
        """Load the messages that a journal kept."""
        self.log.restore(saved.places, saved.last)
        for id, sequence, kept_at in saved.ids:
            self.ids.add(id, sequence, kept_at)
        self.restored, self.restored_at = saved.last, now
        # Set this first: adding ids below may make the broker forget older ids, which moves this instant forward.
        self.removed_until = min(saved.removed_until, now)
        for id, sequence in saved.removed:
            self._effects.removed.add(self, id, sequence, now)

    def recount(self, now: float) -> None:
        """Recount the groups that have to handle each message, after all groups of a journal were added."""
        if self.is_queue:
            for sequence in self.log.newer(0):
                self._set_left(sequence, sum(group.holds(sequence) for group in self._groups), now)
        self.wake(now)

    # Messages that are not in memory

    def want(self, group: Reader, numbers: Sequence[int]) -> None:
        """Request messages from the journal for a group that needs them next."""
        self._wanted.update(numbers)
        self._hungry[group] = None
        if not self._is_reading:
            self._is_reading = True
            self._effects.reading[self] = None

    def wanted(self) -> Sequence[int]:
        """Return the numbers of messages to be read next, in order."""
        return sorted(self._wanted)

    def feed(self, records: Sequence[Record], damaged: Collection[int], now: float) -> None:
        """Continue with messages that were read. Damaged messages are kept but not delivered."""
        for record in reversed(records):
            # Add the first message last, so that it is evicted last: it is needed first.
            self.log.hold(record)
        for sequence in damaged:
            if sequence in self.log:
                self._lose(sequence, now)
        self._is_reading = False
        self._wanted.clear()
        for group in self._hungry:
            self._effects.roused[group] = None
        self._hungry.clear()

    def _lose(self, sequence: int, now: float) -> None:
        self.counts.damaged += 1
        self._effects.tell(
            f"the message {sequence} of {self.settings.name} is damaged: it is not delivered, and kept in the file"
        )
        for group in self.groups_of(self.name_of(sequence)):
            group.lose(sequence, now)
        self.log.remove(sequence)
        if self._effects.note is not None:
            self._effects.note(MessageDamaged(self.settings.name, sequence))

    def name_of(self, sequence: int) -> str:
        """Return the name of an existing message."""
        name = self.log.name(sequence)
        return self.settings.name if name is None else name

    # The end of messages

    def handled(self, sequence: int, now: float) -> None:
        """Note that one more group has handled a message; a queue removes the message after the last group."""
        if self.is_queue and sequence in self.log:
            self._set_left(sequence, self.log.left(sequence) - 1, now)

    def _set_left(self, sequence: int, groups: int, now: float) -> None:
        self.log.set_left(sequence, groups)
        if not groups:
            readers = self.groups_of(self.name_of(sequence))
            self._drop(sequence, now)
            for group in readers:
                if group.name is None:
                    group.drop(sequence, now)

    def wake(self, now: float) -> None:
        """Drop messages beyond the limits of a log."""
        self._drop_old(now, WOKEN_AT_ONCE)

    def _drop_old(self, now: float, most: int) -> None:
        """Drop at most `most` messages beyond the limits of a log; the next alarm drops the others."""
        keep = self.settings.keep_seconds
        if keep is None:
            return
        for _ in range(most):
            sequence = self.log.first()
            if sequence is None:
                return
            due = self.log.kept_at(sequence) + keep
            if due > now and self.log.visible_size <= self.settings.max_bytes:
                self._effects.alarms.set(self, due)
                return
            name = self.name_of(sequence)
            self._drop(sequence, now)
            for group in self.groups_of(name):
                group.drop(sequence, now)
        self._effects.alarms.set(self, now)

    def _drop(self, sequence: int, now: float) -> None:
        record = self.log.record(sequence)
        kept_at = self.log.kept_at(sequence) if record is None else record.kept_at
        id = None
        if self.is_queue or kept_at > now - REPEATED_SECONDS:
            id = "" if record is None else record.id
        if id:
            self._effects.removed.add(self, id, sequence, now)
        else:
            self.removed_until = max(self.removed_until, kept_at)
        self.log.remove(sequence)
        if self._effects.note is not None:
            self._effects.note(MessageDropped(self.settings.name, sequence, id))

    # Groups

    def groups_of(self, name: str) -> list[Reader]:
        """Return the groups that get the messages published under a name."""
        found = self._covering.get(name)
        if found is None:
            if len(self._covering) >= _KNOWN_NAMES:
                self._covering.clear()
            found = self._covering[name] = [group for group in self._groups if group.covers(name)]
        return found

    def add(self, group: Reader) -> None:
        """Add a group, which gets messages from now on."""
        self._groups.append(group)
        self._covering.clear()

    def remove(self, group: Reader, now: float) -> None:
        """Remove a group; a queue no longer keeps messages for it."""
        self.move(group, self.log.last, now)
        self._groups.remove(group)
        self._covering.clear()

    def move(self, group: Reader, cursor: int, now: float) -> None:
        """Update the messages of a queue for a group that now gets all messages after a number."""
        if self.is_queue and group.name is not None:
            for sequence in self.log.newer(0):
                is_after = sequence > cursor and group.covers(self.name_of(sequence))
                self._set_left(sequence, self.log.left(sequence) + is_after - group.holds(sequence), now)

    def count_after(self, cursor: int, group: Reader, is_whole: bool) -> int:
        """Return the number of messages after a cursor that a group gets."""
        if is_whole:
            return self.log.count_after(cursor)
        return sum(count for name, count in self.log.names_after(cursor).items() if group.covers(name))


def _kept_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Return immutable headers. Most messages have only `content-type`; these share one mapping."""
    if type(headers) is MappingProxyType:
        return headers
    if len(headers) > 1:
        return MappingProxyType(dict(headers))
    ((name, text),) = headers.items()
    return _kept_header(name, text)


@lru_cache(maxsize=64)
def _kept_header(name: str, text: str) -> Mapping[str, str]:
    return MappingProxyType({name: text})


def _full(text: str, seconds: float, hint: str) -> BrokerError:
    return BrokerError(
        text,
        status=Status.RESOURCE_EXHAUSTED,
        processed="no",
        retryable=True,
        hint=hint,
        retry_after=seconds,
    )
