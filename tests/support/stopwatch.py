"""Time that the code itself takes: of this thread on a processor, on a busy machine too."""

import time
from collections.abc import Callable, Generator
from typing import Any

RUNS = 5


def fastest(action: Callable[[], object]) -> float:
    """Return the seconds of the fastest of several runs, which depends most on the code."""
    return min(_seconds(action) for _ in range(RUNS))


def longest_step(start: Callable[[], Generator[int | None, None, Any]], expected: type[Exception]) -> float:
    """Return the seconds of the longest step of a generator that ends with `expected`.

    Of several runs the best counts.
    """
    return min(_longest_of_one_run(start(), expected) for _ in range(RUNS))


def _longest_of_one_run(steps: Generator[int | None, None, Any], expected: type[Exception]) -> float:
    longest = 0.0
    while True:
        before = time.thread_time()
        try:
            next(steps)
        except expected:
            return max(longest, time.thread_time() - before)
        longest = max(longest, time.thread_time() - before)


def _seconds(action: Callable[[], object]) -> float:
    before = time.thread_time()
    action()
    return time.thread_time() - before
