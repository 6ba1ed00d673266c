"""Work that keeps the event loop, as a handler may that computes for long."""

import time

__all__ = ["keep_the_loop"]


def keep_the_loop(seconds: float) -> None:
    """Let nothing else on this loop run for so long, without processor time that other tests need."""
    time.sleep(seconds)
