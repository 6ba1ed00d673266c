"""A group of members that share the messages of a topic."""

from collections.abc import Collection, Mapping
from datetime import datetime
from heapq import heappop, heappush, nsmallest
from typing import Final

from fastrpc.brokers.base import Delivery
from fastrpc.brokers.base.checks import check_pause
from fastrpc.brokers.base.names import TopicPattern
from fastrpc.brokers.base.texts import kept_text
from fastrpc.brokers.local.coming import Coming
from fastrpc.brokers.local.coverage import Coverage
from fastrpc.brokers.local.dead_letters import DeadLetters
from fastrpc.brokers.local.delayed import DelayedMessages
from fastrpc.brokers.local.effects import Effects
from fastrpc.brokers.local.key_lines import KeyLines
from fastrpc.brokers.local.losses import Losses
from fastrpc.brokers.local.oldest import OldestMessage
from fastrpc.brokers.local.records import (
    DeliveryCounted,
    Entry,
    GroupMember,
    GroupMoved,
    GroupProgressed,
    LetterDiscarded,
    LetterReplayed,
    MessageDied,
    MessageSettled,
    Record,
    SavedGroup,
)
from fastrpc.brokers.local.resumed import Resumed
from fastrpc.brokers.local.topic import KeptTopic

__all__ = ["MessageGroup"]

#: Waiting messages that are read from the journal in one step.
_READ_AT_ONCE: Final = 64


class MessageGroup:
    """Delivers the messages of its pattern to its members.

    Messages up to the cursor are handled, except the entries in `open`, which wait or are under way, in order. No
    message beyond the cursor was delivered since the broker started; earlier deliveries are known from the journal.
    Replayed messages are kept separately, without order.

    Args:
        name: the name of the group; None: a broadcast, which keeps no dead letters.
        cursor: the number that precedes its first message.
    """

    def __init__(
        self, name: str | None, pattern: TopicPattern, topic: KeptTopic, cursor: int, effects: Effects
    ) -> None:
        self.name = name
        self.pattern = pattern
        self.topic = topic
        self.is_whole = pattern.text == topic.settings.name
        #: True if at most one message of a key is under way. The members set it when they join.
        self.is_ordered = False
        self.is_removed = False
        self.members: set[GroupMember] = set()
        self._losses = Losses(name, topic.settings.name, topic.counts, effects.tell)
        self._effects = effects
        self._label, self._note = (name, effects.note) if name is not None else ("", None)
        self.dead = DeadLetters(has_bodies=effects.cache is None)
        self._coverage = Coverage(pattern, is_whole=self.is_whole)
        self._begin(cursor)

    def _begin(self, cursor: int) -> None:
        self.cursor = cursor
        self._oldest = OldestMessage(cursor)
        self.open: dict[int, Entry] = {}
        self._replays: dict[int, Entry] = {}
        self._coming = Coming()
        self._resumed = Resumed()
        # `_ready`: the numbers of open messages that can be delivered; some are outdated. `_later`: delayed messages.
        self._ready: list[int] = []
        self._later = DelayedMessages(self.open, self._replays)
        self._lines = KeyLines()
        #: The number of messages beyond the cursor.
        self.behind = self.topic.count_after(cursor, self, self.is_whole)

    # Its content

    @property
    def lag(self) -> int:
        """The number of messages that are neither settled nor dead."""
        return self.behind + len(self.open) + len(self._replays)

    @property
    def expired(self) -> int:
        """The number of messages that the log dropped before the group handled them."""
        return self._losses.count

    @property
    def is_stopped(self) -> bool:
        """True if the dead letters fill the topic's `max_bytes`: the group delivers nothing until some are removed."""
        return self.dead.size >= self.topic.settings.max_bytes

    def covers(self, name: str) -> bool:
        """Return whether the group gets messages of this name."""
        return self._coverage.has(name)

    def holds(self, sequence: int) -> bool:
        """Return whether the group still has to handle a message of the log."""
        if sequence > self.cursor:
            return sequence not in self._resumed.settled and (
                self.is_whole or self.covers(self.topic.name_of(sequence))
            )
        return sequence in self.open

    def oldest(self) -> float | None:
        """Return the instant of the first message that is neither settled nor dead; None without such a message."""
        return self._oldest.kept_at(self, self.topic.log, self.open, self._replays)

    def note_progress(self) -> None:
        """Note the present cursor as a change for the journal."""
        if self._note is not None and not self.is_removed:
            first = next(iter(self.open), None)
            position = self.cursor if first is None else first - 1
            self._note(GroupProgressed(self._label, position, max(self.cursor, self._resumed.passed)))

    # Messages to members

    def take(self, member: GroupMember, most: int, now: float) -> list[Delivery]:
        """Deliver at most `most` messages to a member, in the order in which they were published."""
        due = self._later.next()
        if due is not None and due <= now:
            self.wake(now)
        taken: list[Delivery] = []
        if self.is_stopped:
            return taken
        while len(taken) < most:
            entry = self._next_ready(now) if self._ready else None
            if entry is None and not self._ready:
                entry = self._scan(now)
            if entry is None:
                break
            taken.append(self._start(entry, member))
        if taken and self._note is not None:
            self._effects.moved[self] = None
        return taken

    def _next_ready(self, now: float) -> Entry | None:
        """Return the first ready message with its record; None if no message is ready or its record must be read."""
        while self._ready:
            sequence = self._ready[0]
            entry = self._waiting(sequence)
            if entry is not None and self._may_start(entry, now):
                if entry.record is None:
                    entry.record = self.topic.log.record(sequence)
                    if entry.record is None:
                        self.topic.want(self, nsmallest(_READ_AT_ONCE, self._ready))
                        return None
                heappop(self._ready)
                return entry
            heappop(self._ready)
        return None

    def _scan(self, now: float) -> Entry | None:
        """Move the cursor to the next message that can be delivered; return it with its record."""
        log, coming, is_ordered = self.topic.log, self._coming, self.is_ordered
        holds_all = self.is_whole and not self._resumed.settled
        while True:
            record = log.following(self.cursor)
            sequence = log.after(self.cursor) if record is None else record.sequence
            if coming.next is not None and (sequence is None or coming.next <= sequence):
                entry = self._replays[coming.take()]
                self._enter(entry)
            elif sequence is None:
                return None
            elif not holds_all and not self.holds(sequence):
                self.cursor = sequence
                self._resumed.drop(sequence)
                continue
            else:
                record = record or log.record(sequence)
                if record is None:
                    self.topic.want(self, log.absent(sequence))
                    return None
                self.cursor = sequence
                self.behind -= 1
                entry = self.open[sequence] = self._resumed.entry_of(record)
                if is_ordered:
                    self._enter(entry)
                elif entry.due <= now:
                    return entry
            if self._may_start(entry, now):
                return entry
            self._defer(entry, now)

    def _defer(self, entry: Entry, now: float) -> None:
        """Let a message that the cursor has passed wait until it can be delivered."""
        if not entry.is_replay:
            entry.record = None
        if not entry.is_counted:
            # After a restart, a message below the cursor without a count would count as delivered once.
            self._note_count(entry)
        self._offer(entry, now)

    def _start(self, entry: Entry, member: GroupMember) -> Delivery:
        entry.member = member
        entry.deliveries += 1
        member.under_way.add(entry)
        if self.is_ordered and entry.key is not None:
            self._lines.start(entry.key)
        if entry.deliveries > 1 or entry.is_counted:
            self._note_count(entry)
        return entry.delivery()

    def _note_count(self, entry: Entry) -> None:
        if self._note is not None:
            entry.is_counted = True
            due, is_replay = entry.due, entry.is_replay
            self._note(DeliveryCounted(self._label, entry.sequence, entry.deliveries, due, is_replay))

    # Which message may start

    def _waiting(self, sequence: int) -> Entry | None:
        """Return the open or replayed message with this number, or None. No number is in both."""
        entry = self.open.get(sequence)
        return self._replays.get(sequence) if entry is None else entry

    def _enter(self, entry: Entry) -> None:
        """Add a message to the line of its key."""
        if self.is_ordered and entry.key is not None:
            self._lines.enter(entry.key, entry.sequence)

    def _may_start(self, entry: Entry, now: float) -> bool:
        return (
            entry.member is None
            and entry.due <= now
            and (not self.is_ordered or entry.key is None or self._lines.may_start(entry.key, entry.sequence))
        )

    def _offer(self, entry: Entry, now: float) -> None:
        """Make a waiting message ready once it is due and, in an ordered group, the first of its key."""
        sequence = entry.sequence
        if entry.due > now:
            self._later.add(entry.due, sequence)
            self._effects.alarms.set(self, entry.due)
        elif self._may_start(entry, now):
            heappush(self._ready, sequence)
            self._effects.roused[self] = None

    def _free(self, key: str | None, now: float) -> None:
        """Make the next message of a key ready."""
        if self.is_ordered and key is not None:
            following = self._lines.first(key, self.open, self._replays)
            entry = None if following is None else self._waiting(following)
            if entry is not None:
                self._offer(entry, now)

    def wake(self, now: float) -> None:
        """Make messages ready that are due."""
        for sequence in self._later.due(now):
            entry = self._waiting(sequence)
            if entry is not None and entry.due <= now:
                self._offer(entry, now)
        due = self._later.next()
        if due is not None:
            self._effects.alarms.set(self, due)

    # The end of a delivery

    def is_lost(self, entry: Entry) -> bool:
        """Return whether a delivery is no longer the current delivery of its message."""
        return entry.member is not None and self._waiting(entry.sequence) is not entry

    def settle(self, entry: Entry, now: float) -> bool:
        """Settle a message that is under way. Return False if its delivery was settled before, or is lost."""
        if not self._conclude(entry):
            return False
        self.topic.counts.acked += 1
        self._end(entry, now)
        return True

    def retry(self, entry: Entry, pause: float, now: float) -> bool:
        """End a delivery: its message is delivered again after a pause. Return False as in `settle`.

        Raises:
            ConfigError: the pause is not a number of seconds from 0.
        """
        check_pause(pause)
        if not self._conclude(entry):
            return False
        self.topic.counts.retried += 1
        self._again(entry, entry.deliveries, now + pause, now)
        return True

    def hand_back(self, entry: Entry, now: float) -> bool:
        """End a delivery without counting it: its message is delivered again immediately. False: as in `retry`."""
        if not self._conclude(entry):
            return False
        self._again(entry, entry.deliveries - 1, now, now)
        return True

    def reject(self, entry: Entry, reason: str, error: str, now: float, died_at: datetime) -> bool:
        """Turn a message that is under way into a dead letter; a broadcast only drops it. False: as in `retry`."""
        reason, error = kept_text(reason), kept_text(error)
        if not self._conclude(entry):
            return False
        if self.name is None:
            self.topic.counts.missed += 1
        else:
            self.topic.counts.dead += 1
            was_stopped = self.is_stopped
            assert entry.record is not None
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
        """Remove a member; other members get its messages immediately."""
        self.members.remove(member)
        for entry in sorted(member.under_way, key=lambda entry: entry.sequence):
            # The old entry keeps its member, which marks the delivery as lost instead of settled.
            self._again(entry, entry.deliveries, now, now)
        member.under_way.clear()

    def _conclude(self, entry: Entry) -> bool:
        member = entry.member
        if member is None or self._waiting(entry.sequence) is not entry:
            return False
        entry.member = None
        member.under_way.discard(entry)
        return True

    def _again(self, entry: Entry, deliveries: int, due: float, now: float) -> None:
        sequence, key = entry.sequence, entry.key
        if key is not None:
            self._lines.end(key)
        if not entry.is_replay and sequence not in self.topic.log:
            self._expire(entry, now)
            return
        fresh = Entry(sequence, key, deliveries, due, entry.is_replay, True)
        if entry.is_replay:
            fresh.record = entry.record
            self._replays[sequence] = fresh
        else:
            self.open[sequence] = fresh
        self._note_count(fresh)
        if self.is_ordered and key is not None:
            self._free(key, now)
        else:
            self._offer(fresh, now)

    def _end(self, entry: Entry, now: float) -> None:
        del (self._replays if entry.is_replay else self.open)[entry.sequence]
        if self._note is not None:
            self._note(MessageSettled(self._label, entry.sequence, entry.is_replay))
            self._effects.moved[self] = None
        if self.topic.is_queue and self.name is not None and not entry.is_replay:
            self.topic.handled(entry.sequence, now)
        if self.is_ordered and entry.key is not None:
            self._lines.end(entry.key)
            self._free(entry.key, now)

    def _lose_all(self) -> None:
        for member in self.members:
            member.under_way.clear()

    # Messages that leave without a delivery

    def drop(self, sequence: int, now: float) -> None:
        """Remove a message that the log no longer keeps. If it is under way, its member may still settle it."""
        if self._misses(sequence, now):
            self._losses.add(now)

    def lose(self, sequence: int, now: float) -> None:
        """Skip a message whose content is damaged."""
        self._misses(sequence, now)

    def _misses(self, sequence: int, now: float) -> bool:
        """Forget a message of the log, except if it is under way. Return whether it still had to be handled."""
        if sequence > self.cursor:
            if self._resumed.drop(sequence):
                return False
            self.behind -= 1
            return True
        entry = self.open.get(sequence)
        if entry is None or entry.member is not None:
            return False
        self._forget(entry, now)
        return True

    def _forget(self, entry: Entry, now: float) -> None:
        del self.open[entry.sequence]
        if self._note is not None:
            self._effects.moved[self] = None
        self._free(entry.key, now)

    def _expire(self, entry: Entry, now: float) -> None:
        self._forget(entry, now)
        self._losses.add(now)

    # For operators

    def move(self, cursor: int, now: float) -> None:
        """Set the cursor. Messages that were under way, delayed or replayed are lost."""
        self.topic.move(self, cursor, now)
        self._lose_all()
        self._begin(cursor)
        self._effects.alarms.cancel(self)
        self._effects.roused[self] = None
        if self._note is not None:
            self._note(GroupMoved(self._label, cursor))

    def end(self, now: float) -> None:
        """Remove the group from its topic; members lose their messages under way."""
        self.topic.remove(self, now)
        self.is_removed = True
        self._lose_all()
        self.members.clear()
        self.open.clear()
        self._replays.clear()
        self._effects.alarms.cancel(self)
        self._effects.roused[self] = None

    def order(self, is_ordered: bool, now: float) -> None:
        """Switch the order by key on or off. The group has no member then."""
        if self.is_ordered is not is_ordered:
            self.is_ordered = is_ordered
            self._ready, self._later, self._lines = [], DelayedMessages(self.open, self._replays), KeyLines()
            coming = set(self._coming)
            passed = [*self.open.values()]
            passed += (one for number, one in self._replays.items() if number not in coming)
            for entry in passed:
                self._enter(entry)
            for entry in passed:
                self._offer(entry, now)

    def replay(self, ids: Collection[str], now: float, bodies: Mapping[int, bytes] | None = None) -> int:
        """Redeliver dead letters with these ids, or all, as delivery 1. Return their number.

        Args:
            bodies: the bodies of dead letters that were read from a journal, by number.
        """
        taken = self.dead.take(ids, bodies)
        for number, death in taken:
            # After a seek the group may still have to handle the message itself.
            sequence = death.record.sequence
            is_held = (
                sequence in self._replays
                or sequence in self.open
                or (sequence in self.topic.log and self.holds(sequence))
            )
            if self._note is not None:
                self._note((LetterDiscarded if is_held else LetterReplayed)(self._label, number))
            if not is_held:
                self.revive(death.record, 0, now, now)
        # The group may have been stopped by its many dead letters.
        self._effects.roused[self] = None
        return len(taken)

    def revive(self, record: Record, deliveries: int, due: float, now: float) -> None:
        """Add a replayed message, which only this group gets."""
        sequence = record.sequence
        assert sequence not in self.open
        entry = self._replays[sequence] = Entry(sequence, record.key, deliveries, due, True, True, record)
        if sequence > max(self.cursor, self._coming.latest):
            # The cursor may be before the message after a seek or a restart.
            self._coming.add(sequence)
            self._effects.roused[self] = None
        else:
            self._enter(entry)
            self._offer(entry, now)

    def restore(self, saved: SavedGroup, now: float) -> None:
        """Load the state that a journal kept, before the first member joins."""
        log = self.topic.log
        self._resumed.restore(saved, lambda number: number in log and self.covers(self.topic.name_of(number)))
        self.behind -= len(self._resumed.settled)
        for number, death in saved.dead:
            self.dead.restore(number, death)
        for record, deliveries, due in saved.replayed:
            self.revive(record, deliveries, due, now)

    def discard(self, ids: Collection[str]) -> int:
        """Discard the dead letters with these ids, or all if no id is given. Return their number."""
        taken = self.dead.take(ids)
        for number, _ in taken:
            if self._note is not None:
                self._note(LetterDiscarded(self._label, number))
        self._effects.roused[self] = None
        return len(taken)
