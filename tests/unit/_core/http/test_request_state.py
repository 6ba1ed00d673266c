"""The state of a request: a connection may have many at once, each with its call and its answer."""

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fastrpc import HTTP, method, service
from tests.support.exchanges import asked, begun, content_of
from tests.support.gateway_talk import connected
from tests.support.http_shop import Shop
from tests.support.http_talk import request
from tests.support.kept_requests import Place
from tests.support.socket_frames import PING, TEXT, client_frame
from tests.support.waiting import eventually

LINES = (b"content-type", b"application/x-ndjson")


async def test_requests_of_one_connection_have_their_own_answers() -> None:
    async with connected() as talk:
        waiting = await begun(talk, "/shop.v1/wait", {})
        first = await asked(talk, "/shop.v1/echo", {"text": "a"})
        second = await asked(talk, "/shop.v1/later", {"text": "b"})
        fault = await asked(talk, "/shop.v1/none", {})
        plain = await talk.post("/shop.v1/echo", {"text": "c"})
        assert (content_of(first), content_of(second), plain.value) == ("a", "b", "c")
        assert (fault.status, waiting.is_complete) == (404, False)
        assert len(talk.engine.connection.running) == 1


async def test_a_reset_request_stops_its_call_alone() -> None:
    shop = Shop()
    async with connected(shop=shop) as talk:
        other = await begun(talk, "/shop.v1/wait", {})
        waiting = await begun(talk, "/shop.v1/wait", {})
        assert shop.started.is_set()
        asyncio.get_running_loop().call_soon(waiting.reset)
        await eventually(shop.cancelled.is_set)
        await eventually(lambda: len(talk.engine.connection.running) == 1)
        shop.goes_on.set()
        await eventually(lambda: other.is_complete)
        assert (waiting.parts, other.status) == ([], 200)
        await eventually(lambda: talk.engine.connection.held_bytes == 0)
        assert (await talk.post("/shop.v1/echo", {"text": "c"})).value == "c"


async def test_a_stream_that_lost_its_exchange_sends_nothing() -> None:
    async with connected() as talk:
        exchange = await begun(talk, "/shop.v1/double", b'{"value":1}\n', LINES)
        assert exchange.status == 200
        asyncio.get_running_loop().call_soon(exchange.reset)
        await eventually(lambda: not talk.engine.connection.running)
        await eventually(lambda: talk.engine.connection.held_bytes == 0)


async def test_a_full_exchange_stalls_its_sender_alone() -> None:
    async with connected() as talk:
        slow = await begun(talk, "/shop.v1/count", {"to": 1_000}, takes_none=True)
        await eventually(lambda: slow.has_sender)
        fast = await asked(talk, "/shop.v1/count", {"to": 3})
        assert (fast.is_complete, slow.is_complete) == (True, False)
        asyncio.get_running_loop().call_soon(slow.make_room)
        await eventually(lambda: slow.is_complete)
        assert len(b"".join(slow.parts).splitlines()) == 1001


async def test_a_fault_of_a_request_is_noted() -> None:
    async with connected(http=HTTP(jsonrpc=True), paths={"/place": Place()}) as talk:
        fault = await asked(talk, "/place", b"", method=b"PUT")
        assert (fault.status, fault.refused) == (405, 1)
        assert (await asked(talk, "/shop.v1/echo", {"text": "a"})).refused == 0


@service("silent")
class Silent:
    @method
    async def numbers(self) -> AsyncIterator[int]:
        await asyncio.Event().wait()
        yield 1


async def test_a_silent_stream_gives_signs_of_life() -> None:
    async with connected(shop=Silent()) as talk:
        events = (b"accept", b"text/event-stream")
        streams = [await begun(talk, "/silent/numbers", {}, *fields) for fields in ([events], [])]
        assert [(stream.status, stream.parts) for stream in streams] == [(0, []), (0, [])]
        due = [stream.look() for stream in streams]
        assert all(due)
        assert [stream.look(20_000_000_000) > 0 for stream in streams] == [True, False]
        assert [(stream.status, stream.parts) for stream in streams] == [(200, [b":\n\n"]), (200, [])]
        for stream in streams:
            asyncio.get_running_loop().call_soon(stream.reset)
        await eventually(lambda: not talk.engine.connection.running)
        assert [stream.look() for stream in streams] == [0, 0]


async def test_parts_of_a_document_outlive_its_request_and_are_counted_back() -> None:
    place = Place()
    shop = Shop()
    outcomes: list[Any] = []
    async with connected(paths={"/place": place}, shop=shop) as talk:
        exchange = await begun(talk, "/place", b"x", (b"content-type", b"text/plain"))
        kept = place.last
        loop = asyncio.get_running_loop()
        loop.call_soon(kept.call, "shop.v1.wait", b"{}", outcomes.append)
        await eventually(shop.started.is_set)
        kept.count_answer(100)
        assert kept.is_asked
        loop.call_soon(exchange.reset)
        await eventually(lambda: len(outcomes) == 1)
        kept.count_answer(-100)
        assert (outcomes[0].value, kept.is_asked, kept.transport) == (None, False, None)
        kept.answer(200, [], b"late")
        assert exchange.parts == []
        await eventually(lambda: talk.engine.connection.held_bytes == 0)


async def test_a_reset_document_stops_its_parts_alone() -> None:
    place = Place()
    shop = Shop()
    outcomes: list[Any] = []
    async with connected(paths={"/place": place}, shop=shop) as talk:
        other = await begun(talk, "/shop.v1/wait", {})
        exchange = await begun(talk, "/place", b"x", (b"content-type", b"text/plain"))
        loop = asyncio.get_running_loop()
        # More than are kept without a look for ended ones.
        for _ in range(20):
            loop.call_soon(place.last.call, "shop.v1.later", b'{"text":"a"}', outcomes.append)
            await asyncio.sleep(0)
        await eventually(lambda: len(outcomes) == 20)
        for _ in range(3):
            loop.call_soon(place.last.call, "shop.v1.wait", b"{}", outcomes.append)
        await eventually(lambda: len(talk.engine.connection.running) == 4)
        loop.call_soon(exchange.reset)
        await eventually(lambda: len(outcomes) == 23)
        assert [outcome.value for outcome in outcomes[20:]] == [None] * 3
        assert (len(talk.engine.connection.running), other.is_complete) == (1, False)


async def test_a_request_outlives_its_exchange_that_told_it_nothing() -> None:
    place = Place()
    async with connected(paths={"/place": place}) as talk:
        exchange = await begun(talk, "/place", b"x", (b"content-type", b"text/plain"))
        assert place.last.is_asked
        del exchange
        gc.collect()
        assert (place.last.is_asked, place.last.transport) == (False, None)
        place.last.answer(200, [], b"late")


async def test_a_body_whose_first_part_ends_the_request_is_left() -> None:
    async with connected() as talk:
        body = b'{"arguments":{"no":1}}\n{"value":1}\n{"value":2}\n'
        exchange = await begun(talk, "/shop.v1/double", body, LINES)
        await eventually(lambda: exchange.is_complete)
        assert exchange.status == 400
        await eventually(lambda: talk.engine.connection.held_bytes == 0)


async def test_the_body_of_a_faulty_request_is_counted() -> None:
    async with connected(paths={"/place": Place()}) as talk:
        data = request("PUT", "/place", bytes(10_000), Content_Type="text/plain", Content_Length="10000")
        await talk.sent(data[:-4_000])
        assert talk.engine.connection.held_bytes > 5_000
        talk.send(data[-4_000:])
        assert (await talk.response()).status == 405
        assert talk.engine.connection.held_bytes == 0


@pytest.mark.parametrize("target", ["/shop.v1/echo", "/ws/shop.v1/echo", "/place", "/nowhere"])
async def test_a_tunnel_of_another_protocol_is_not_implemented(target: str) -> None:
    async with connected(http=HTTP(websocket=True), paths={"/place": Place()}) as talk:
        exchange = await asked(talk, target, None, method=b"CONNECT", protocol=b"connect-udp")
        assert (exchange.status, exchange.is_complete) == (501, True)


async def test_the_silence_of_a_tunnel_is_its_own() -> None:
    socket_fields = [(b"sec-websocket-version", b"13"), (b"sec-websocket-protocol", b"fastrpc.json")]
    shop = Shop()
    async with connected(http=HTTP(websocket=True), shop=shop) as talk:
        tunnel = await begun(talk, "/ws/shop.v1/wait", None, *socket_fields, method=b"CONNECT")
        asyncio.get_running_loop().call_soon(tunnel.feed, client_frame(TEXT, b"{}"))
        await eventually(shop.started.is_set)
        # Later bytes of the connection belong to other requests.
        talk.engine.received_ns += 100_000_000_000
        tunnel.look(100_000_000_000)
        assert tunnel.parts[-1][0] & 0x0F == PING
        asyncio.get_running_loop().call_soon(tunnel.reset)
        await eventually(shop.cancelled.is_set)


async def test_a_tunnel_is_a_websocket_beside_other_requests() -> None:
    target = "/ws/shop.v1/echo"
    socket_fields = [(b"sec-websocket-version", b"13"), (b"sec-websocket-protocol", b"fastrpc.json")]
    async with connected(http=HTTP(websocket=True)) as talk:
        tunnel = await begun(talk, target, None, *socket_fields, method=b"CONNECT")
        assert (tunnel.status, tunnel.is_complete) == (200, False)
        assert (await talk.post("/shop.v1/echo", {"text": "c"})).value == "c"
        frame = client_frame(TEXT, b'{"arguments":{"text":"a"}}')
        asyncio.get_running_loop().call_soon(tunnel.feed, frame)
        await eventually(lambda: tunnel.was_cut)
        assert b'{"value":"a"}' in b"".join(tunnel.parts)
        # The connection stays usable.
        assert (await talk.post("/shop.v1/echo", {"text": "d"})).value == "d"


@pytest.mark.parametrize(
    ("version", "method", "text"),
    [(b"8", b"CONNECT", "version"), (b"13", b"GET", "CONNECT")],
)
async def test_a_faulty_handshake_is_refused(version: bytes, method: bytes, text: str) -> None:
    async with connected(http=HTTP(websocket=True)) as talk:
        field = (b"sec-websocket-version", version)
        exchange = await asked(talk, "/ws/shop.v1/echo", None, field, method=method)
        assert exchange.status == 400
        assert text in content_of(exchange)["detail"]


async def test_a_tunnel_ends_in_its_own_words_when_the_connection_closes() -> None:
    socket_fields = [(b"sec-websocket-version", b"13"), (b"sec-websocket-protocol", b"fastrpc.json")]
    shop = Shop()
    async with connected(http=HTTP(websocket=True), shop=shop) as talk:
        other = await begun(talk, "/shop.v1/later", {"text": "b"})
        tunnel = await begun(talk, "/ws/shop.v1/wait", None, *socket_fields, method=b"CONNECT")
        asyncio.get_running_loop().call_soon(tunnel.feed, client_frame(TEXT, b"{}"))
        await eventually(shop.started.is_set)
        tunnel.end_tunnel("it ends")
        await eventually(shop.cancelled.is_set)
        await eventually(lambda: other.is_complete)
        assert (content_of(other), tunnel.was_cut) == ("b", True)
        assert b"it ends" in tunnel.parts[-1]
