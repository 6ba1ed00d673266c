"""Count the messages that a log dropped before a group got them. JetStream does not count them.

JetStream numbers the deliveries of a consumer. If two deliveries have consecutive numbers, but there is a gap between
their stream numbers, then the group got no message in the gap. Messages in the gap with numbers below the stream's
first message were dropped. A process sees only the deliveries to its own members. Only a group that gets all messages
of its topic can be counted.

A delayed message has two stream numbers, because its schedule is also a message, which is removed when the delayed
message is due. So the delayed messages that were delivered since the latest count are subtracted.
"""

import logging
from collections.abc import Mapping
from time import monotonic
from typing import Any, Final

from fastrpc.brokers.nats.messages import DeliveryNumbers

__all__ = ["MissedMessages"]

logger = logging.getLogger("fastrpc.broker")

#: Shortest time between two log messages about a group, in seconds.
_TELL_SECONDS: Final = 60.0


class MissedMessages:
    """Counts the messages that one group missed, as far as the members in this process can tell."""

    def __init__(self) -> None:
        #: The number of missed messages since the first member joined in this process.
        self.count = 0
        self._number = self._sequence = 0
        self._gaps: list[tuple[int, int]] = []
        # Delayed messages since the latest count.
        self._delayed = 0
        self._told_at: float | None = None

    @property
    def has_gaps(self) -> bool:
        """True if there are gaps whose messages may have been dropped: `explain` has to be called."""
        return bool(self._gaps)

    def restart(self, info: Mapping[str, Any]) -> None:
        """Continue from the place of a consumer."""
        delivered = info["delivered"]
        if delivered["consumer_seq"] < self._number or not self._number:
            self._number, self._sequence = delivered["consumer_seq"], delivered["stream_seq"]

    def note(self, reply: DeliveryNumbers, *, was_delayed: bool = False) -> None:
        """Note a delivery."""
        if reply.number == self._number + 1 and reply.sequence > self._sequence + 1:
            self._gaps.append((self._sequence + 1, reply.sequence))
        # Count it only if there are gaps: its schedule may be in one. Otherwise the count would hide a later loss.
        if was_delayed and reply.deliveries == 1 and self._gaps:
            self._delayed += 1
        if reply.number > self._number:
            self._number = reply.number
            self._sequence = max(self._sequence, reply.sequence)

    def explain(self, name: str | None, first: int) -> int:
        """Count the dropped messages in the gaps; return their number. `first` is the stream's first message."""
        # The gaps may also contain messages that are replayed to other groups: JetStream keeps these.
        gone = sum(max(min(end, first) - start, 0) for start, end in self._gaps)
        lost = max(gone - self._delayed, 0)
        self._gaps.clear()
        self._delayed = 0
        self.count += lost
        if lost and (self._told_at is None or monotonic() - self._told_at > _TELL_SECONDS):
            self._told_at = monotonic()
            logger.error(
                "the group %s is too slow: its log dropped %d messages before it handled them", name, lost
            )
        return lost
