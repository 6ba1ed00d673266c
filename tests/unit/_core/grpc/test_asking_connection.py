"""Requests on a connection: the streams that they open, and the calls that wait for one."""

import asyncio
from typing import Any

import h2.events
import pytest
from h2.settings import SettingCodes

from fastrpc import DeadlineExceededError
from fastrpc.config import ClientConfig
from tests.support.grpc_link import GrpcLink, Head, error_of, message


async def test_calls_above_the_streams_of_the_server_wait_in_order() -> None:
    link = GrpcLink(settings={SettingCodes.MAX_CONCURRENT_STREAMS: 2})
    link.engine.await_crowd(16)
    calls = [await link.call(b"%d" % number) for number in range(4)]
    high = await link.call(b"high", link.view(priority=2))
    assert len(await link.heard(Head)) == 2
    assert link.engine.stats()["waiting"] == 3
    await asyncio.sleep(0)
    assert "crowded" in link.owner.heard
    link.answer(1, message(b"0"))
    [data] = await link.heard(h2.events.DataReceived)
    assert (data.stream_id, data.data) == (5, message(b"high"))
    for stream in (3, 5):
        link.answer(stream, message(b"x"))
    assert [event.data for event in await link.heard(h2.events.DataReceived)] == [
        message(b"2"),
        message(b"3"),
    ]
    for stream in (7, 9):
        link.answer(stream, message(b"x"))
    assert await asyncio.gather(*calls, high) == [b"0", b"x", b"x", b"x", b"x"]


async def test_a_waiting_call_that_is_cancelled_is_never_sent() -> None:
    link = GrpcLink(settings={SettingCodes.MAX_CONCURRENT_STREAMS: 1})
    first = await link.call()
    second, third = await link.call(), await link.call(b"3")
    await link.heard(Head)
    second.cancel()
    await asyncio.sleep(0)
    link.answer(1, message(b"x"))
    [data] = await link.heard(h2.events.DataReceived)
    assert data.data == message(b"3")
    link.answer(3, message(b"y"))
    assert (await first, await third) == (b"x", b"y")


async def test_a_deadline_runs_while_a_call_waits() -> None:
    link = GrpcLink(settings={SettingCodes.MAX_CONCURRENT_STREAMS: 0})
    call = await link.call(b"", link.view(timeout=0.02))
    error = await error_of(call)
    assert isinstance(error, DeadlineExceededError)
    assert error.processed == "no"
    assert await link.heard(Head) == []


async def test_new_settings_make_room() -> None:
    link = GrpcLink(settings={SettingCodes.MAX_CONCURRENT_STREAMS: 0})
    call = await link.call()
    assert await link.heard(Head) == []
    link.server.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 1})
    assert len(await link.heard(Head)) == 1
    link.answer(1, message(b"x"))
    assert await call == b"x"


@pytest.mark.parametrize(("early", "sent"), [("none", []), ("idempotent", [b"2"]), ("all", [b"1", b"2"])])
async def test_only_some_calls_leave_before_the_opening_is_answered(early: Any, sent: list[bytes]) -> None:
    config = ClientConfig(wire_protocol="grpc", early_calls=early)
    link = GrpcLink(config, is_settled=False)
    await link.call(b"1")
    await link.call(b"2", link.view(idempotent=True))
    await asyncio.sleep(0)
    written = link.transport.written
    assert [message(one) in written for one in (b"1", b"2")] == [one in sent for one in (b"1", b"2")]
    left = {message(b"1"), message(b"2")}
    got = {event.data for event in await link.heard(h2.events.DataReceived)}
    assert got == left
    assert link.owner.heard.count("ready") == 1
