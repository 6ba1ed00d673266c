"""The messages and groups of a backend for monitors: counts by topic and outcome, and gauges of groups.

A message is counted once, in the process that has it: the program of `memory://` or `sqlite:///`, `fastrpc broker` for
clients with `broker://`. Clients of other servers count the messages that they publish and settle themselves.
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

# Guards the counts of the process: the monitor of a program may ask in a thread.
_counting: Final = threading.Lock()

# Topics with their groups.
_labels: Final = BoundedNames()


class GroupSource(Protocol):
    """Knows the groups of a broker."""

    def begin(self) -> None:
        """Look on this loop from now on."""

    def states(self) -> Sequence[GroupState]:
        """Return the groups as far as they are known. Any thread may ask."""


class BrokerFigures:
    """Reports the counts and the groups of one backend, from `begin` to `end`. Any thread may ask.

    Args:
        counts: returns the numbers of each topic since the backend was made.
        groups: knows its groups.
        file_bytes: returns the bytes on the disk.
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
        # The counts that were added to the counts of the process.
        self._told: dict[str, TopicCounts] = {}

    def begin(self) -> None:
        """Tell monitors from now on."""
        self._groups.begin()
        self._is_open = True
        tells_gauges(self)

    def end(self) -> None:
        """Tell the last counts."""
        self._is_open = False
        self._tell_counts()

    def gauges(self) -> Iterator[Gauge]:
        """Return the gauges, after adding all counts to the counts of the process."""
        if not self._is_open:
            return
        self._tell_counts()
        yield from _group_gauges(self._groups.states())
        if size := self._file_bytes():
            yield "fastrpc_messages_file_bytes", (), size

    def shown(self, most_rows: int) -> dict[str, Any]:
        """Return all figures, and the first topics and groups, for the admin page: names, and no messages."""
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
        """Add all that happened since the last time to the counts of the process.

        There are too many messages to count one by one.
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
    """Yield the gauges of groups; groups beyond the most names share one."""
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
