"""The instants of a cron text in a time zone.

cronsim iterates over wall-clock times without a zone. This module converts each time into the instants at which the
clocks of the zone show it: usually one, two where clocks go back, none where they go forward. As in Debian's cron, a
text with fixed minutes and hours has exactly one instant in both special cases: the first of the two, or the instant at
which the clocks go forward.
"""

import bisect
import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final, NamedTuple

from fastrpc.errors import ConfigError

__all__ = ["CronText"]

#: The number of fields of a text without seconds. Only such a text can have fixed minutes and hours.
_FIELDS: Final = 5

_SECOND: Final = timedelta(seconds=1)

#: A text without an instant in this many years counts as having none.
_YEARS: Final = 50

#: 9900-01-01, the end of the search. Python's dates end with the year 9999.
_END: Final = 250_246_627_200.0


class CronText(NamedTuple):
    """A cron text, and the time zone of its wall clock."""

    text: str
    zone: tzinfo

    def after(self, instant: float) -> float:
        """Return the first instant of the text after `instant`; infinity at the end of Python's dates.

        Raises:
            ConfigError: cronsim is not installed, the text is malformed, or it has no instant in 50 years.
        """
        if instant >= _END:
            return math.inf
        shown = self._shown_at(math.floor(instant))
        found = self._first(shown, instant)
        if shown.fold == 0 and _is_shown_twice(shown):
            back = _change_at(shown)
            if found >= back:
                begin = self._shown_at(back) - _SECOND
                found = min(found, self._first(begin, instant))
        return found

    def latest(self, instant: float) -> float:
        """Return the last instant of the text at or before `instant`. ConfigError as in `after`."""
        shown = self._shown_at(math.floor(instant))
        found = self._last(shown, instant)
        if shown.fold == 1:
            back = _change_at(shown)
            if found < back:
                end = self._shown_at(back - 1)
                found = max(found, self._last(end, instant))
        return found

    def _first(self, shown: datetime, instant: float) -> float:
        """Return the first instant of the text after `instant`, searching forward from the wall-clock time `shown`."""
        for wall in self._walk(shown, is_reverse=False):
            later = [moment for moment in self._moments_of(wall) if moment > instant]
            if later:
                return min(later)
        return math.inf

    def _last(self, shown: datetime, instant: float) -> float:
        """Return the last instant of the text up to `instant`, searching back from the wall-clock time `shown`."""
        for wall in self._walk(shown + _SECOND, is_reverse=True):
            earlier = [moment for moment in self._moments_of(wall) if moment <= instant]
            if earlier:
                return max(earlier)
        return -math.inf

    def _walk(self, shown: datetime, *, is_reverse: bool) -> Iterator[datetime]:
        """Yield the wall-clock times of the text after `shown`, or before it if `is_reverse`."""
        try:
            from cronsim import CronSim, CronSimError
        except ImportError as error:
            raise ConfigError(
                "cron needs cronsim, which is not installed", hint="pip install 'fastrpc[cron]'"
            ) from error
        reason = ""
        try:
            for wall in CronSim(self.text, shown.replace(tzinfo=None, fold=0), reverse=is_reverse):
                # End the search: the clocks may skip every time of a text.
                if abs(wall.year - shown.year) > _YEARS:
                    break
                yield wall
        except CronSimError as error:
            reason = f": {error}"
        raise ConfigError(
            f"cron is {self.text!r}, which has no instant{reason}",
            hint="write minute, hour, day of month, month and day of week, as in '30 2 * * *'",
        )

    def _moments_of(self, wall: datetime) -> list[int]:
        """Return the instants of the text that a wall-clock time stands for."""
        earlier, later = wall.replace(tzinfo=self.zone, fold=0), wall.replace(tzinfo=self.zone, fold=1)
        if earlier.utcoffset() == later.utcoffset():
            return [int(earlier.timestamp())]
        is_twice = _is_shown_twice(earlier)
        if self._names_minutes_and_hours():
            return [int(earlier.timestamp()) if is_twice else _change_at(earlier)]
        return [int(earlier.timestamp()), int(later.timestamp())] if is_twice else []

    def _names_minutes_and_hours(self) -> bool:
        fields = self.text.split()
        return len(fields) == _FIELDS and not any(field.startswith("*") for field in fields[:2])

    def _shown_at(self, instant: int) -> datetime:
        return datetime.fromtimestamp(instant, UTC).astimezone(self.zone)


def _is_shown_twice(shown: datetime) -> bool:
    """Return whether a wall-clock time occurs twice because clocks are set back, whatever its `fold`."""
    return _offset(shown, fold=0) > _offset(shown, fold=1)


def _change_at(shown: datetime) -> int:
    """Return the instant at which the clocks change, for a wall-clock time that occurs twice or never."""
    first, last = sorted(int(shown.replace(fold=fold).timestamp()) for fold in (0, 1))
    # With fold 0 such a time has the offset before the change, whether it occurs twice or never.
    old, zone = _offset(shown, fold=0), shown.tzinfo
    moments = range(first, last + 1)

    def is_changed(moment: int) -> bool:
        return datetime.fromtimestamp(moment, UTC).astimezone(zone).utcoffset() != old

    return moments[bisect.bisect_left(moments, True, key=is_changed)]


def _offset(shown: datetime, *, fold: int) -> timedelta:
    offset = shown.replace(fold=fold).utcoffset()
    assert offset is not None
    return offset
