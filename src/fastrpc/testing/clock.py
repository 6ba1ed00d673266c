"""A clock that moves only by `advance`."""

__all__ = ["FakeClock"]


class FakeClock:
    """Stands in for `time.monotonic` and `time.monotonic_ns`; starts at `now` seconds."""

    def __init__(self, now: float = 1_000.0) -> None:
        self._nanoseconds = int(now * 1e9)

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self._nanoseconds / 1e9

    def nanoseconds(self) -> int:
        """Return the time in nanoseconds."""
        return self._nanoseconds

    def advance(self, seconds: float) -> None:
        """Move forward; time never goes back."""
        if seconds < 0:
            raise ValueError(f"cannot go back by {-seconds} s")
        self._nanoseconds += int(seconds * 1e9)
