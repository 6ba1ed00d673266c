from typing import final

from fastrpc._core.limiting.adaptive_limit import AdaptiveLimit
from fastrpc._core.limiting.key_table import KeyTable

@final
class ConcurrencyLimiter:
    """Calls in progress for each key, all under one limit.

    Args:
        adaptive: moves the limit, which is then for one key.

    Raises:
        ValueError: the limit is below 1.
    """

    def __init__(self, limit: int, *, adaptive: AdaptiveLimit | None = None) -> None: ...
    @property
    def adaptive(self) -> AdaptiveLimit | None: ...
    @property
    def table(self) -> KeyTable: ...
    @property
    def limit(self) -> int: ...
    @property
    def mean_ns(self) -> int:
        """The average time a call holds its place; 0 before the first end."""

    @property
    def pause_ns(self) -> int:
        """The time that a refused caller is asked to wait."""

    def try_enter(self, name: bytes, *, is_sheddable: bool = False) -> int | None:
        """Count a call under a name; return the place that it holds, or None if the limit is reached.

        Args:
            is_sheddable: whether the last quarter of the limit is left to others.
        """

    def note_left(self, place: int, held_ns: int) -> None:
        """Count the end of a call that held a place for so long.

        Raises:
            ValueError: no call holds it.
        """

@final
class Permit:
    """The place that a call holds under one limit, chained to its next one."""
