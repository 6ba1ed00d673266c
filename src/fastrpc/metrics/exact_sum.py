"""Sums of floats that do not depend on the order of the additions.

The last bits of a sum of floats depend on the order: (a + b) + c is not a + (b + c). A replaced process changes the
order, so a counter could fall in its last bit. Prometheus treats this as a restart and counts the whole value as an
increase.
"""

import math
from collections.abc import Sequence
from typing import TypeAlias

__all__ = ["ExactSum", "Plain"]

#: A sum as values that JSON can represent: a float, or several floats that add up to it exactly.
Plain: TypeAlias = float | Sequence[float]


class ExactSum:
    """The sum of floats without rounding, kept as floats that do not overlap (J. R. Shewchuk, 1997)."""

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        # Ordered by magnitude, smallest first. A sum that is not finite is a single part.
        self._parts: list[float] = []

    def add(self, value: Plain, sign: int = 1) -> None:
        """Add a float, or another sum; a sign of -1 subtracts it."""
        for one in value if isinstance(value, Sequence) else (value,):
            self._add(sign * one)

    def _add(self, value: float) -> None:
        parts = []
        for part in self._parts:
            high = value + part
            if not math.isfinite(high):
                self._parts = [high]
                return
            # The part of the smaller number that `high` cannot hold.
            low = part - (high - value) if abs(value) >= abs(part) else value - (high - part)
            if low:
                parts.append(low)
            value = high
        parts.append(value)
        self._parts = parts

    def plain(self) -> Plain:
        """Return the sum as plain values that `add` takes."""
        return list(self._parts) if len(self._parts) > 1 else float(self)

    def __float__(self) -> float:
        return math.fsum(self._parts)
