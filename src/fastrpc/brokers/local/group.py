"""A group of members that share the messages of a topic, each message from its first delivery to its end."""

from collections.abc import Collection
from datetime import datetime
from heapq import heapify, heappop, heappush
from math import inf
from typing import Final

from fastrpc.brokers.base import Delivery
from fastrpc.brokers.base.checks import check_pause
from fastrpc.brokers.base.names import TopicPattern
from fastrpc.brokers.local.alarms import WOKEN_AT_ONCE
from fastrpc.brokers.local.dead_letters import DeadLetters
from fastrpc.brokers.local.effects import Effects
from fastrpc.brokers.local.key_lines import KeyLines
from fastrpc.brokers.local.records import (
    DeliveryCounted,
    Entry,
    GroupMember,
    GroupMoved,
    LetterDiscarded,
    LetterReplayed,
    MessageDied,
    MessageSettled,
    Record,
    SavedGroup,
)
from fastrpc.brokers.local.topic import KeptTopic

__all__ = ["MessageGroup"]

#: Numbers in a heap that no longer count stay beside as many that do.
_SPARE: Final = 64

#: Names of messages for which a group remembers whether it covers them.
_KNOWN_NAMES: Final = 1_000

#: Least seconds between two reports of messages that were lost to a group.
_TOLD_SECONDS: Final = 60.0


class MessageGroup:
    """Hands out the messages of its pattern.

    Messages up to the cursor are handled, but for those in `open`, which wait or are under way. Beyond the cursor
    nothing has started.

    Args:
        name: None: a broadcast, which keeps no dead letters.
        cursor: the number after which its messages begin.
    """

    def __init__(
        self, name: str | None, pattern: TopicPattern, topic: KeptTopic, cursor: int, effects: Effects
    ) -> None:
        self.name = name
        self.pattern = pattern
        self.topic = topic
        self.is_whole = pattern.text == topic.settings.name
        #: Whether one message of a key at a time is under way; its members say so.
        self.is_ordered = False
        self.is_removed = False
        self.members: set[GroupMember] = set()
        self.dead = DeadLetters()
        self.expired = 0
        self._untold, self._told_at = 0, -inf
        self._effects = effects
        self._label, self._note = (name, effects.note) if name is not None else ("", None)
        # Whether it covers a name.
        self._known_names: dict[str, bool] = {}
        self._begin(cursor)

    def _begin(self, cursor: int) -> None:
        self.cursor = cursor
        # Messages up to here are handled, replayed ones aside; `oldest` moves it on.
        self._position = cursor
        self.open: dict[int, Entry] = {}
        self._replays: dict[int, Entry] = {}
        # Numbers of open messages that can start, and of delayed ones by instant; some no longer count.
        self._ready: list[int] = []
        self._later: list[tuple[float, int]] = []
        self._lines = KeyLines()
        #: Messages beyond the cursor.
        self.behind = self.topic.count_after(cursor, self, self.is_whole)

    # Its content

    @property
    def lag(self) -> int:
        """Messages that are neither settled nor dead."""
        return self.behind + len(self.open)

    @property
    def is_stopped(self) -> bool:
        """Whether its dead letters leave no room for another one."""
        return self.dead.size >= self.topic.settings.max_bytes

    def covers(self, name: str) -> bool:
        """Return whether messages of a name are for this group."""
        if self.is_whole:
            return True
        known = self._known_names.get(name)
        if known is None:
            if len(self._known_names) >= _KNOWN_NAMES:
                self._known_names.clear()
            known = self._known_names[name] = self.pattern.matches(name)
        return known

    def holds(self, record: Record) -> bool:
        """Return whether it still has to handle a message of the log."""
        if record.sequence > self.cursor:
            return self.covers(record.topic)
        entry = self.open.get(record.sequence)
        return entry is not None and not entry.is_replay

    def oldest(self) -> Record | None:
        """Return the first message that is neither settled nor dead."""
        while (record := self.topic.log.after(self._position)) is not None and not self.holds(record):
            self._position = record.sequence
        replayed = min(self._replays, default=None)
        if replayed is not None and (record is None or replayed < record.sequence):
            return self._replays[replayed].record
        return record

    # Messages to members

    def take(self, member: GroupMember, most: int, now: float) -> list[Delivery]:
        """Start at most `most` messages, in the order in which they were kept."""
        if self._later and self._later[0][0] <= now:
            self.wake(now)
        taken: list[Delivery] = []
        while len(taken) < most and not self.is_stopped:
            entry = self._next_ready(now) or self._scan(now)
            if entry is None:
                break
            taken.append(self._start(entry, member))
        return taken

    def _next_ready(self, now: float) -> Entry | None:
        while self._ready:
            entry = self.open.get(heappop(self._ready))
            if entry is not None and self._may_start(entry, now):
                return entry
        return None

    def _scan(self, now: float) -> Entry | None:
        """Move the cursor to the next message that can start."""
        log = self.topic.log
        while (record := log.after(self.cursor)) is not None:
            entry = self._pass(record)
            if entry is not None:
                if self._may_start(entry, now):
                    return entry
                self._offer(entry, now)
        return None

    def _pass(self, record: Record) -> Entry | None:
        """Move the cursor over a message; return its entry if it is for this group."""
        self.cursor = record.sequence
        if not self.is_whole and not self.covers(record.topic):
            return None
        self.behind -= 1
        entry = self.open[record.sequence] = Entry(record, 0, record.due)
        self._enter(entry)
        return entry

    def _start(self, entry: Entry, member: GroupMember) -> Delivery:
        record = entry.record
        entry.member = member
        entry.deliveries += 1
        member.under_way.add(entry)
        if self.is_ordered and record.key is not None:
            self._lines.start(record.key)
        if self._note is not None:
            self._note(DeliveryCounted(self._label, record.sequence, entry.deliveries, entry.due))
        return Delivery(
            record.topic,
            record.body,
            record.key,
            record.id,
            record.sequence,
            record.headers,
            record.publisher,
            record.published_at,
            entry.deliveries,
            entry,
        )

    # Which message may start

    def _enter(self, entry: Entry) -> None:
        if self.is_ordered and entry.record.key is not None:
            self._lines.enter(entry.record.key, entry.record.sequence)

    def _may_start(self, entry: Entry, now: float) -> bool:
        record = entry.record
        return (
            entry.member is None
            and entry.due <= now
            and (
                not self.is_ordered
                or record.key is None
                or self._lines.may_start(record.key, record.sequence)
            )
        )

    def _offer(self, entry: Entry, now: float) -> None:
        """Let a waiting message start as soon as it is due and, if ordered, the first of its key."""
        sequence = entry.record.sequence
        if entry.due > now:
            heappush(self._later, (entry.due, sequence))
            self._effects.alarms.set(self, entry.due)
            if len(self._later) > _SPARE + 2 * len(self.open):
                self._later = [(one.due, number) for number, one in self.open.items() if one.due > now]
                heapify(self._later)
        elif self._may_start(entry, now):
            heappush(self._ready, sequence)
            self._effects.roused[self] = None

    def _free(self, key: str | None, now: float) -> None:
        """Let the next message of a key start."""
        if self.is_ordered and key is not None:
            following = self._lines.first(key, self.open)
            if following is not None:
                self._offer(self.open[following], now)

    def wake(self, now: float) -> None:
        """Let messages start that are due by now."""
        for _ in range(WOKEN_AT_ONCE):
            if not self._later or self._later[0][0] > now:
                break
            entry = self.open.get(heappop(self._later)[1])
            if entry is not None and entry.due <= now:
                self._offer(entry, now)
        if self._later:
            self._effects.alarms.set(self, self._later[0][0])

    # The end of a delivery

    def is_lost(self, entry: Entry) -> bool:
        """Return whether another member may have the message of a delivery by now."""
        return entry.member is not None and self.open.get(entry.record.sequence) is not entry

    def settle(self, entry: Entry, now: float) -> bool:
        """End a message that is under way; False: the delivery was settled, or is lost."""
        if not self._conclude(entry):
            return False
        self._end(entry, now)
        return True

    def retry(self, entry: Entry, pause: float, now: float) -> bool:
        """Deliver a message that is under way again after a pause; False: the delivery was settled, or is lost.

        Raises:
            ConfigError: the pause is no time.
        """
        check_pause(pause)
        if not self._conclude(entry):
            return False
        self._again(entry, entry.deliveries, now + pause, now)
        return True

    def hand_back(self, entry: Entry, now: float) -> bool:
        """Deliver a message that is under way again at once, uncounted; False: as in `retry`."""
        if not self._conclude(entry):
            return False
        self._again(entry, entry.deliveries - 1, now, now)
        return True

    def reject(self, entry: Entry, reason: str, error: str, now: float, died_at: datetime) -> bool:
        """Make a message that is under way a dead letter; False: the delivery was settled, or is lost."""
        if not self._conclude(entry):
            return False
        if self.name is not None:
            was_stopped = self.is_stopped
            number, death = self.dead.add(entry.record, entry.deliveries, reason, error, died_at)
            if self._note is not None:
                self._note(MessageDied(self.name, number, death))
            if self.is_stopped and not was_stopped:
                self._effects.tell(
                    f"the group {self.name} stops: its {len(self.dead)} dead letters have {self.dead.size} bytes, the "
                    f"limit is {self.topic.settings.max_bytes}; replay or discard them"
                )
        self._end(entry, now)
        return True

    def leave(self, member: GroupMember, now: float) -> None:
        """Remove a member; its messages are delivered to others at once."""
        self.members.remove(member)
        for entry in sorted(member.under_way, key=lambda entry: entry.record.sequence):
            # The entry keeps its member: the delivery is lost, not settled.
            self._again(entry, entry.deliveries, now, now)
        member.under_way.clear()

    def _conclude(self, entry: Entry) -> bool:
        member = entry.member
        if member is None or self.open.get(entry.record.sequence) is not entry:
            return False
        entry.member = None
        member.under_way.discard(entry)
        return True

    def _again(self, entry: Entry, deliveries: int, due: float, now: float) -> None:
        record = entry.record
        if record.key is not None:
            self._lines.end(record.key)
        if not entry.is_replay and record.sequence not in self.topic.log:
            self._expire(entry, now)
            return
        fresh = self.open[record.sequence] = Entry(record, deliveries, due, entry.is_replay)
        if entry.is_replay:
            self._replays[record.sequence] = fresh
        if self._note is not None:
            self._note(DeliveryCounted(self._label, record.sequence, deliveries, due))
        if self.is_ordered and record.key is not None:
            self._free(record.key, now)
        else:
            self._offer(fresh, now)

    def _end(self, entry: Entry, now: float) -> None:
        record = entry.record
        del self.open[record.sequence]
        if self._note is not None:
            self._note(MessageSettled(self._label, record.sequence))
        if entry.is_replay:
            del self._replays[record.sequence]
        else:
            self.topic.handled(record)
        if self.is_ordered and record.key is not None:
            self._lines.end(record.key)
            self._free(record.key, now)

    def _lose_all(self) -> None:
        for member in self.members:
            member.under_way.clear()

    # Messages that go without a delivery

    def drop(self, record: Record, now: float) -> None:
        """Do without a message that the log keeps no longer; if it is under way, its delivery may still end."""
        if record.sequence > self.cursor:
            self.behind -= 1
            self._count_expired(now)
            return
        entry = self.open.get(record.sequence)
        if entry is not None and not entry.is_replay and entry.member is None:
            self._expire(entry, now)

    def _expire(self, entry: Entry, now: float) -> None:
        del self.open[entry.record.sequence]
        self._count_expired(now)
        self._free(entry.record.key, now)

    def _count_expired(self, now: float) -> None:
        self.expired += 1
        self._untold += 1
        if self.name is not None and now >= self._told_at + _TOLD_SECONDS:
            self._effects.tell(
                f"the group {self.name} is too slow: {self._untold} messages of {self.topic.settings.name} were "
                "dropped before it handled them"
            )
            self._untold, self._told_at = 0, now

    # For operators

    def move(self, cursor: int) -> None:
        """Go on after a number; all that was under way, delayed or replayed is lost."""
        self.topic.move(self, cursor)
        self._lose_all()
        self._begin(cursor)
        self._effects.alarms.cancel(self)
        self._effects.roused[self] = None
        if self._note is not None:
            self._note(GroupMoved(self._label, cursor))

    def end(self) -> None:
        """Be no group of the topic any more; its deliveries are lost."""
        self.topic.remove(self)
        self.is_removed = True
        self._lose_all()
        self.members.clear()
        self.open.clear()
        self._effects.alarms.cancel(self)
        self._effects.roused[self] = None

    def order(self, is_ordered: bool, now: float) -> None:
        """Begin or end to keep the order of keys, while there is no member."""
        if self.is_ordered is not is_ordered:
            self.is_ordered = is_ordered
            self._ready, self._later, self._lines = [], [], KeyLines()
            for entry in self.open.values():
                self._enter(entry)
            for entry in self.open.values():
                self._offer(entry, now)

    def replay(self, ids: Collection[str], now: float) -> int:
        """Deliver dead letters again, as delivery 1; no ids: all. Return how many."""
        taken = self.dead.take(ids)
        for number, death in taken:
            # Since a seek the group may have it before it anyway.
            sequence = death.record.sequence
            is_held = sequence in self.open or (sequence > self.cursor and sequence in self.topic.log)
            if self._note is not None:
                self._note((LetterDiscarded if is_held else LetterReplayed)(self._label, number))
            if not is_held:
                self.revive(death.record, 0, now, now)
        # It may have been stopped.
        self._effects.roused[self] = None
        return len(taken)

    def revive(self, record: Record, deliveries: int, due: float, now: float) -> None:
        """Add a message that is of this group alone."""
        while (before := self.topic.log.after(self.cursor)) is not None and before.sequence < record.sequence:
            # After a seek the cursor is behind it.
            passed = self._pass(before)
            if passed is not None:
                self._offer(passed, now)
        entry = self.open[record.sequence] = Entry(record, deliveries, due, is_replay=True)
        self._replays[record.sequence] = entry
        self._enter(entry)
        self._offer(entry, now)

    def restore(self, saved: SavedGroup, now: float) -> None:
        """Go on where a journal ended, before there is a member."""
        known = {*saved.settled, *saved.counted}
        self._begin(max(known, default=saved.position))
        for record in self.topic.log.newer(saved.position):
            if (
                record.sequence <= self.cursor
                and record.sequence not in saved.settled
                and self.covers(record.topic)
            ):
                deliveries, due = saved.counted.get(record.sequence, (0, record.due))
                entry = self.open[record.sequence] = Entry(record, deliveries, due)
                self._offer(entry, now)
        self._position = saved.position
        for number, death in saved.dead:
            self.dead.restore(number, death)
        for record, deliveries, due in saved.replayed:
            self.revive(record, deliveries, due, now)

    def discard(self, ids: Collection[str]) -> int:
        """Forget dead letters; no ids: all. Return how many."""
        taken = self.dead.take(ids)
        for number, _ in taken:
            if self._note is not None:
                self._note(LetterDiscarded(self._label, number))
        self._effects.roused[self] = None
        return len(taken)
