"""Connections of pages by HTTP/2: their first bytes, drain, age and idleness, figures."""

import asyncio
import logging
from typing import Any

import pytest

from fastrpc import HTTP, Client, HTTPLimits, Keepalive, Timeouts
from fastrpc._core.base.histogram import default_registry
from fastrpc.interceptors import AccessLog
from tests.support.access_records import ended, kept_records
from tests.support.every_way import EVENTS, Ways, every_way
from tests.support.http2_client import Http2Client, http2_client
from tests.support.http2_frames import OPENING
from tests.support.http_talk import HttpClient, request
from tests.support.http_versions import VERSIONS, http_client
from tests.support.peer_writing import write_to
from tests.support.waiting import eventually
from tests.support.web_talk import CONNECT

pytestmark = pytest.mark.one_loop

records = pytest.fixture(kept_records)

ALONE = ("http",)
TEXT = {"text": "a"}
ECHO = "/ways/echo"

#: The frames with which any server of HTTP/2 begins: SETTINGS.
SETTINGS = 4


async def answer_to(address: Any, *parts: bytes) -> bytes:
    """Return the first bytes that come back, nothing if the connection is closed; each part is a separate write."""
    async with await HttpClient.to(address) as client:
        for part in parts:
            write_to(client.writer, part)
            await client.writer.drain()
        async with asyncio.timeout(20):
            try:
                return await client.reader.read(1_000)
            except ConnectionResetError:
                return b""


# The first bytes


@pytest.mark.parametrize("protocols", [ALONE, ("native", "http"), ("http", "grpc")], ids="+".join)
async def test_a_port_takes_both_versions_by_their_first_bytes(protocols: tuple[str, ...]) -> None:
    async with every_way(protocols) as served:
        for version in (*VERSIONS, *VERSIONS):
            async with http_client(version, served.address) as client:
                assert (await client.post(ECHO, TEXT)).value == "a"
        assert served.server._accepting.undecided == 0


@pytest.mark.parametrize("protocols", [ALONE, ("native", "http"), ("http", "grpc")], ids="+".join)
async def test_first_bytes_of_either_version_may_come_one_at_a_time(protocols: tuple[str, ...]) -> None:
    async with every_way(protocols) as served:
        found = await answer_to(served.address, *(bytes((byte,)) for byte in OPENING))
        assert found[3] == SETTINGS
        parts = (bytes((byte,)) for byte in request("POST", ECHO, TEXT))
        assert (await answer_to(served.address, *parts)).startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize(
    "data",
    [
        b"get / http/1.1\r\n\r\n",
        b"PRIME / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PRI / HTTP/1.1\r\n\r\n",
        b"\r\n" * 200,
    ],
)
async def test_bytes_that_are_not_http2_are_answered_as_by_a_server_without_http2(data: bytes) -> None:
    answers = []
    for http2 in (False, True):
        async with every_way(ALONE, http={"http2": http2}) as served:
            answers.append((await answer_to(served.address, data)).partition(b"Date: "))
    assert answers[1][0] == answers[0][0]
    assert answers[1][2][30:] == answers[0][2][30:]


async def test_a_server_without_http2_detects_nothing_and_refuses_it() -> None:
    async with every_way(ALONE, http={"http2": False}) as served:
        assert served.server._accepting.detection is None
        assert (await answer_to(served.address, OPENING))[:9] in (b"", b"HTTP/1.1 ")
        async with http_client("1.1", served.address) as client:
            assert (await client.post(ECHO, TEXT)).value == "a"


async def test_without_http2_grpc_serves_no_pages() -> None:
    async with every_way(http={"http2": False}) as served:
        async with http_client("1.1", served.address) as client:
            assert (await client.post(ECHO, TEXT)).value == "a"
        async with http2_client(served.address) as client:
            assert (await client.post(ECHO, TEXT)).status == 415
            assert (await client.get("/docs")).status == 405


async def test_native_clients_call_next_to_both_versions() -> None:
    async with every_way() as served, Client(str(served.address)) as native:
        async with http_client("1.1", served.address) as first, http_client("2", served.address) as second:
            assert await native.call(Ways.echo, "a") == "a"
            assert (await first.post(ECHO, TEXT)).body == (await second.post(ECHO, TEXT)).body


# Drain


@pytest.mark.parametrize("protocols", [ALONE, ("http", "grpc")], ids="+".join)
async def test_a_drain_says_goodbye_and_lets_requests_end(protocols: tuple[str, ...]) -> None:
    async with every_way(protocols, holds=True) as served, http2_client(served.address) as client:
        stream = await client.start("POST", "/ways/wait", {})
        await eventually(lambda: served.ways.started == 1)
        drain = asyncio.ensure_future(served.server.drain(20))
        await eventually(lambda: len(client.peer.goaways) == 2)
        (first, *_), (last, code, _) = client.peer.goaways
        assert (first, last, code) == (2**31 - 1, stream, 0)
        assert not drain.done()
        served.ways.may_go_on.set()
        assert (await client.end(stream)).value == "waited"
        assert await drain
        await eventually(lambda: client.peer.is_closed)


async def test_a_drain_ends_streams_of_events_at_its_end() -> None:
    async with every_way(holds=True, timeouts=Timeouts(drain=0.1)) as served:
        async with http2_client(served.address) as client:
            stream = await client.start("POST", "/ways/ticks", {}, Accept=EVENTS)
            await client.until(stream, b"data: 0")
            assert not await served.server.drain()
            await eventually(lambda: client.peer.is_closed)
            answer = client.peer.answers[stream]
            assert b"event: error" in answer.data or answer.reset is not None
            assert served.ways.cancelled == 1


async def test_a_drain_of_a_connection_at_rest_closes_it() -> None:
    async with every_way(ALONE) as served, http2_client(served.address) as client:
        assert (await client.post(ECHO, TEXT)).value == "a"
        assert await served.server.drain(20)
        await eventually(lambda: client.peer.is_closed)
        assert client.peer.goaways[-1][1] == 0


async def test_an_old_connection_gets_goaway() -> None:
    keepalive = Keepalive(max_age=1)
    async with every_way(ALONE, keepalive=keepalive, holds=True) as served:
        async with http2_client(served.address) as client:
            stream = await client.start("POST", "/ways/wait", {})
            await eventually(lambda: client.peer.goaways)
            served.ways.may_go_on.set()
            assert (await client.end(stream)).value == "waited"
            await eventually(lambda: client.peer.is_closed)


async def test_an_idle_connection_is_closed_and_a_used_one_is_not() -> None:
    limits = HTTPLimits(idle_seconds=1.0)
    async with every_way(ALONE, timeouts=Timeouts(call=None), http={"limits": limits}, holds=True) as served:
        async with http2_client(served.address) as idle, http2_client(served.address) as used:
            stream = await used.start("POST", "/ways/wait", {})
            assert (await idle.post(ECHO, TEXT)).value == "a"
            await eventually(lambda: idle.peer.is_closed)
            served.ways.may_go_on.set()
            assert (await used.end(stream)).value == "waited"


# Facts for operators


def calls(method: str) -> dict[str, int]:
    return dict(default_registry.counters(method, "server", "http").snapshot()["calls"])


async def test_figures_and_the_access_log_are_the_same_for_both_versions(
    records: list[logging.LogRecord],
) -> None:
    async with every_way(options={"interceptors": [AccessLog()]}) as served:
        told = []
        for version in VERSIONS:
            before = calls("ways.fail")
            async with http_client(version, served.address) as client:
                assert (await client.post("/ways/fail", {"status": "ABORTED"})).status == 409
            (record,) = await ended(records, 1)
            records.clear()
            varying = {"duration_ms", "peer", "request_id", "trace_id"}
            fields = {
                name: getattr(record, name)
                for name in ("side", "service", "method", "status", "identity", "bytes")
            }
            told.append(
                (
                    fields,
                    sorted(set(vars(record)) & varying),
                    sum(calls("ways.fail").values()) - sum(before.values()),
                )
            )
        assert told[1] == told[0]
        assert told[0][2] == 1


async def test_calls_in_flight_are_counted_for_http() -> None:
    async with every_way(holds=True) as served, http2_client(served.address) as client:
        counters = default_registry.counters("ways.wait", "server", "http")
        before = counters.in_flight
        streams = [await client.start("POST", "/ways/wait", {}) for _ in range(3)]
        await eventually(lambda: counters.in_flight == before + 3)
        (live,) = served.server._gate.engines  # type: ignore[union-attr]
        assert live.stats()["calls"] == 3
        served.ways.may_go_on.set()
        for stream in streams:
            await client.end(stream)
        assert counters.in_flight == before


@pytest.mark.parametrize(("protocols", "shown"), [(ALONE, "http"), (("http", "grpc"), "grpc")])
async def test_a_connection_is_counted_under_the_protocol_of_the_settings(
    protocols: tuple[str, ...], shown: str
) -> None:
    async with every_way(protocols) as served, http2_client(served.address) as client:
        assert isinstance(client, Http2Client)
        await client.get("/docs")
        gauges = served.server._gate.dispatcher.gauges()  # type: ignore[union-attr]
        found = {labels: count for name, labels, count in gauges if name == "fastrpc_server_connections"}
        assert {labels: count for labels, count in found.items() if count} == {("tcp", shown): 1}


@pytest.mark.parametrize("version", VERSIONS)
async def test_each_call_of_a_connection_has_its_own_protocol(version: str) -> None:
    async with every_way(ALONE) as served, http_client(version, served.address) as client:
        for _ in range(2):
            assert (await client.post("/ways/who", {})).value[0] == "http"
            assert (await client.post("/ways/Echo", TEXT, **CONNECT)).status == 200
            (engine,) = served.server._gate.engines  # type: ignore[union-attr]
            assert engine.connection.protocol == "http"


def test_http2_is_on_unless_it_is_disabled() -> None:
    assert HTTP().http2
    assert not HTTP(http2=False).http2
