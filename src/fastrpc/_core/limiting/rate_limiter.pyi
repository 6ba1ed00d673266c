from typing import final

from fastrpc._core.limiting.key_table import KeyTable

@final
class RateLimiter:
    """A token bucket for each key; processes forked after it was made share its buckets.

    Args:
        rate: tokens that come in a second.
        burst: tokens that a full bucket holds.
        now: nanoseconds of the monotonic clock; for tests.

    Raises:
        ValueError: a number is out of its range.
    """

    def __init__(self, rate: float, burst: int, *, now: int | None = None) -> None: ...
    @property
    def table(self) -> KeyTable: ...
    def try_take(self, name: bytes, now: int, *, is_sheddable: bool = False) -> int:
        """Take a token from the bucket of a name; return 0, or the nanoseconds until there will be one.

        Args:
            is_sheddable: whether the last quarter of the bucket is left to others.
        """

    def return_token(self) -> None:
        """Undo the last `try_take` that succeeded."""
