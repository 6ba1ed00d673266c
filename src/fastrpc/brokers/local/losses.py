"""The messages that a log dropped before a group handled them."""

from collections.abc import Callable
from math import inf
from typing import Final

from fastrpc.brokers.local.counts import TopicCounts

__all__ = ["Losses"]

#: The shortest time between two reports, in seconds.
_TOLD_SECONDS: Final = 60.0


class Losses:
    """Counts lost messages and reports them to an operator. Messages that a broadcast lost are only counted.

    Args:
        group: the name of the group; None: a broadcast.
        topic: the name of the topic.
        counts: the counters of the topic.
        tell: a function that is called with the text of a report.
    """

    def __init__(
        self, group: str | None, topic: str, counts: TopicCounts, tell: Callable[[str], None]
    ) -> None:
        self._group, self._topic = group, topic
        self._counts = counts
        self._tell = tell
        self.count = 0
        self._untold, self._told_at = 0, -inf

    def add(self, now: float) -> None:
        """Count a message."""
        self.count += 1
        if self._group is None:
            self._counts.missed += 1
            return
        self._counts.expired += 1
        self._untold += 1
        if now >= self._told_at + _TOLD_SECONDS:
            self._tell(
                f"the group {self._group} is too slow: {self._untold} messages of {self._topic} were dropped before it "
                "handled them"
            )
            self._untold, self._told_at = 0, now
