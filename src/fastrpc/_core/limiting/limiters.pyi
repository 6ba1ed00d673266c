from typing import final

class KeyTable:
    """A word for each of at most 10,000 keys, in memory of a fixed size that forked processes share.

    Names are kept as a hash under a secret of this process. A word at or below the caller's idle value is worthless:
    its place may be given to another key.
    """

    @property
    def taken(self) -> int:
        """Places that belong to a key."""

    def place_of(self, name: bytes, idle: int = 0) -> int | None:
        """Return the place of a name, a new one if needed; None for the word that all names without a place share."""

    def set_word(self, place: int | None, value: int) -> None:
        """Set the word of a place; None: the shared one.

        Raises:
            IndexError: there is no such place.
        """

@final
class AdaptiveLimit:
    """A limit of calls in progress that follows the times of calls.

    Args:
        initial: the limit before the first call.
        floor: the lowest limit.
        ceiling: the highest limit.

    Raises:
        ValueError: they are not in their order.
    """

    def __init__(self, initial: int, floor: int, ceiling: int) -> None: ...
    @property
    def allowed(self) -> int:
        """The calls that may be in progress now."""

    def note_call(self, now: int, held_ns: int, *, is_late: bool = False, calls: int = 1) -> None:
        """Note the end of a call.

        Args:
            now: nanoseconds of the monotonic clock.
            held_ns: how long it took; 0 if that says nothing.
            is_late: whether it missed its deadline.
            calls: calls in progress until then, itself included.
        """

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
        """Count the end of a call that held a place for `held_ns`.

        Raises:
            ValueError: no call holds it.
        """

@final
class Permit:
    """The place that a call holds under one limit, chained to its next one."""
