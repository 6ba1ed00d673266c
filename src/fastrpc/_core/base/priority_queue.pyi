from collections.abc import Iterator
from typing import Any, final

#: The rank of each priority, from 0.
RANKS: dict[int, int]

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

@final
class PriorityQueue:
    """A queue in the order of priorities: 2 high, 0 normal, 1 sheddable; within each in the order of arrival."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Any]:
        """Iterate in the order in which items leave."""

    @property
    def normal(self) -> Queue: ...
    @property
    def sheddable(self) -> Queue | None: ...
    @property
    def high(self) -> Queue | None: ...
    def append(self, item: object, priority: int) -> None:
        """Put an item after all items of its priority."""

    def popleft(self) -> Any:
        """Remove and return the first item of the highest priority. Raises IndexError if the queue is empty."""
