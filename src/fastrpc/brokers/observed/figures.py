"""The messages and groups of a backend for monitors: counters by topic and outcome, and gauges of groups.

A message is counted once, in the process that keeps it: the program that opened `memory://` or `sqlite:///`, or
`fastrpc broker` for clients of `broker://`. For other servers, each client counts the messages that it publishes and
settles.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from itertools import islice
from typing import Any, Final, Protocol

from fastrpc.brokers.base import GroupState
from fastrpc.brokers.local.counts import TopicCounts
from fastrpc.escaping import printable
from fastrpc.gauges import BoundedNames, Gauge, count, tells_gauges

__all__ = ["BrokerFigures", "GroupSource"]

_OUTCOMES: Final = tuple(field.name for field in fields(TopicCounts))

# Guards the counters of the process: a monitor may read them in any thread.
_counting: Final = threading.Lock()

# The topics and groups that have their own gauges; their number is limited.
_labels: Final = BoundedNames()


class GroupSource(Protocol):
    """A source of the group states of a broker."""

    def begin(self) -> None:
        """Read states on the running loop from now on."""

    def states(self) -> Sequence[GroupState]:
        """Return the last known states. Any thread may call it."""


class BrokerFigures:
    """Reports the counters and the groups of one backend, from `begin` to `end`. Any thread may read them.

    Args:
        counts: returns the counters of each topic since the backend was created.
        groups: the source of the group states.
        file_bytes: returns the size on the disk in bytes.
    """

    def __init__(
        self,
        counts: Callable[[], Mapping[str, TopicCounts]],
        groups: GroupSource,
        file_bytes: Callable[[], int] = lambda: 0,
    ) -> None:
        self._counts = counts
        self._groups = groups
        self._file_bytes = file_bytes
        self._is_open = False
        # The part of the counts that was added to the counters of the process.
        self._told: dict[str, TopicCounts] = {}

    def begin(self) -> None:
        """Report to monitors from now on."""
        self._groups.begin()
        self._is_open = True
        tells_gauges(self)

    def end(self) -> None:
        """Report the last counts."""
        self._is_open = False
        self._tell_counts()

    def gauges(self) -> Iterator[Gauge]:
        """Yield the gauges, after adding the new counts to the counters of the process."""
        if not self._is_open:
            return
        self._tell_counts()
        yield from _group_gauges(self._groups.states())
        if size := self._file_bytes():
            yield "fastrpc_messages_file_bytes", (), size

    def shown(self, most_rows: int) -> dict[str, Any]:
        """Return the figures of the admin page: totals, and the first topics and groups. They contain no messages."""
        counts, groups = self._counts(), self._groups.states()
        return {
            "messages": {"topics": len(counts), "groups": len(groups), "file_bytes": self._file_bytes()},
            "topics": [
                {"topic": printable(topic), **asdict(counts[topic])}
                for topic in islice(sorted(counts), most_rows)
            ],
            "groups": [_row(group) for group in islice(groups, most_rows)],
        }

    def _tell_counts(self) -> None:
        """Add all events since the last call to the counters of the process.

        Adding each event when it happens would be too slow.
        """
        with _counting:
            for topic, counts in list(self._counts().items()):
                told = self._told.get(topic)
                if told == counts:
                    continue
                if told is None:
                    told = self._told[topic] = TopicCounts()
                for outcome in _OUTCOMES:
                    times = getattr(counts, outcome)
                    count("messages", topic, outcome, times=times - getattr(told, outcome))
                    setattr(told, outcome, times)


def _group_gauges(groups: Sequence[GroupState]) -> Iterator[Gauge]:
    """Yield the gauges of groups; groups beyond the limit of names share one gauge."""
    lag: dict[tuple[str, str], int] = {}
    oldest: dict[tuple[str, str], float] = {}
    dead: dict[tuple[str, str], int] = {}
    for group in groups:
        is_named = _labels.label(f"{group.topic}\n{group.name}") != "_other"
        labels = (group.topic, group.name) if is_named else ("_other", "_other")
        lag[labels] = lag.get(labels, 0) + group.lag
        oldest[labels] = max(oldest.get(labels, 0.0), group.oldest_seconds)
        dead[labels] = dead.get(labels, 0) + group.dead
    for labels in lag:
        yield "fastrpc_messages_lag", labels, lag[labels]
        yield "fastrpc_messages_oldest_seconds", labels, oldest[labels]
        yield "fastrpc_messages_dead", labels, dead[labels]


def _row(group: GroupState) -> dict[str, Any]:
    return {
        "group": printable(group.name),
        "topic": printable(group.topic),
        "pattern": printable(group.pattern),
        "ordered": group.is_ordered,
        "members": group.members,
        "lag": group.lag,
        "oldest_seconds": group.oldest_seconds,
        "under_way": group.under_way,
        "dead": group.dead,
        "expired": group.expired,
    }
