"""Calls that wait for their start, as the admission keeps them."""

from fastrpc._core.serving.waiting_calls import WaitingCalls


def test_nothing_waits_at_first() -> None:
    waiting = WaitingCalls()
    assert len(waiting) == 0
    assert list(waiting) == []
    assert not waiting.normal
    assert not waiting.sheddable
