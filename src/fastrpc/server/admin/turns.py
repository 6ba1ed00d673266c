"""Long work of a thread in short turns. Between two turns a loop that waits for the interpreter gets it."""

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

__all__ = ["in_turns"]

T = TypeVar("T")


def in_turns(items: Iterable[T], each: int = 32) -> Iterator[T]:
    """Yield items, and let other threads run after each such number: otherwise they would wait for 5 ms each."""
    for number, item in enumerate(items):
        if number % each == 0:
            time.sleep(0)
        yield item
