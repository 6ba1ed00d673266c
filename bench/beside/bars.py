"""Bars: the time of an operation against the sum of other times of the same run, or a figure against a limit."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bench.promises.finding import Finding

__all__ = ["Bar", "Bound", "Figures", "Side", "sides_of"]


class Side(NamedTuple):
    """A server, its client and the kind of load."""

    server: str
    client: str
    kind: str


#: The seconds of one operation in each round, or the figure of a `Bound`.
Figures = Mapping[Side, Sequence[float]]


@dataclass(frozen=True)
class Bar:
    """How many times the times of other sides, added up, an operation may take."""

    title: str
    side: Side
    #: A side that counts twice is listed twice.
    against: tuple[Side, ...]
    limit: float
    unit: str

    def found(self, figures: Figures) -> Finding:
        """Compare the medians."""
        others = sum(statistics.median(figures[other]) for other in self.against)
        figure = statistics.median(figures[self.side]) / others
        told = [_told(figures[side]) for side in (self.side, *self.against)]
        return Finding(self.title, figure, self.limit, self.unit, f"{told[0]} and {' + '.join(told[1:])} µs")


@dataclass(frozen=True)
class Bound:
    """A figure of a side that is no time, such as memory, and its limit."""

    title: str
    side: Side
    limit: float
    unit: str
    against: tuple[Side, ...] = ()

    def found(self, figures: Figures) -> Finding:
        """Take the median."""
        values = figures[self.side]
        told = f"{min(values):,.1f} to {max(values):,.1f}"
        return Finding(self.title, statistics.median(values), self.limit, self.unit, told)


def sides_of(bars: Iterable[Bar | Bound]) -> list[Side]:
    """Return the sides that the bars need, each once."""
    return list(dict.fromkeys(side for bar in bars for side in (*bar.against, bar.side)))


def _told(seconds: Sequence[float]) -> str:
    """Return the median and the range of times in microseconds."""
    least, middle, most = (each * 1e6 for each in (min(seconds), statistics.median(seconds), max(seconds)))
    return f"{middle:,.1f} ({least:,.1f} to {most:,.1f})"
