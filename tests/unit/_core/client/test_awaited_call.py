"""Calls that begin as they are made: the future of their end, and the tasks that some of them need."""

import asyncio
import gc
from typing import Any

import pytest

from fastrpc import DecodeError, UnavailableError
from fastrpc.compressors.base import compressor_named
from tests.support.grpc_link import HEAD, GrpcLink, Head, message


def never() -> None:
    raise AssertionError("the answer needs no more work")


async def test_the_answer_is_taken_once_its_future_is_done() -> None:
    link = GrpcLink()
    call = link.caller.call("shop.Desk.Get", b"x")
    future = call._start(never)
    with pytest.raises(RuntimeError, match="is missing"):
        call._take()
    [_] = await link.heard(Head)
    assert not future.done()
    link.answer(1, message(b"y"))
    await future
    assert call._take() == b"y"
    with pytest.raises(RuntimeError, match="was taken"):
        call._take()


async def test_a_call_starts_once() -> None:
    link = GrpcLink()
    call = link.caller.call("shop.Desk.Get", b"x")
    call._start(never)
    with pytest.raises(RuntimeError, match="twice"):
        call._start(never)


async def test_an_answer_that_cannot_be_decoded_is_an_error_of_its_taker() -> None:
    link = GrpcLink()
    call = link.view(codec="json").call("shop.Desk.Get", {})
    future = call._start(never)
    await link.heard(Head)
    link.answer(1, message(b"{"), head=[*HEAD[:1], ("content-type", "application/grpc+json")])
    await future
    with pytest.raises(DecodeError):
        call._take()


@pytest.mark.parametrize("end", ["refused", "compressed"])
async def test_an_answer_that_needs_more_work_is_awaited_by_a_task(end: str) -> None:
    link = GrpcLink()
    call = link.caller.call("shop.Desk.Get", b"x")
    tasks: list[Any] = []
    future = call._start(lambda: tasks.append(asyncio.ensure_future(call)))
    await link.heard(Head)
    if end == "refused":
        link.refuse(1, ("grpc-status", "14"))
    else:
        packed = compressor_named("gzip").compress(b"y" * 100)
        link.answer(1, message(packed, is_compressed=True), head=[*HEAD, ("grpc-encoding", "gzip")])
    # Nothing but the loop runs it.
    assert tasks == []
    await asyncio.sleep(0)
    if end == "refused":
        with pytest.raises(UnavailableError):
            await tasks[0]
    else:
        assert await tasks[0] == b"y" * 100
    assert not future.done()


async def test_a_call_that_is_closed_is_abandoned() -> None:
    link = GrpcLink()
    call = link.caller.call("shop.Desk.Get", b"x")
    future = call._start(never)
    await link.heard(Head)
    call.close()
    assert future.cancelled()
    assert link.engine.stats()["calls"] == 0


async def test_a_call_that_waits_for_a_connection_is_not_started() -> None:
    link = GrpcLink()
    link.caller._options.shared.set_connections([])
    made: list[Any] = []

    async def run(call: Any) -> Any:
        made.append(call)
        return b"later"

    link.caller._options.shared.runner.run = run
    call = link.caller.call("shop.Desk.Get", b"x")
    assert call._start(never) is None
    assert made == []
    assert await call == b"later"
    assert made == [call]


async def test_a_call_that_is_dropped_is_answered_all_the_same() -> None:
    link = GrpcLink()
    future = link.caller.call("shop.Desk.Get", b"x")._start(never)
    await link.heard(Head)
    gc.collect()
    link.answer(1, message(b"y"))
    await future
