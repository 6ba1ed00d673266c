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
    """Moves on in a topic."""

    def note_progress(self) -> None:
        """Note the place that it has now."""


class ReadingTopic(Protocol):
    """Has messages that are not in memory."""

    def wanted(self) -> Sequence[int]:
        """Return the numbers of messages to be read next, in order."""


class Sleeper(Protocol):
    """Sets alarms."""

    def wake(self, now: float) -> None:
        """Do the work that is due by now."""


class LeftWork(Protocol):
    """The work that steps leave to their caller: each part is empty without any. A look takes no call."""

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

    #: Is called with each change that a journal keeps; None: nothing is kept.
    note: Callable[[Change], None] | None

    #: Is called with the text of each event that an operator has to know.
    tell: Callable[[str], None]

    #: Groups whose position has advanced since the journal last stored it.
    moved: dict[Mover, None] = field(default_factory=dict)

    #: Topics some of whose messages have to be read.
    reading: dict[ReadingTopic, None] = field(default_factory=dict)

    #: Groups that were removed, or may have a message for a member that found none.
    roused: dict[Sleeper, None] = field(default_factory=dict)

    #: Bounds the records in memory that a journal has, too; None: all stay.
    cache: RecordCache | None = None

    #: Delayed messages of groups, and old ones of topics.
    alarms: Alarms[Sleeper] = field(default_factory=Alarms)

    #: Messages that are kept no longer.
    removed: RemovedIds = field(default_factory=RemovedIds)

    def trim(self) -> None:
        """Let records leave memory beyond the bytes of the cache; a step that adds records ends with it."""
        if self.cache is not None:
            self.cache.trim()
