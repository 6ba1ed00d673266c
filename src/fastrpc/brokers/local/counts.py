"""The numbers of messages of one topic since the broker started, by outcome."""

from dataclasses import dataclass

__all__ = ["TopicCounts"]


@dataclass(slots=True)
class TopicCounts:
    """Counts of events. A message counts once when it is published, and once for each group by its outcome there."""

    published: int = 0
    acked: int = 0
    retried: int = 0
    dead: int = 0
    expired: int = 0

    #: Messages whose content cannot be delivered.
    damaged: int = 0

    #: Messages that a broadcast rejected, or that were dropped before it took them. Only their number is kept.
    missed: int = 0
