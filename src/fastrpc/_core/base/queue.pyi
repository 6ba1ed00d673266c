from collections.abc import Iterator
from typing import Any, final

@final
class Queue:
    """A queue that takes 40 bytes while it is empty; an empty `collections.deque` takes 760.

    A connection has eight queues, which are empty most of the time.
    """

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Any]: ...
    def __getitem__(self, index: int) -> Any: ...
    def append(self, item: object) -> None: ...
    def appendleft(self, item: object) -> None: ...
    def popleft(self) -> Any:
        """Remove and return the first item. Raises IndexError if the queue is empty."""

    def remove(self, item: object) -> None:
        """Remove the first item that is equal. Raises ValueError without an equal item."""

    def replace(self, items: list[Any]) -> None:
        """Hold these items and no others."""
