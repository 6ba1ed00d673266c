from collections.abc import Iterator
from typing import Any, final

from fastrpc._core.base.queue import Queue

#: The rank of each priority, from 0.
RANKS: dict[int, int]

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
        """Put an item behind those of its priority."""

    def popleft(self) -> Any:
        """Remove and return the first item of the highest priority. Raises IndexError if the queue is empty."""
