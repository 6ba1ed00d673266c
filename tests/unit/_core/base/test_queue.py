"""The queue that holds no memory while it is empty."""

import sys

import pytest

from fastrpc._core.base.priority_queue import Queue


def queue_of(*items: object) -> Queue:
    queue = Queue()
    for item in items:
        queue.append(item)
    return queue


def test_items_leave_in_their_order_of_arrival() -> None:
    queue = queue_of(1, 2)
    queue.appendleft(0)
    assert [queue.popleft() for _ in range(3)] == [0, 1, 2]
    assert not queue


def test_queue_is_true_while_it_has_items() -> None:
    queue = queue_of(None)
    assert queue
    assert len(queue) == 1
    assert queue[0] is None
    queue.remove(None)
    assert not queue
    assert len(queue) == 0
    assert list(queue) == []


def test_queue_can_be_used_again_after_it_was_empty() -> None:
    queue = queue_of(1)
    queue.popleft()
    queue.appendleft(2)
    assert list(queue) == [2]


def test_replaced_items_are_gone() -> None:
    queue = queue_of(1, 2)
    queue.replace([3])
    assert list(queue) == [3]
    queue.replace([])
    assert not queue


def test_nothing_can_be_taken_from_an_empty_queue() -> None:
    queue = Queue()
    with pytest.raises(IndexError):
        queue.popleft()
    with pytest.raises(IndexError):
        queue[0]
    with pytest.raises(ValueError, match="empty"):
        queue.remove(1)


def test_empty_queue_is_small() -> None:
    assert sys.getsizeof(Queue()) <= 64
