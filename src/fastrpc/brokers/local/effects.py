"""The effects of a step of the broker beyond its own state."""

from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass, field
from typing import Protocol

from fastrpc.brokers.local.alarms import Alarms
from fastrpc.brokers.local.cache import RecordCache
from fastrpc.brokers.local.records import Change
from fastrpc.brokers.local.removed import RemovedIds

__all__ = ["Effects", "LeftWork", "Mover", "ReadingTopic", "Sleeper"]


class Mover(Protocol):
    """A group, whose place in a topic advances."""

    def note_progress(self) -> None:
        """Note its present place."""


class ReadingTopic(Protocol):
    """A topic with messages that are not in memory."""

    def wanted(self) -> Sequence[int]:
        """Return the numbers of messages to be read next, in order."""


class Sleeper(Protocol):
    """An object that sets alarms."""

    def wake(self, now: float) -> None:
        """Do the work that is due."""


class LeftWork(Protocol):
    """The work that steps leave to their caller. A part without work is empty; looking at a part costs no call."""

    @property
    def roused(self) -> Sized:
        """For `BrokerCore.roused`."""

    @property
    def reading(self) -> Sized:
        """For `BrokerCore.wanted`."""

    @property
    def moved(self) -> Sized:
        """For `BrokerCore.note_progress`."""


@dataclass(slots=True)
class Effects:
    """Shared by all parts of one broker."""

    #: A function that is called with each change that a journal keeps; None: there is no journal.
    note: Callable[[Change], None] | None

    #: A function that is called with the text of each event that an operator has to know.
    tell: Callable[[str], None]

    #: Groups whose place has advanced since a journal last noted it.
    moved: dict[Mover, None] = field(default_factory=dict)

    #: Topics some of whose messages have to be read.
    reading: dict[ReadingTopic, None] = field(default_factory=dict)

    #: Groups that were removed, or may have a message for a waiting member.
    roused: dict[Sleeper, None] = field(default_factory=dict)

    #: Bounds the records in memory that are in a journal too; None: all records stay in memory.
    cache: RecordCache | None = None

    #: Delayed messages of groups, and old ones of topics.
    alarms: Alarms[Sleeper] = field(default_factory=Alarms)

    #: Messages that topics no longer keep.
    removed: RemovedIds = field(default_factory=RemovedIds)

    def trim(self) -> None:
        """Drop records beyond the bytes of the cache from memory; a step that adds records ends with it."""
        if self.cache is not None:
            self.cache.trim()
