"""The effects of a step of the broker beyond its own state."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from fastrpc.brokers.local.alarms import Alarms
from fastrpc.brokers.local.records import Change

__all__ = ["Effects", "Sleeper"]


class Sleeper(Protocol):
    """Sets alarms."""

    def wake(self, now: float) -> None:
        """Do the work that is due by now."""


@dataclass(slots=True)
class Effects:
    """Shared by all parts of one broker."""

    #: Is called with each change that a journal keeps; None: nothing is kept.
    note: Callable[[Change], None] | None

    #: Is called with the text of each event that an operator has to know.
    tell: Callable[[str], None]

    #: Groups that may have a message for a member that found none, or were removed.
    roused: dict[Sleeper, None] = field(default_factory=dict)

    #: Delayed messages of groups, and old ones of topics.
    alarms: Alarms[Sleeper] = field(default_factory=Alarms)
