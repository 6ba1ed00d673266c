"""A histogram of latencies in constant memory."""

from collections import Counter
from typing import Any

__all__ = ["Latencies"]

#: Bits of a duration that are kept, so that the error of a percentile is below 1 %.
KEPT_BITS = 7


class Latencies:
    """A count of durations in buckets. The width of a bucket is a fixed share of its durations."""

    def __init__(self) -> None:
        self.count = 0
        self.total_ns = 0
        self.longest_ns = 0
        self._buckets: Counter[int] = Counter()

    def add(self, nanoseconds: int) -> None:
        """Count one duration."""
        self.count += 1
        self.total_ns += nanoseconds
        if nanoseconds > self.longest_ns:
            self.longest_ns = nanoseconds
        shift = max(0, nanoseconds.bit_length() - KEPT_BITS)
        self._buckets[nanoseconds >> shift << shift] += 1

    def percentile(self, share: float) -> float:
        """Return the seconds within which a `share` (0 to 1) of the calls ended; 0.0 without calls."""
        left = share * self.count
        for lower in sorted(self._buckets):
            left -= self._buckets[lower]
            if left <= 0:
                width = 1 << max(0, lower.bit_length() - KEPT_BITS)
                return min(lower + width / 2, self.longest_ns) / 1e9
        return self.longest_ns / 1e9

    @property
    def mean(self) -> float:
        """The average duration of a call in seconds."""
        return self.total_ns / self.count / 1e9 if self.count else 0.0

    def report(self) -> dict[str, Any]:
        """Return mean, percentiles and maximum in seconds."""
        return {
            "mean": self.mean,
            "p50": self.percentile(0.5),
            "p99": self.percentile(0.99),
            "p99.9": self.percentile(0.999),
            "longest": self.longest_ns / 1e9,
        }
