from typing import final

@final
class AdaptiveLimit:
    """A limit of calls in progress that follows their times.

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
