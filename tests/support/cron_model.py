"""A plain model of cron: texts that use each production of its grammar, and a walk over the minutes of UTC."""

import calendar
import functools
import random
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from itertools import product
from typing import NamedTuple
from zoneinfo import ZoneInfo

__all__ = ["ZONES", "Night", "instants_of", "nights_of", "random_text"]

#: Changes by an hour, by half of one and by two; at midnight, before and after it; on both halves of the globe.
ZONES = (
    "Europe/Berlin",
    "Europe/London",
    "Atlantic/Azores",
    "America/New_York",
    "America/Havana",
    "America/Santiago",
    "America/St_Johns",
    "Africa/Casablanca",
    "Antarctica/Troll",
    "Asia/Beirut",
    "Australia/Lord_Howe",
    "Pacific/Chatham",
)

MINUTE = timedelta(minutes=1)

#: Seconds before and after a change that the model walks.
WINDOW_SECONDS = 27 * 3_600

MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
WEEKDAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]


class Night(NamedTuple):
    """The instants around one at which the clocks of a zone change."""

    zone: ZoneInfo
    change: int

    @property
    def begin(self) -> int:
        return self.change - WINDOW_SECONDS

    @property
    def end(self) -> int:
        return self.change + WINDOW_SECONDS

    def shown_at(self, instant: float) -> datetime:
        """Return the wall-clock time at an instant."""
        return datetime.fromtimestamp(instant, UTC).astimezone(self.zone).replace(tzinfo=None)


def nights_of(name: str, year: int) -> list[Night]:
    """Return the nights of a year in which the clocks of a zone change."""
    zone = ZoneInfo(name)
    begin = int(datetime(year, 1, 1, tzinfo=UTC).timestamp())

    def offset(moment: int) -> timedelta | None:
        return datetime.fromtimestamp(moment, UTC).astimezone(zone).utcoffset()

    days = range(begin, begin + 365 * 86_400, 86_400)
    changed = [day for day in days if offset(day) != offset(day + 86_400)]
    return [
        Night(zone, next(moment for moment in range(day, day + 86_401, 60) if offset(moment) != offset(day)))
        for day in changed
    ]


def random_text(source: random.Random) -> str:
    """Return a cron text, sometimes with seconds."""
    fields = [
        _list(source, 0, 59, ()),
        _list(source, 0, 4 if source.random() < 0.7 else 23, ()),
        _days(source),
        "*" if source.random() < 0.7 else _list(source, 1, 12, MONTHS),
        "*" if source.random() < 0.4 else _weekdays(source),
    ]
    if source.random() < 0.1:
        fields.insert(0, source.choice(["0", "7", "5,50", "*/20", "10-12", "57/2"]))
    text = " ".join(fields)
    return source.choice([text, text, text.lower(), text.replace(" ", "  ")])


def _list(source: random.Random, low: int, high: int, names: tuple[str, ...] | list[str]) -> str:
    if source.random() < 0.25:
        return "*"
    return ",".join(_item(source, low, high, names) for _ in range(source.choice([1, 1, 1, 2, 3])))


def _item(source: random.Random, low: int, high: int, names: tuple[str, ...] | list[str]) -> str:
    def write(value: int) -> str:
        if names and source.random() < 0.5:
            return names[(value - low) % len(names)]
        return str(value)

    first, last = sorted(source.randint(low, high) for _ in range(2))
    step = source.randint(1, high)
    return source.choice(
        [
            write(first),
            write(first),
            f"{write(first)}-{write(last)}" if last < low + len(names) or not names else write(last),
            f"*/{step}",
            f"{write(first)}/{step}",
            f"{first}-{last}/{step}",
            "*",
        ]
    )


def _days(source: random.Random) -> str:
    kind = source.random()
    if kind < 0.5:
        return "*"
    if kind < 0.7:
        return source.choice(["L", "LW", "L,15", "LW,1-7", "L/2"])
    return _list(source, 1, 31, ())


def _weekdays(source: random.Random) -> str:
    day = source.choice([*WEEKDAYS, "0", "1", "6", "7"])
    kind = source.random()
    if kind > 0.9:
        return day
    if kind < 0.15:
        return f"{day}#{source.randint(1, 5)}"
    if kind < 0.3:
        return f"{source.randint(0, 7)}L"
    if kind < 0.4:
        return f"{day}#{source.randint(1, 5)},{source.randint(0, 7)}L,{day}"
    return _list(source, 0, 7, WEEKDAYS)


def instants_of(text: str, night: Night) -> list[int]:
    """Return the instants of a cron text in the time around a night, by a walk over the minutes of UTC."""
    fields = text.upper().split()
    seconds = [0] if len(fields) == 5 else sorted(_values(fields.pop(0), 0, 59))
    is_named = seconds == [0] and len(text.split()) == 5 and not any(field[0] == "*" for field in fields[:2])
    is_day = _test_of(fields)
    times = product(_values(fields[1], 0, 23), _values(fields[0], 0, 59))
    reached = _walk(night)[is_named]
    found = {instant for time in times for instant, day in reached.get(time, ()) if is_day(day)}
    return [instant + second for instant in sorted(found) for second in seconds]


#: Hour and minute that a clock shows, and the instants at which it does, each with its day.
Times = dict[tuple[int, int], list[tuple[int, date]]]


@functools.cache
def _walk(night: Night) -> tuple[Times, Times]:
    """Return the minutes by the time shown at them, and by the times that are reached by them for the first time."""
    shown_at: Times = defaultdict(list)
    reached_at: Times = defaultdict(list)
    latest = night.shown_at(night.begin - 60)
    for instant in range(night.begin, night.end, 60):
        shown = night.shown_at(instant)
        shown_at[shown.hour, shown.minute].append((instant, shown.date()))
        while latest < shown:
            latest += MINUTE
            reached_at[latest.hour, latest.minute].append((instant, latest.date()))
    return shown_at, reached_at


def _test_of(fields: list[str]) -> Callable[[date], bool]:
    months = _values(fields[3], 1, 12, MONTHS)
    has_star = fields[2][0] == "*" or fields[4][0] == "*"

    @functools.cache
    def is_due_on(day: date) -> bool:
        by_date, by_weekday = _is_date(fields[2], day), _is_weekday(fields[4], day)
        is_day = (by_date and by_weekday) if has_star else (by_date or by_weekday)
        return is_day and day.month in months

    return is_due_on


def _is_date(field: str, day: date) -> bool:
    last = calendar.monthrange(day.year, day.month)[1]
    working = max(
        number for number in range(1, last + 1) if calendar.weekday(day.year, day.month, number) < 5
    )
    for item in field.split(","):
        if item.partition("/")[0] in ("L", "LW"):
            if day.day == (last if item[:2] != "LW" else working):
                return True
        elif day.day in _values(item, 1, 31):
            return True
    return False


def _is_weekday(field: str, day: date) -> bool:
    last = calendar.monthrange(day.year, day.month)[1]
    for item in field.split(","):
        name, is_numbered, number = item.partition("#")
        is_last = item.endswith("L")
        values = {value % 7 for value in _values(name.rstrip("L") if is_last else name, 0, 7, WEEKDAYS)}
        if day.isoweekday() % 7 not in values:
            continue
        if is_numbered:
            if (day.day - 1) // 7 + 1 == int(number):
                return True
        elif not is_last or day.day + 7 > last:
            return True
    return False


def _values(field: str, low: int, high: int, names: list[str] | tuple[str, ...] = ()) -> set[int]:
    def read(value: str) -> int:
        return low + names.index(value) if value in names else int(value)

    found: set[int] = set()
    for item in field.split(","):
        base, is_stepped, step = item.partition("/")
        first, is_range, last = base.partition("-")
        if base == "*":
            values = range(low, high + 1)
        elif is_range and first != last:
            values = range(read(first), read(last) + 1)
        else:
            # With a step cronsim reads one value as the begin of a range, also when it is written as 5-5.
            values = range(read(first), (high if is_stepped else read(first)) + 1)
        found |= set(values[:: int(step) if is_stepped else 1])
    return found
