"""The queue in the order of priorities."""

import pytest

from fastrpc._core.base.priority_queue import PriorityQueue


def test_items_leave_by_priority_and_then_in_the_order_of_arrival() -> None:
    queue = PriorityQueue()
    for number, priority in enumerate((1, 0, 2, 1, 0, 2)):
        queue.append(number, priority)
    assert list(queue) == [2, 5, 1, 4, 0, 3]
    assert [queue.popleft() for _ in range(len(queue))] == [2, 5, 1, 4, 0, 3]
    assert not queue


def test_a_later_item_overtakes_only_items_of_lower_priority() -> None:
    queue = PriorityQueue()
    queue.append("first", 0)
    queue.append("sheddable", 1)
    queue.append("second", 0)
    assert list(queue) == ["first", "second", "sheddable"]


def test_unknown_priorities_count_as_normal() -> None:
    queue = PriorityQueue()
    queue.append("a", 7)
    assert (len(queue.normal), queue.high, queue.sheddable) == (1, None, None)


def test_nothing_can_be_taken_from_an_empty_queue() -> None:
    queue = PriorityQueue()
    with pytest.raises(IndexError):
        queue.popleft()
    queue.append("a", 1)
    queue.popleft()
    with pytest.raises(IndexError):
        queue.popleft()
    assert len(queue) == 0
