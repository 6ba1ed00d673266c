"""The event of a connection that drains, which calls functions."""

import asyncio

from fastrpc._core.calls.call import Draining
from fastrpc._core.server.drain_event import DrainEvent


async def test_functions_are_called_once_when_it_is_set() -> None:
    event, called = DrainEvent(), []
    draining = Draining(event)

    def forgotten() -> None:
        called.append("forgotten")

    draining.notify(lambda: called.append("told"))
    draining.notify(forgotten)
    draining.forget(forgotten)
    waiting = asyncio.create_task(Draining(event))
    await asyncio.sleep(0)
    assert called == []
    event.set()
    event.set()
    assert called == ["told"]
    assert await waiting is True


async def test_function_that_comes_late_is_called_at_once() -> None:
    event, called = DrainEvent(), []
    event.set()
    Draining(event).notify(lambda: called.append("late"))
    assert called == ["late"]
