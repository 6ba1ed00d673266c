"""The broker without I/O: callers pass the time, and each call completes without waiting.

::

    publish ──► KeptTopic ──committed──► MessageGroup ──take──► GroupMember
                ├─ Log                   ├─ KeyLines
                ├─ Ids                   └─ DeadLetters
                └─ Repeats
                    └──────────┬──────────────┘
                    Effects: roused groups, alarms, changes for a journal

`now` is an instant in seconds of a clock that never decreases; `wall` is the time of day, in UTC.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import Final, cast

from fastrpc.brokers.base import (
    DeadLetter,
    Delivery,
    GroupSettings,
    GroupState,
    OutgoingMessage,
    Place,
    Published,
    TopicSettings,
)
from fastrpc.brokers.base.checks import (
    check_place,
    check_same,
    check_topic,
    no_group,
)
from fastrpc.brokers.base.names import TopicPattern, check_group
from fastrpc.brokers.local.alarms import Alarms
from fastrpc.brokers.local.cache import RecordCache
from fastrpc.brokers.local.effects import Effects, LeftWork
from fastrpc.brokers.local.group import MessageGroup
from fastrpc.brokers.local.incoming import IncomingMessages
from fastrpc.brokers.local.records import (
    Change,
    GroupBegun,
    GroupMember,
    GroupRemoved,
    Record,
    SavedGroup,
    SavedTopic,
    TopicDeclared,
)
from fastrpc.brokers.local.repeats import Repeats
from fastrpc.brokers.local.topic import KeptTopic
from fastrpc.brokers.local.topics import Topics
from fastrpc.errors import BrokerError, ConfigError
from fastrpc.status import Status

__all__ = ["BrokerCore"]

#: Most topics of a broker. Topics are never removed; each occupies some kilobytes and is compared with each new
#: pattern.
_MOST_TOPICS: Final = 10_000

_name_of: Final[Callable[[Record], str]] = attrgetter("topic")


class BrokerCore:
    """The topics and groups of a broker, with all rules.

    Args:
        note: called with each change in order, except changes of broadcasts; None: there is no journal.
        tell: called with a text about each event that an operator has to know.
        cache_bytes: the most bytes of messages that stay in memory although a journal has them; None: all messages
            stay in memory.
    """

    def __init__(
        self,
        note: Callable[[Change], None] | None = None,
        tell: Callable[[str], None] = lambda text: None,
        *,
        cache_bytes: int | None = None,
    ) -> None:
        cache = None if cache_bytes is None else RecordCache(cache_bytes)
        self._effects = Effects(note, tell, cache=cache)
        #: The work that a step leaves to its caller.
        self.left: LeftWork = self._effects
        self.topics = Topics()
        self._groups: dict[str, MessageGroup] = {}
        # Groups of logs that have no member, with the instants at which they are removed.
        self._vacant: Alarms[MessageGroup] = Alarms()
        self.repeats = Repeats(self._effects)
        self._incoming = IncomingMessages(self.topics, self.repeats)

    # Topics

    def declare(self, settings: TopicSettings, now: float) -> None:
        """Create a topic with its groups, unless it exists.

        Raises:
            ConfigError: a setting is wrong, the topic exists with other settings, or it overlaps with another topic.
            BrokerError: RESOURCE_EXHAUSTED: there are too many topics.
        """
        check_topic(settings)
        # An int of seconds may not fit in the journal's 64 bits.
        keep = None if settings.keep_seconds is None else float(settings.keep_seconds)
        settings = replace(settings, keep_seconds=keep, dedupe_seconds=float(settings.dedupe_seconds))
        present = self.topics.get(settings.name)
        if present is not None:
            check_same(settings, present.settings)
            return
        topic = KeptTopic(settings, self._effects)
        other = self.topics.overlapping(topic.pattern)
        if other is not None:
            raise ConfigError(
                f"the topic {settings.name} overlaps with the topic {other.settings.name}",
                hint="topics share no names: publish to the existing topic, or give this one another name",
            )
        for name in settings.groups:
            if name in self._groups:
                raise ConfigError(
                    f"the group {name} of {settings.name} belongs to {self._groups[name].topic.settings.name}",
                    hint="a group belongs to one topic: choose another name for the group",
                )
        if len(self.topics) >= _MOST_TOPICS:
            raise BrokerError(
                f"the topic {settings.name} is refused: the broker has {len(self.topics)}, the limit is {_MOST_TOPICS}",
                status=Status.RESOURCE_EXHAUSTED,
                processed="no",
                hint="declare one topic for many names by a pattern, such as users.*; topics are never removed",
            )
        self.topics.add(topic)
        self._note(TopicDeclared(settings))
        for name in settings.groups:
            self._begin(name, topic.pattern, topic, 0, now)

    def covering(self, pattern: str) -> TopicSettings | None:
        """Return the topic that covers every name of a pattern, or None. ConfigError: the pattern is malformed."""
        topic = self.topics.covering(TopicPattern(pattern))
        return None if topic is None else topic.settings

    def restore(self, topics: Sequence[SavedTopic], groups: Sequence[SavedGroup], now: float) -> None:
        """Load the topics and groups of a journal. Call this before any topic is declared."""
        for saved in topics:
            topic = KeptTopic(saved.settings, self._effects)
            topic.restore(saved, now)
            self.topics.add(topic)
        for one in groups:
            topic = self.topics[one.topic]
            group = self._groups[one.name] = MessageGroup(
                one.name, TopicPattern(one.pattern), topic, one.position, self._effects
            )
            group.restore(one, now)
            topic.add(group)
            self._left(group, now)
        for topic in self.topics:
            topic.recount(now)

    # Messages in

    def publish(
        self, messages: Sequence[OutgoingMessage], now: float, wall: datetime
    ) -> tuple[list[Published], list[Record]]:
        """Keep messages, all or none; return their numbers, and the new numbers for `committed`.

        Raises:
            BrokerError: NOT_FOUND, INVALID_ARGUMENT, RESOURCE_EXHAUSTED, FAILED_PRECONDITION.
            UnreadError: no message was kept, as ids have to be read from the journal. Pass them to `repeats.feed`, then
                publish again.
        """
        return self._incoming.publish(messages, now, wall)

    def committed(self, records: Sequence[Record], now: float) -> None:
        """Mark messages as committed and deliverable. They must be the oldest uncommitted messages of their topics."""
        for name, run in groupby(records, _name_of):
            self.topics.of(name).reveal([*run], now)
        # Trim after the topics have dropped messages, since a drop needs the id of the record.
        self._effects.trim()

    def undo(self) -> None:
        """Forget the uncommitted messages: the disk is full."""
        self.repeats.forget()
        for topic in self.topics:
            topic.undo()

    # Messages that are not in memory

    def wanted(self) -> list[tuple[str, Sequence[int]]]:
        """Return topics with the numbers of messages that groups need next, in order. Pass the messages to `feed`."""
        found = [(cast(KeptTopic, topic), topic.wanted()) for topic in self._effects.reading]
        self._effects.reading.clear()
        return [(topic.settings.name, numbers) for topic, numbers in found]

    def feed(self, topic: str, records: Sequence[Record], damaged: Collection[int], now: float) -> None:
        """Continue with messages that were read. Damaged messages are kept but not delivered."""
        self.topics[topic].feed(records, damaged, now)
        self._effects.trim()

    def note_progress(self) -> None:
        """Note the cursors that have advanced since the last call as changes for the journal."""
        for group in self._effects.moved:
            group.note_progress()
        self._effects.moved.clear()

    # Members

    def join(self, settings: GroupSettings, now: float, wall: datetime) -> tuple[MessageGroup, GroupMember]:
        """Add a member to a group. Create the group if it does not exist.

        Raises:
            ConfigError: the group has another pattern or order, no topic covers it, or a queue does not name it.
        """
        check_place(settings.start)
        group = self._present(settings)
        if group is None:
            group = self._made(settings, now, wall)
        if group.members and group.is_ordered is not settings.is_ordered:
            kind = "ordered" if group.is_ordered else "unordered"
            raise ConfigError(
                f"the group {settings.name} has {kind} members",
                hint="give all its members the same `ordered`",
            )
        group.order(settings.is_ordered, now)
        member = GroupMember()
        group.members.add(member)
        self._vacant.cancel(group)
        return group, member

    def take(self, group: MessageGroup, member: GroupMember, most: int, now: float) -> list[Delivery]:
        """Deliver at most `most` messages to a member.

        Raises:
            BrokerError: NOT_FOUND: the group was removed.
        """
        if group.is_removed:
            raise no_group(group.name or "of a broadcast")
        return group.take(member, most, now)

    def leave(self, group: MessageGroup, member: GroupMember, now: float) -> None:
        """Remove a member; other members get its messages. A broadcast is removed with its member."""
        if member in group.members:
            group.leave(member, now)
            self._left(group, now)

    def _left(self, group: MessageGroup, now: float) -> None:
        keep = group.topic.settings.keep_seconds
        if group.is_removed or group.members:
            return
        if group.name is None:
            group.end(now)
        elif keep is not None:
            self._vacant.set(group, now + keep)

    def _present(self, settings: GroupSettings) -> MessageGroup | None:
        if settings.name is None:
            return None
        check_group(settings.name)
        group = self._groups.get(settings.name)
        if group is not None and group.pattern.text != settings.pattern:
            raise ConfigError(
                f"the group {settings.name} has the pattern {group.pattern.text}, not {settings.pattern}",
                hint="give the new pattern a group with another name, or remove the existing group",
            )
        return group

    def _made(self, settings: GroupSettings, now: float, wall: datetime) -> MessageGroup:
        pattern = TopicPattern(settings.pattern)
        topic = self.topics.covering(pattern)
        if topic is None:
            raise ConfigError(
                f"no topic covers {settings.pattern}",
                hint="declare a topic, or subscribe to a pattern that one topic covers",
            )
        if settings.name is None:
            return self._begin(None, pattern, topic, topic.log.visible, now)
        if topic.is_queue:
            raise ConfigError(
                f"the queue {topic.settings.name} has no group {settings.name}",
                hint=f"it has {', '.join(topic.settings.groups)}; a queue names all its groups when it is declared",
            )
        return self._begin(settings.name, pattern, topic, _cursor(topic, settings.start, now, wall), now)

    def _begin(
        self, name: str | None, pattern: TopicPattern, topic: KeptTopic, cursor: int, now: float
    ) -> MessageGroup:
        group = MessageGroup(name, pattern, topic, cursor, self._effects)
        topic.add(group)
        if name is not None:
            self._groups[name] = group
            self._note(GroupBegun(name, topic.settings.name, pattern.text, cursor))
            self._left(group, now)
        return group

    # Time

    def next_due(self) -> float | None:
        """Return the next instant at which `advance` has to be called, or None."""
        due = self._effects.alarms.next()
        other = self._vacant.next()
        return other if due is None or (other is not None and other < due) else due

    def advance(self, now: float) -> None:
        """Do all work that is due."""
        for sleeper in self._effects.alarms.due(now):
            sleeper.wake(now)
        for group in self._vacant.due(now):
            self._effects.tell(
                f"the group {group.name} is removed: it had no member for {group.topic.settings.keep_seconds} seconds"
            )
            self._remove(group, now)

    def roused(self) -> list[MessageGroup]:
        """Return the groups that may have got messages, and the groups that were removed, since the last call."""
        groups = list(self._effects.roused)
        self._effects.roused.clear()
        return cast(list[MessageGroup], groups)

    # For operators

    def groups(self, now: float) -> list[GroupState]:
        """Return all groups but broadcasts, sorted by name."""
        return [_state(name, group, now) for name, group in sorted(self._groups.items())]

    def group(self, name: str) -> MessageGroup:
        """Return a group. BrokerError: NOT_FOUND."""
        group = self._groups.get(name)
        if group is None:
            raise no_group(name)
        return group

    def seek(self, name: str, to: Place, now: float, wall: datetime) -> None:
        """Move a group to another place. BrokerError: NOT_FOUND."""
        check_place(to)
        group = self.group(name)
        group.move(_cursor(group.topic, to, now, wall), now)

    def remove_group(self, name: str, now: float) -> None:
        """Remove a group. BrokerError: NOT_FOUND, or FAILED_PRECONDITION for a queue's group."""
        group = self.group(name)
        if group.topic.is_queue:
            raise BrokerError(
                f"the group {name} belongs to the queue {group.topic.settings.name}",
                status=Status.FAILED_PRECONDITION,
                processed="no",
            )
        self._remove(group, now)

    def dead_letters(self, name: str, bodies: Mapping[int, bytes] | None = None) -> list[DeadLetter]:
        """Return the dead letters of a group, the oldest death first. BrokerError: NOT_FOUND.

        Args:
            bodies: the bodies of dead letters that were read from a journal, by number.
        """
        return [death.letter() for death in self.group(name).dead.all(bodies)]

    def _remove(self, group: MessageGroup, now: float) -> None:
        assert group.name is not None
        del self._groups[group.name]
        self._vacant.cancel(group)
        group.end(now)
        self._note(GroupRemoved(group.name))

    def _note(self, change: Change) -> None:
        if self._effects.note is not None:
            self._effects.note(change)


def _cursor(topic: KeptTopic, place: Place, now: float, wall: datetime) -> int:
    """Return the number that precedes the first message of a place."""
    if isinstance(place, datetime):
        # Convert to the broker's clock, since the wall clock may have jumped after the message was kept.
        return topic.log.since(now - (wall - place).total_seconds())
    if isinstance(place, int):
        return max(0, place - 1)
    return topic.log.visible if place == "new" else 0


def _state(name: str, group: MessageGroup, now: float) -> GroupState:
    oldest = group.oldest()
    return GroupState(
        name=name,
        topic=group.topic.settings.name,
        pattern=group.pattern.text,
        is_ordered=group.is_ordered,
        members=len(group.members),
        lag=group.lag,
        oldest_seconds=0.0 if oldest is None else now - oldest,
        under_way=sum(len(member.under_way) for member in group.members),
        dead=len(group.dead),
        expired=group.expired,
    )
