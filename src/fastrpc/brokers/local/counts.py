"""Message counters of one topic since the broker started."""

from dataclasses import dataclass

__all__ = ["TopicCounts"]


@dataclass(slots=True)
class TopicCounts:
    """Counters of events. A message counts once when it is published, and in each group once by its outcome."""

    published: int = 0
    acked: int = 0
    retried: int = 0
    dead: int = 0
    expired: int = 0

    #: Messages whose content cannot be delivered.
    damaged: int = 0

    #: Messages that a broadcast rejected, or that the log dropped before the broadcast took them. A broadcast has no
    #: dead letters, so only their number is kept.
    missed: int = 0
