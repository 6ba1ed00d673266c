"""`@scheduled`: the mark of a method that servers run on a schedule."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any, Final, Literal, TypeVar

from fastrpc.config.validation import is_duration
from fastrpc.errors import ConfigError
from fastrpc.rpc.background.cron import CronText
from fastrpc.rpc.background.marks import SCHEDULE_MARK, marks_of, set_mark
from fastrpc.rpc.refused_arguments import explain_arguments

__all__ = ["MethodSchedule", "scheduled", "schedules_of"]

F = TypeVar("F", bound=Callable[..., Any])

#: The least value of `every`. For a shorter interval, write a loop in the handler.
_SHORTEST_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class MethodSchedule:
    """The schedule of a method. Instants are in seconds since 1970."""

    cron: str | None
    every: float | None
    timezone: str
    on: Literal["leader", "each"]
    missed: Literal["skip", "once"]

    def after(self, instant: float) -> float:
        """Return the first instant after `instant`."""
        if self.every is not None:
            # Compare multiples of `every` with the instant: the rounded quotient may be just below the right number.
            number = math.floor(instant / self.every)
            products = (near * self.every for near in range(number, number + 3))
            return next((product for product in products if product > instant), math.inf)
        return self._cron_text().after(instant)

    def latest(self, instant: float) -> float:
        """Return the last instant at or before `instant`."""
        if self.every is not None:
            number = math.floor(instant / self.every)
            products = (near * self.every for near in range(number + 1, number - 2, -1))
            return next((product for product in products if product <= instant), -math.inf)
        return self._cron_text().latest(instant)

    def _cron_text(self) -> CronText:
        return CronText(self.cron or "", _zone(self.timezone))


@explain_arguments("scheduled")
def scheduled(
    cron: str | None = None,
    *,
    every: float | None = None,
    timezone: str = "UTC",
    on: Literal["leader", "each"] = "leader",
    missed: Literal["skip", "once"] = "skip",
) -> Callable[[F], F]:
    """Mark a method of a service, without parameters, that servers run on a schedule.

    Callers can call the method only if it also has `@method`. Runs never overlap.

    Args:
        cron: a cron text, in the wall-clock time of `timezone`.
        every: a number of seconds, in place of `cron`. Runs start at its multiples since 1970.
        timezone: the name of a zone, such as "Europe/Berlin".
        on: "leader": one of the servers that share a store runs the method, at most once per instant; an interrupted
            run is not repeated. "each": every server runs the method, without a store.
        missed: for instants that passed while there was no leader, or during a longer run: "skip" them, or run "once".

    Raises:
        ConfigError: the value of an option is invalid.
        TypeError: the function has parameters, or it is a generator.
    """
    if (cron is None) == (every is None):
        raise ConfigError(
            "a schedule has either cron or every", hint="write @fastrpc.scheduled('30 2 * * *')"
        )
    if cron is not None and not isinstance(cron, str):
        raise ConfigError(
            f"cron is {cron!r}, it must be a text", hint="write @fastrpc.scheduled('30 2 * * *')"
        )
    if every is not None and not (is_duration(every) and every >= _SHORTEST_SECONDS):
        raise ConfigError(
            f"every is {every!r}, it must be {_SHORTEST_SECONDS:g} s or more, as a number of seconds"
        )
    if on not in ("leader", "each"):
        raise ConfigError(f"on is {on!r}, it must be 'leader' or 'each'")
    if missed not in ("skip", "once"):
        raise ConfigError(f"missed is {missed!r}, it must be 'skip' or 'once'")
    _zone(timezone)
    schedule = MethodSchedule(cron, every, timezone, on, missed)
    schedule.after(time.time())

    def mark(handler: F) -> F:
        return set_mark(
            handler, SCHEDULE_MARK, schedule, 1, "is scheduled, so it takes no parameters: write (self)"
        )

    return mark


def schedules_of(cls: type[Any]) -> dict[str, MethodSchedule]:
    """Return the schedules of a class by the names of their methods."""
    return marks_of(cls, SCHEDULE_MARK, MethodSchedule)


def _zone(name: str) -> tzinfo:
    # Imported on first use: most servers have no schedule.
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ConfigError(f"timezone is {name!r}, which is unknown here", hint="install tzdata") from error
