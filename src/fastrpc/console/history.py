"""One hour of figures in memory: totals every ten seconds, durations every minute.

A series has two arrays, and no object for each point. The arrays are rings: the index of an instant is the number of
slots since the clock's zero, modulo the size. Slots without a write are cleared when a later one is written.
"""

import operator
import time
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

__all__ = [
    "DOUBLINGS",
    "DURATION_SECONDS",
    "MOST_SERIES",
    "TOTALS_SECONDS",
    "FigureHistory",
    "SeriesKey",
    "Totals",
    "doubling_of",
    "percentiles_of",
]

#: TOTALS_SECONDS: the seconds of a slot of totals. TOTALS_SLOTS: the number of these slots.
TOTALS_SECONDS: Final = 10.0
TOTALS_SLOTS: Final = 360

#: DURATION_SECONDS: the seconds of a slot of durations. DURATION_SLOTS: the number of these slots.
DURATION_SECONDS: Final = 60.0
DURATION_SLOTS: Final = 60

#: Durations are counted in doublings of 0.5 ms / 2**9; servers count them in quarters of doublings. The last bucket is
#: open.
DOUBLINGS: Final = 28
_BOUNDS: Final = [0.0005 * 2.0 ** (number - 9) for number in range(DOUBLINGS - 1)]

#: Most series: 200 services with 20 methods on 1,000 servers are 5,200. One series needs 18 KiB.
MOST_SERIES: Final = 8_192

#: The most series that one server may create. Once all series are in use, a server with less than its share can still
#: create one: the server with most series loses one.
MOST_BEGUN: Final = MOST_SERIES // 4

#: A slot is charted only this long after its end. Earlier, its sums are too low: a server is read up to 11.2 s after
#: its last reading, and a read takes up to 3 s. The counts of a server whose polls fail are added later.
SETTLED_SECONDS: Final = 14.0

#: A series without a write for this long has no current calls: its rate is 0.
LATE_SECONDS: Final = 15.0

#: The largest count in an array of durations.
_MOST_COUNT: Final = 0xFFFF_FFFF

#: The kind of a series, and its names: ("method", service, method), ("service", service), ("server", key),
#: ("link", caller, service).
SeriesKey: TypeAlias = tuple[str, ...]


class Totals(NamedTuple):
    """Sums over some time."""

    calls: float = 0.0
    errors: float = 0.0
    #: The sum of all durations.
    seconds: float = 0.0
    #: Received and sent bytes.
    bytes: float = 0.0


#: The fields of totals, in the order of the arrays.
_FIELDS: Final = ("calls", "errors", "seconds", "bytes")


_NO_TOTALS: Final = array("d", bytes(8 * len(_FIELDS)))
_NO_DURATIONS: Final = array("I", bytes(4 * DOUBLINGS))


class _Series:
    """The rings of one series.

    `slot` and `minute` are the numbers of the last slots that were written. Calls were added up to the instant `ended`.

    Args:
        owner: the server whose figures created the series.
    """

    __slots__ = ("durations", "ended", "minute", "owner", "slot", "totals")

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.totals = array("d", bytes(8 * len(_FIELDS) * TOTALS_SLOTS))
        self.durations = array("I")
        self.slot = self.minute = -1
        self.ended = 0.0

    def add_totals(self, slot: int, shares: Sequence[tuple[int, float]], added: Sequence[float]) -> None:
        """Add sums to slots up to `slot`; `shares` has the index of each slot's first field, and its share."""
        if slot > self.slot:
            self._forward(slot)
        totals = self.totals
        calls, errors, seconds, size = added
        for at, share in shares:
            totals[at] += calls * share
            totals[at + 1] += errors * share
            totals[at + 2] += seconds * share
            totals[at + 3] += size * share

    def _forward(self, slot: int) -> None:
        """Clear the slots of totals after the last one, up to a slot."""
        # The arrays of a new series contain only zeros.
        first = slot if self.slot < 0 else max(self.slot, slot - TOTALS_SLOTS)
        for passed in range(first + 1, slot + 1):
            at = passed % TOTALS_SLOTS * len(_FIELDS)
            self.totals[at : at + len(_FIELDS)] = _NO_TOTALS
        self.slot = slot

    def add_durations(self, minute: int, counts: Mapping[int, int]) -> None:
        if not self.durations:
            self.durations = array("I", bytes(4 * DOUBLINGS * DURATION_SLOTS))
        if minute > self.minute:
            first = minute if self.minute < 0 else max(self.minute, minute - DURATION_SLOTS)
            for passed in range(first + 1, minute + 1):
                at = passed % DURATION_SLOTS * DOUBLINGS
                self.durations[at : at + DOUBLINGS] = _NO_DURATIONS
            self.minute = minute
        durations, at = self.durations, minute % DURATION_SLOTS * DOUBLINGS
        for number, count in counts.items():
            place = at + number
            total = durations[place] + count
            durations[place] = min(_MOST_COUNT, total)


class FigureHistory:
    """Keeps the figures of the last hour. Used by one thread.

    Args:
        clock: returns an instant in seconds that never decreases.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # The first instant that was counted.
        self._began: float | None = None
        self._series: dict[SeriesKey, _Series] = {}
        # The keys of the series, grouped by their first text and by their first two texts.
        self._starts: dict[SeriesKey, dict[SeriesKey, None]] = {}
        # `_begun`: the series by the servers that created them. `_searched`: the slot of the last search for series
        # without data of the last hour.
        self._begun: dict[str, dict[SeriesKey, None]] = {}
        self._searched = -1
        # A slot in which no server had more than its share: the search is not repeated within the slot.
        self._balanced = -1
        #: Additions that were refused because there were too many series.
        self.dropped = 0
        #: Series that were dropped for series of other servers.
        self.displaced = 0

    def __len__(self) -> int:
        return len(self._series)

    @property
    def bytes(self) -> int:
        """The memory of all arrays."""
        return sum(8 * len(one.totals) + 4 * len(one.durations) for one in self._series.values())

    def add(
        self,
        began: float,
        ended: float,
        counted: Iterable[tuple[SeriesKey, tuple[Sequence[float], Mapping[int, int]]]],
        owner: str = "",
    ) -> None:
        """Add the counts between two instants, evenly over the slots in between.

        Args:
            counted: for each series the sums, in the order of `Totals`, and the calls by doubling.
            owner: the server that counted the calls, and which may create `MOST_BEGUN` series.
        """
        slot, minute = int(ended // TOTALS_SECONDS), int(ended // DURATION_SECONDS)
        shares = _shares(began, ended)
        for key, (totals, durations) in counted:
            series = self._series.get(key) or self._begin(key, owner, slot)
            if series is None:
                self.dropped += 1
                continue
            if self._began is None or began < self._began:
                self._began = began
            if ended > series.ended:
                series.ended = ended
            series.add_totals(slot, shares, totals)
            if durations:
                series.add_durations(minute, durations)

    def _begin(self, key: SeriesKey, owner: str, slot: int) -> _Series | None:
        """Return a new series; None if there are too many. A series is dropped only once all its data has expired."""
        if self._is_full(owner) and slot > self._searched:
            self._searched = slot
            for old in [one for one, series in self._series.items() if series.slot <= slot - TOTALS_SLOTS]:
                self.forget(old)
        if self._is_full(owner) and not self._displaced(owner, slot):
            return None
        self._begun.setdefault(owner, {})[key] = None
        series = self._series[key] = _Series(owner)
        for start in (key[:1], key[:2]):
            self._starts.setdefault(start, {})[key] = None
        return series

    def _is_full(self, owner: str) -> bool:
        return len(self._series) >= MOST_SERIES or len(self._begun.get(owner, ())) >= MOST_BEGUN

    def _displaced(self, owner: str, slot: int) -> bool:
        """Return whether the server with most series lost one, in favour of a server with less than its share."""
        share = MOST_SERIES // (len(self._begun) + (owner not in self._begun))
        if self._balanced == slot or len(self._begun.get(owner, ())) >= min(share, MOST_BEGUN):
            return False
        most = max(self._begun.values(), key=len)
        if len(most) <= share:
            self._balanced = slot
            return False
        # Drop the newest series of this server: if it reports ever more methods, its oldest series are the real ones.
        self.forget(next(reversed(most)))
        self.displaced += 1
        return True

    def forget(self, key: SeriesKey) -> None:
        """Drop a series, if there is one."""
        series = self._series.pop(key, None)
        if series is not None:
            begun = self._begun[series.owner]
            del begun[key]
            if not begun:
                del self._begun[series.owner]
            for start in (key[:1], key[:2]):
                found = self._starts[start]
                del found[key]
                if not found:
                    del self._starts[start]

    def has(self, key: SeriesKey) -> bool:
        """Return whether there is a series."""
        return key in self._series

    def keys(self, *start: str) -> list[SeriesKey]:
        """Return the keys that begin with one or two texts."""
        return list(self._starts.get(start, ()))

    def totals(self, key: SeriesKey, seconds: float) -> Totals:
        """Return the sums over the last seconds, in whole slots."""
        series = self._series.get(key)
        if series is None:
            return Totals()
        width, sums = len(_FIELDS), [0.0] * len(_FIELDS)
        for begin, end in _places(self._slots(series, seconds), TOTALS_SLOTS):
            for number in range(width):
                sums[number] += sum(series.totals[begin * width + number : end * width : width])
        return Totals(*sums)

    def rates(self, key: SeriesKey, seconds: float) -> Totals:
        """Return the sums per second, averaged over the last `seconds`, or over the whole history if it is shorter."""
        series = self._series.get(key)
        if series is None or self._began is None:
            return Totals()
        now = self._clock()
        begin = (now // TOTALS_SECONDS - round(seconds / TOTALS_SECONDS) + 1) * TOTALS_SECONDS
        # Leave out the time since the last poll, whose calls are not counted yet, but at most LATE_SECONDS, as polls
        # may fail.
        covered = max(series.ended, now - LATE_SECONDS) - max(begin, self._began)
        return Totals(*(one / max(covered, 0.001) for one in self.totals(key, seconds)))

    def points(self, key: SeriesKey, field: str, count: int) -> list[float]:
        """Return a field of the last `count` settled slots, per second, oldest first; fewer in a short history."""
        number, series = _FIELDS.index(field), self._series.get(key)
        if series is None or self._began is None:
            return []
        end = int((self._clock() - SETTLED_SECONDS) // TOTALS_SECONDS)
        wanted = range(max(end - count, int(self._began // TOTALS_SECONDS)), end)
        first = max(wanted.start, series.slot - TOTALS_SLOTS + 1, 0)
        kept, width = range(first, min(wanted.stop, series.slot + 1)), len(_FIELDS)
        if not kept:
            return [0.0] * len(wanted)
        found = [0.0] * (kept.start - wanted.start)
        for begin, stop in _places(kept, TOTALS_SLOTS):
            values = series.totals[begin * width + number : stop * width : width]
            found += [one / TOTALS_SECONDS for one in values]
        return found + [0.0] * (wanted.stop - kept.stop)

    def newest(self, step_seconds: float) -> float:
        """Return how many seconds ago the last settled slot of `step_seconds` ended."""
        return (self._clock() - SETTLED_SECONDS) % step_seconds + SETTLED_SECONDS

    def minutes(self, key: SeriesKey) -> list[list[int]]:
        """Return the calls by doubling of each settled minute, the oldest first; fewer if the history is shorter."""
        series = self._series.get(key)
        if self._began is None:
            return []
        end = int((self._clock() - SETTLED_SECONDS) // DURATION_SECONDS)
        # The current minute, and the previous one, which is not settled, have overwritten the two oldest.
        first = max(end - DURATION_SLOTS + 2, int(self._began // DURATION_SECONDS))
        if series is None or not series.durations:
            return [[0] * DOUBLINGS for _ in range(first, end)]
        kept = range(max(0, series.minute - DURATION_SLOTS + 1), series.minute + 1)
        begins = [
            minute % DURATION_SLOTS * DOUBLINGS if minute in kept else None for minute in range(first, end)
        ]
        return [
            [0] * DOUBLINGS if begin is None else list(series.durations[begin : begin + DOUBLINGS])
            for begin in begins
        ]

    def _slots(self, series: _Series, seconds: float) -> range:
        now = int(self._clock() // TOTALS_SECONDS)
        first = max(now - round(seconds / TOTALS_SECONDS) + 1, now - TOTALS_SLOTS + 1, 0)
        return range(max(first, series.slot - TOTALS_SLOTS + 1), series.slot + 1)

    def durations(self, seconds: float, *keys: SeriesKey) -> list[int]:
        """Return the calls in the last `seconds`, rounded to minutes, by the doubling of their duration.

        Several series are summed.
        """
        merged: list[int] = []
        now = int(self._clock() // DURATION_SECONDS)
        first = max(now - round(seconds / DURATION_SECONDS) + 1, now - DURATION_SLOTS + 1, 0)
        for key in keys:
            series = self._series.get(key)
            if series is None or not series.durations:
                continue
            for minute in range(max(first, series.minute - DURATION_SLOTS + 1), series.minute + 1):
                at = minute % DURATION_SLOTS * DOUBLINGS
                counts = series.durations[at : at + DOUBLINGS]
                merged = list(map(operator.add, merged, counts)) if merged else counts.tolist()
        return merged or [0] * DOUBLINGS


def _places(slots: range, size: int) -> list[tuple[int, int]]:
    """Return a range of slots as indexes in a ring of this size: one range, or two if it crosses the ring's end."""
    begin = slots.start % size
    end = begin + len(slots)
    if not slots:
        return []
    return [(begin, end)] if end <= size else [(begin, size), (0, end - size)]


def _shares(began: float, ended: float) -> list[tuple[int, float]]:
    """Return the indexes in a ring of the slots between two instants, with the share of the time in each."""
    last = int(ended // TOTALS_SECONDS)
    first = max(int(began // TOTALS_SECONDS), last - TOTALS_SLOTS + 1)
    begin = max(began, first * TOTALS_SECONDS)
    whole = ended - begin
    shares = []
    for slot in range(first, last + 1):
        inside = min(ended, (slot + 1) * TOTALS_SECONDS) - max(begin, slot * TOTALS_SECONDS)
        share = inside / whole if whole > 0 else float(slot == last)
        shares.append((slot % TOTALS_SLOTS * len(_FIELDS), share))
    return shares


# All servers use the same few bounds.
@lru_cache(1_024)
def doubling_of(bound: float | None) -> int:
    """Return the doubling that contains the bucket with this upper bound in seconds; None is the open bucket."""
    # Any other bound is rounded up to the next one.
    return DOUBLINGS - 1 if bound is None else bisect_left(_BOUNDS, bound)


def percentiles_of(durations: Sequence[int] | Mapping[int, int], *shares: float) -> list[float | None]:
    """Return percentiles of calls by doubling, in seconds: exact within one doubling; None without calls.

    A percentile in the open doubling is its lower bound.
    """
    if isinstance(durations, Mapping):
        durations = [durations.get(number, 0) for number in range(DOUBLINGS)]
    total = sum(durations)
    return [_percentile(durations, share * total) if total else None for share in shares]


def _percentile(durations: Sequence[int], rank: float) -> float:
    passed = 0
    for number, count in enumerate(durations[:-1]):
        if count and passed + count >= rank:
            upper = _BOUNDS[number]
            lower = upper / 2 if number else 0.0
            return lower + (upper - lower) * (rank - passed) / count
        passed += count
    return _BOUNDS[-1]
