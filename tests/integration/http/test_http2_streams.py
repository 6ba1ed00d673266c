"""Streams of pages by HTTP/2: many on one connection, both ways at once, each with its own window and its own end."""

import asyncio
import math
import time
from typing import Any

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from fastrpc import Limits, Memory
from fastrpc._core.server.memory_budget import bytes_held
from tests.support.every_way import EVENTS, FORM, LINES, EveryWay, every_way, form_of
from tests.support.grpc_peer import grpc_peer
from tests.support.http2_client import Http2Client, http2_client
from tests.support.mounted import part, start
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

#: More streams of events than browsers open connections to a host.
STREAMS = 7

#: A part of a response that an application sends.
PART = bytes(16_384)


async def begun(client: Http2Client, size: int = 0) -> int:
    """Open a stream of events, and return it once its first event came."""
    stream = await client.start("POST", "/ways/ticks", {"size": size}, Accept=EVENTS)
    await client.until(stream, b"data: ")
    return stream


async def is_served(client: Http2Client) -> bool:
    return bool((await client.post("/ways/echo", {"text": "a"})).value == "a")


async def test_more_streams_of_events_than_connections_of_a_browser_share_one() -> None:
    async with every_way(holds=True) as served, http2_client(served.address) as client:
        streams = [await begun(client) for _ in range(STREAMS)]
        assert await is_served(client)
        served.ways.may_go_on.set()
        for stream in streams:
            await client.until(stream, b"data: 1\n")
            client.peer.reset(stream)
        await eventually(lambda: served.ways.cancelled == STREAMS)
        assert await is_served(client)


async def test_a_silent_stream_of_events_has_signs_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastrpc.server.http.methods.SIGN_SECONDS", 0.05)
    async with every_way(holds=True) as served, http2_client(served.address) as client:
        streams = [await begun(client) for _ in range(3)]
        for stream in streams:
            await client.until(stream, b"\n\n:")
        served.ways.may_go_on.set()
        for stream in streams:
            await client.until(stream, b"data: 1\n")


async def test_a_silent_stream_sends_its_head() -> None:
    """A head that waits for the first message would let a browser wait, too."""
    async with every_way(holds=True) as served, http2_client(served.address) as client:
        stream = client.begin("POST", "/ways/double", Content_Type=LINES, Content_Length=None, Accept=LINES)
        client.send(stream, b'{"value":1}\n')
        assert (await client.head(stream)).status == 200


async def test_lines_go_both_ways_at_once() -> None:
    async with every_way() as served, http2_client(served.address) as client:
        streams = [
            client.begin("POST", "/ways/double", Content_Type=LINES, Content_Length=None) for _ in range(3)
        ]
        for number in range(1, 4):
            for stream in streams:
                client.send(stream, b'{"value":%d}\n' % number)
            for stream in streams:
                await client.until(stream, b'{"value":%d}\n' % (2 * number))
        for stream in streams:
            client.send(stream, b"", ends=True)
            answer = await client.end(stream)
            assert answer.lines[-1] == {"end": {"metadata": {}}}


async def test_a_line_may_be_cut_anywhere() -> None:
    async with every_way() as served, http2_client(served.address) as client:
        stream = client.begin("POST", "/ways/total", Content_Type=LINES, Content_Length=None)
        for byte in b'{"arguments":{"start":1}}\n{"value":2}\n{"value":3}\n':
            client.send(stream, bytes((byte,)))
        client.send(stream, b"", ends=True)
        assert (await client.end(stream)).value == 6


async def test_a_trailing_block_ends_a_body() -> None:
    async with every_way() as served, http2_client(served.address) as client:
        stream = client.begin("POST", "/ways/total", Content_Type=LINES, Content_Length=None)
        client.send(stream, b'{"value":2}\n')
        client.peer.h2.send_headers(stream, [("x-own", "1")], end_stream=True)
        client.peer.flush()
        assert (await client.end(stream)).value == 2


# Cancellation


async def waits(served: EveryWay, client: Http2Client, kind: str) -> int:
    """Begin a request whose handler waits."""
    if kind == "value":
        stream = await client.start("POST", "/ways/wait", {})
    elif kind == "lines":
        stream = client.begin("POST", "/ways/total", Content_Type=LINES, Content_Length=None)
        client.send(stream, b'{"value":2}\n')
    else:
        body = form_of(b"x" * 1_000)
        stream = client.begin("POST", "/photos/sea", Content_Type=FORM, Content_Length=None)
        client.send(stream, body[:-10])
    await eventually(lambda: served.ways.started == 1)
    return stream


@pytest.mark.parametrize("kind", ["value", "lines", "form"])
async def test_a_reset_cancels_the_handler_alone(kind: str) -> None:
    before = bytes_held()
    async with every_way(holds=True) as served, http2_client(served.address) as client:
        stream = await waits(served, client, kind)
        other = await begun(client)
        client.peer.reset(stream)
        await eventually(lambda: served.ways.cancelled == 1)
        assert await is_served(client)
        assert not client.peer.answers[other].is_over
    await eventually(lambda: bytes_held() == before)


@pytest.mark.parametrize("kind", ["value", "lines", "form"])
async def test_a_lost_connection_cancels_all_handlers(kind: str) -> None:
    before = bytes_held()
    async with every_way(holds=True) as served:
        async with http2_client(served.address) as client:
            await waits(served, client, kind)
            await begun(client)
        await eventually(lambda: served.ways.cancelled == 2)
    await eventually(lambda: bytes_held() == before)


async def test_a_reset_of_a_mounted_request_disconnects_the_application() -> None:
    async with every_way() as served, http2_client(served.address) as client:
        stream = client.begin("POST", "/app/x", Content_Length=None)
        client.send(stream, b"a")
        await eventually(lambda: served.application.scopes)
        client.peer.reset(stream)
        await eventually(lambda: served.application.ended == ["disconnect"])
        assert await is_served(client)


async def test_bodies_for_applications_that_have_not_begun_are_freed() -> None:
    before = bytes_held()
    async with every_way() as served, http2_client(served.address) as client:
        assert await is_served(client)
        for _ in range(4):
            # Calls wait for their start while the server reads the bytes that arrived during a stall.
            for _ in range(5):
                stream = client.begin("POST", "/app/x", Content_Length="1000000")
                client.send(stream, bytes(10_000))
                client.peer.reset(stream)
            stall(0.5)
            assert await is_served(client)
        await eventually(lambda: bytes_held() < before + 20_000)
    await eventually(lambda: bytes_held() == before)


def stall(seconds: float) -> None:
    """Block the loop."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


# Windows


async def test_a_slow_reader_stalls_its_stream_alone() -> None:
    async with every_way() as served, http2_client(served.address) as client:
        peer = client.peer
        stream = client.begin("POST", "/ways/ticks", Content_Length=None)
        peer.withheld.add(stream)
        client.send(stream, b'{"size": 1000}', ends=True)
        answer = peer.answers[stream]
        await eventually(lambda: len(answer.data) == peer.h2.local_settings.initial_window_size)
        for _ in range(3):
            assert await is_served(client)
        (engine,) = served.server._gate.engines  # type: ignore[union-attr]
        assert engine.connection.held_bytes < 1_000_000
        came = len(answer.data)
        peer.withheld.clear()
        peer.h2.increment_flow_control_window(came, stream)
        peer.flush()
        await eventually(lambda: len(answer.data) > 3 * came)
        peer.reset(stream)
        await eventually(lambda: served.ways.cancelled == 1)


class Pouring:
    """An application that sends a long body, or parts of one or messages of a WebSocket as long as it may."""

    def __init__(self, piece: bytes = PART, most: float = math.inf) -> None:
        self.piece = piece
        self.most = most
        self.sent = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise NotImplementedError
        is_socket = scope["type"] == "websocket"
        await send({"type": "websocket.accept"} if is_socket else start())
        if scope["path"].endswith("/body"):
            await send(part(bytes(10_000_000)))
        while self.sent < self.most:
            await send(
                {"type": "websocket.send", "bytes": self.piece} if is_socket else part(self.piece, more=True)
            )
            self.sent += len(self.piece)
        await asyncio.Event().wait()


@pytest.mark.parametrize("kind", ["parts", "body", "socket"])
async def test_slow_readers_of_an_application_stall_their_streams_alone(kind: str) -> None:
    before, app = bytes_held(), Pouring()
    memory = Memory(send_soft=4 * len(PART), send_hard=4_000_000)
    async with every_way(http={"mounts": {"/pour": app}}, memory=memory) as served:
        async with http2_client(served.address) as client:
            window = client.peer.h2.local_settings.initial_window_size
            for _ in range(8):
                if kind == "socket":
                    stream = client.connect("/pour", Sec_WebSocket_Version="13")
                else:
                    stream = client.begin("GET", f"/pour/{kind}", ends=True)
                client.peer.withheld.add(stream)
                answer = client.peer.answers[stream]
                await eventually(lambda answer=answer: len(answer.data) == window)
            for _ in range(3):
                assert await is_served(client)
            # What the windows took, `Memory.send_soft`, and a part beyond it of each.
            assert app.sent <= 8 * (window + len(PART)) + 4 * len(PART)
    await eventually(lambda: bytes_held() == before)


async def test_long_bodies_that_have_begun_have_small_pieces_on_a_crowded_connection() -> None:
    piece, rest, streams = 1_048_576, 10_000, 8
    memory = Memory(send_soft=2 * streams * rest, send_hard=16_000_000)
    async with every_way(http={"mounts": {"/pour": Pouring()}}, memory=memory) as served:
        async with http2_client(served.address) as client:
            peer, answers = client.peer, client.peer.answers
            window = peer.h2.local_settings.initial_window_size
            for _ in range(streams):
                # Each begins when little is unsent, and stops shortly before the end of its first piece.
                stream = client.begin("GET", "/pour/body", ends=True)
                peer.withheld.add(stream)
                peer.h2.increment_flow_control_window(piece - rest - window, stream)
                peer.flush()
                await eventually(lambda answer=answers[stream]: len(answer.data) == piece - rest)
            for stream in list(peer.withheld):
                peer.h2.increment_flow_control_window(rest, stream)
            peer.flush()
            await eventually(lambda: all(len(answers[stream].data) == piece for stream in peer.withheld))
            for _ in range(3):
                assert await is_served(client)
            unsent = sum(engine.stats()["buffered"] for engine in served.server._gate.engines)  # type: ignore[union-attr]
            assert unsent <= memory.send_soft + piece + streams * 65_536


@pytest.mark.parametrize("kind", ["parts", "socket"])
@pytest.mark.parametrize("size", [500, 5_000])
async def test_small_parts_wait_for_a_client_whose_windows_are_open_and_that_reads_nothing(
    kind: str, size: int
) -> None:
    before, app = bytes_held(), Pouring(bytes(size), most=64_000_000)
    memory = Memory(send_soft=65_536)
    wide = {SettingCodes.INITIAL_WINDOW_SIZE: 2**31 - 1}
    async with every_way(http={"mounts": {"/pour": app}}, memory=memory) as served:
        async with grpc_peer(served.address, settings=wide) as peer, http2_client(served.address) as other:
            peer.pause()
            peer.h2.increment_flow_control_window(2**31 - 65_536)
            client = Http2Client(peer)
            if kind == "socket":
                client.connect("/pour", Sec_WebSocket_Version="13")
            else:
                client.begin("GET", "/pour/parts", ends=True)
            await eventually(lambda: app.sent)
            for _ in range(3):
                assert await is_served(other)
            # The systems of both sides hold megabytes.
            sent = app.sent
            assert sent < 32_000_000
            peer.resume()
            await eventually(lambda: app.sent >= sent + 1_000_000)
    await eventually(lambda: bytes_held() == before)


@pytest.mark.parametrize("kind", ["lines", "form"])
async def test_a_slow_handler_keeps_the_window_of_its_stream_closed(kind: str) -> None:
    content = b'{"value":1}\n' * 60_000 if kind == "lines" else form_of(bytes(600_000))
    path, media = ("/ways/total", LINES) if kind == "lines" else ("/photos/sea", FORM)
    limits = Limits(stream_window_bytes=65_536)
    async with every_way(holds=True, limits=limits) as served, http2_client(served.address) as client:
        peer, sent = client.peer, 0
        stream = client.begin("POST", path, Content_Type=media, Content_Length=None)
        while (room := peer.h2.local_flow_control_window(stream)) > 0:
            client.send(stream, content[sent : sent + room])
            sent += room
            # The server answers it.
            assert await is_served(client)
        assert sent < len(content)
        for _ in range(3):
            assert await is_served(client)
        assert peer.h2.local_flow_control_window(stream) <= 0
        served.ways.may_go_on.set()
        await peer.send_all(stream, content[sent:], ends=True)
        answer = await client.end(stream)
        assert answer.value == (60_000 if kind == "lines" else ["a.jpg", "image/jpeg", "sea", 0, 600_000])


async def test_a_stream_over_the_limit_of_streams_is_refused_and_others_continue() -> None:
    limits = Limits(streams=2)
    async with every_way(holds=True, limits=limits) as served, http2_client(served.address) as client:
        streams = [await begun(client) for _ in range(2)]
        third = await client.start("POST", "/ways/ticks", {}, Accept=EVENTS)
        answer = await client.peer.end(third)
        assert answer.reset == ErrorCodes.REFUSED_STREAM or answer.head[":status"] in ("429", "503")
        assert await is_served(client)
        client.peer.reset(streams.pop())
        await eventually(lambda: served.ways.cancelled == 1)
        await begun(client)


async def test_streams_of_many_clients_end_with_their_clients() -> None:
    async with every_way(holds=True) as served:

        async def watched() -> None:
            async with http2_client(served.address) as client:
                for _ in range(5):
                    await begun(client)

        await asyncio.gather(*(watched() for _ in range(10)))
        await eventually(lambda: served.ways.cancelled == 50)
