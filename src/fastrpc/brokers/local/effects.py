"""The work that a step of the broker leaves behind: alarms, changes for the journal, groups to serve."""

from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass, field
from typing import Protocol

from fastrpc.brokers.local.alarms import Alarms
from fastrpc.brokers.local.cache import RecordCache
from fastrpc.brokers.local.records import Change
from fastrpc.brokers.local.removed import RemovedIds

__all__ = ["Effects", "LeftWork", "Mover", "ReadingTopic", "Sleeper"]


class Mover(Protocol):
    """A group with a cursor that advances in a topic."""

    def note_progress(self) -> None:
        """Note the present cursor as a change for the journal."""


class ReadingTopic(Protocol):
    """A topic some of whose messages are only in the journal."""

    def wanted(self) -> Sequence[int]:
        """Return the numbers of messages to be read next, in order."""


class Sleeper(Protocol):
    """An object that sets alarms."""

    def wake(self, now: float) -> None:
        """Do the work that is due."""


class LeftWork(Protocol):
    """The work that steps leave to their caller, as collections that are empty without work.

    They are attributes, so that checking one costs no call.
    """

    @property
    def roused(self) -> Sized:
        """Groups for `BrokerCore.roused`."""

    @property
    def reading(self) -> Sized:
        """Topics for `BrokerCore.wanted`."""

    @property
    def moved(self) -> Sized:
        """Groups for `BrokerCore.note_progress`."""


@dataclass(slots=True)
class Effects:
    """The effects of a step, in one object that all parts of a broker share."""

    #: A function that is called with each change that a journal keeps; None: there is no journal.
    note: Callable[[Change], None] | None

    #: A function that is called with a text about each event that an operator has to know.
    tell: Callable[[str], None]

    #: Groups whose cursor has advanced since it was last noted for the journal.
    moved: dict[Mover, None] = field(default_factory=dict)

    #: Topics with messages that have to be read from the journal.
    reading: dict[ReadingTopic, None] = field(default_factory=dict)

    #: Groups that were removed, or may have a message for a waiting member.
    roused: dict[Sleeper, None] = field(default_factory=dict)

    #: The cache that bounds the records in memory; None: all records stay in memory.
    cache: RecordCache | None = None

    #: The instants at which delayed messages of groups are due and old messages of topics expire.
    alarms: Alarms[Sleeper] = field(default_factory=Alarms)

    #: The ids of messages that topics no longer keep.
    removed: RemovedIds = field(default_factory=RemovedIds)

    def trim(self) -> None:
        """Drop the oldest records beyond the limit of the cache. Each step that adds records calls it at its end."""
        if self.cache is not None:
            self.cache.trim()
