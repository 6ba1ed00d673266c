"""Split long work of a thread into short turns, between which an event loop that waits for the GIL gets it."""

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

__all__ = ["in_turns"]

T = TypeVar("T")


def in_turns(items: Iterable[T], each: int = 32) -> Iterator[T]:
    """Yield items, and let other threads run after every `each` items. Otherwise they would wait 5 ms for the GIL."""
    for number, item in enumerate(items):
        if number % each == 0:
            time.sleep(0)
        yield item
