"""The event of a connection that drains, which calls functions."""

import asyncio

import pytest

from fastrpc import Client
from fastrpc._core.calls.call import Draining
from fastrpc._core.loop.drain_event import DrainEvent


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


async def test_function_that_fails_is_logged_and_the_functions_after_it_are_called(
    caplog: pytest.LogCaptureFixture,
) -> None:
    event, called = DrainEvent(), []

    def fail() -> None:
        raise ValueError("no")

    def leave() -> None:
        raise SystemExit(1)

    for function in (fail, leave, lambda: called.append("told")):
        event.notify(function)
    event.set()
    assert called == ["told"]
    assert [record.name for record in caplog.records] == ["fastrpc.server"] * 2
    assert "ValueError: no" in caplog.text


async def test_call_of_a_client_takes_functions_and_calls_none() -> None:
    called: list[str] = []

    def tell() -> None:
        called.append("told")

    async with Client("tcp://127.0.0.1:1") as client:
        calling = client.call("shop.count", "apple")
        calling.draining.notify(tell)
        calling.draining.forget(tell)
        calling.close()
    assert called == []
