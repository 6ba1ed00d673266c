"""The promises about stores and locks: the time of an operation of ours against that of another one in the same run."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from bench.promises.finding import Finding

__all__ = ["BARS", "Bar", "Figures", "Side"]


class Side(NamedTuple):
    """A server, its client and the kind of load."""

    server: Literal["echo", "store", "etcd"]
    client: Literal["ours", "etcd's"]
    kind: str


#: The seconds of one operation in each round.
Figures = Mapping[Side, Sequence[float]]


@dataclass(frozen=True)
class Bar:
    """How many times another side's time an operation may take."""

    title: str
    side: Side
    against: Side
    limit: float
    unit: str

    def found(self, figures: Figures) -> Finding:
        """Compare the medians."""
        mine, other = figures[self.side], figures[self.against]
        figure = statistics.median(mine) / statistics.median(other)
        return Finding(self.title, figure, self.limit, self.unit, f"{_told(mine)} and {_told(other)}")


#: A rate of at least a share is a time of at most its reciprocal.
BARS = (
    Bar(
        "get through store://, 64 in flight",
        Side("store", "ours", "get"),
        Side("echo", "ours", "echo"),
        1 / 0.4,
        "times an echo of the same size",
    ),
    Bar(
        "get through store://, 64 in flight",
        Side("store", "ours", "get"),
        Side("etcd", "etcd's", "get"),
        1 / 3,
        "times a serializable read of etcd",
    ),
    Bar(
        "put through store://, 64 in flight, each on the disk",
        Side("store", "ours", "put"),
        Side("etcd", "etcd's", "put"),
        1,
        "times a put of etcd",
    ),
    Bar(
        "lock and release through store://, one after the other",
        Side("store", "ours", "lock"),
        Side("etcd", "etcd's", "lock"),
        1 / 0.5,
        "times a Mutex of Go's concurrency",
    ),
    Bar(
        "hand-over of a lock of store:// that 64 wait for",
        Side("store", "ours", "waiters"),
        Side("etcd", "etcd's", "waiters"),
        1.5,
        "times that of a Mutex",
    ),
    # Not 3 times a Mutex, which makes two requests in the session that it keeps. Each of our locks has a lease of its
    # own, and its four requests go through the JSON gateway: they alone take longer than that.
    Bar(
        "lock and release through etcd://, one after the other",
        Side("etcd", "ours", "lock"),
        Side("etcd", "ours", "gateway"),
        1.5,
        "times its four requests alone",
    ),
    Bar(
        "processor time of the store for a change that it delivers to one of 1,000 watchers",
        Side("store", "ours", "watch"),
        Side("etcd", "etcd's", "watch"),
        2,
        "times that of etcd",
    ),
)


def _told(seconds: Sequence[float]) -> str:
    """Return the median and the range of times in microseconds."""
    least, middle, most = (each * 1e6 for each in (min(seconds), statistics.median(seconds), max(seconds)))
    return f"{middle:,.1f} ({least:,.1f} to {most:,.1f}) µs"
