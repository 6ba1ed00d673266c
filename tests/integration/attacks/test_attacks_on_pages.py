"""Attacks by HTTP/2 on pages: each ends only its connection or stream, and an honest client keeps working."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from h2.errors import ErrorCodes

from fastrpc import Identity, Limits, Memory
from fastrpc._core.server.memory_budget import bytes_held
from fastrpc.auth import StaticTokens
from tests.support.every_way import EVENTS, EveryWay, every_way
from tests.support.http2_attacker import PREFACE, literal
from tests.support.http2_client import http2_client
from tests.support.http2_frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    raw,
)
from tests.support.http_talk import HttpClient
from tests.support.peer_writing import write_to
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

KIB, MIB = 1 << 10, 1 << 20
CANCEL = (8).to_bytes(4, "big")

#: More streams than a machine takes in the time in which their budget comes back.
STREAMS = 60_000


def block(path: bytes = b"/ways/echo", *fields: bytes, verb: bytes = b"\x83") -> bytes:
    """Return the block of a request: POST, http, and its path."""
    found = verb + b"\x86" + literal(b":path", path) + literal(b":authority", b"localhost")
    return found + literal(b"content-type", b"application/json") + b"".join(fields)


def head(stream: int, fields: bytes, flags: int = END_HEADERS) -> bytes:
    return raw(HEADERS, fields, flags, stream)


@asynccontextmanager
async def attacked(**options: Any) -> AsyncIterator[EveryWay]:
    """Yield a server, which still serves an honest client on another connection, and holds nothing."""
    before = bytes_held()
    async with every_way(("http",), **options) as served:
        async with http2_client(served.address) as honest:
            fields = {"Authorization": "Bearer secret"}
            assert (await honest.post("/ways/echo", {"text": "before"}, **fields)).value == "before"
            yield served
            await eventually(lambda: bytes_held() < before + 64 * KIB)
            assert (await honest.post("/ways/echo", {"text": "behind"}, **fields)).value == "behind"
            assert honest.peer.goaways == []
    await eventually(lambda: bytes_held() == before)


async def last_words(served: EveryWay, pieces: Iterator[bytes]) -> int | None:
    """Send pieces until the server closes, and return the code of its GOAWAY; None: the system has dropped it."""
    async with await HttpClient.to(served.address) as client:
        reading = asyncio.ensure_future(client.reader.read())
        write_to(client.writer, PREFACE + raw(SETTINGS))
        for piece in pieces:
            if reading.done():
                break
            write_to(client.writer, piece)
            await client.writer.drain()
        async with asyncio.timeout(60):
            try:
                found = await reading
            except ConnectionResetError:
                return None
    return goaway_of(found)


def goaway_of(found: bytes) -> int:
    """Return the code of the last GOAWAY among frames; -1 means that there is no GOAWAY."""
    code, at = -1, 0
    while at + 9 <= len(found):
        if found[at + 3] == GOAWAY:
            code = int.from_bytes(found[at + 13 : at + 17], "big")
        at += 9 + int.from_bytes(found[at : at + 3], "big")
    return code


#: Streams of one kind each, which cost a peer nothing.
FLOODS: dict[str, Callable[[int], bytes]] = {
    "resets": lambda id: head(id, block(b"/ways/wait")) + raw(RST_STREAM, CANCEL, 0, id),
    "resets of whole requests": lambda id: (
        head(id, block(b"/ways/wait"), END_HEADERS | END_STREAM) + raw(RST_STREAM, CANCEL, 0, id)
    ),
    "resets of applications": lambda id: head(id, block(b"/app/x")) + raw(RST_STREAM, CANCEL, 0, id),
    "resets of sockets": lambda id: (
        head(
            id,
            literal(b":method", b"CONNECT")
            + literal(b":protocol", b"websocket")
            + block(b"/ws/ways/echo")[1:],
        )
        + raw(RST_STREAM, CANCEL, 0, id)
    ),
    "unknown methods": lambda id: head(id, block(b"/ways/none"), END_HEADERS | END_STREAM),
    "unknown paths": lambda id: head(id, block(b"/x/y/z"), END_HEADERS | END_STREAM),
    "verbs that are not taken": lambda id: head(id, block(verb=b"\x82"), END_HEADERS | END_STREAM),
    "bodies that are not JSON": lambda id: head(id, block()) + raw(DATA, b"{", END_STREAM, id),
    "lengths that are wrong": lambda id: (
        head(id, block(b"/ways/echo", literal(b"content-length", b"9"))) + raw(DATA, b"{}", END_STREAM, id)
    ),
}


@pytest.mark.parametrize("name", FLOODS)
async def test_a_flood_of_requests_for_nothing_ends_its_connection(name: str) -> None:
    limits = Limits(concurrent_calls=50)
    async with attacked(limits=limits) as served:
        flood = FLOODS[name]
        pieces = (
            b"".join(flood(stream) for stream in range(first, first + 400, 2))
            for first in range(1, 2 * STREAMS, 400)
        )
        assert await last_words(served, pieces) in (ErrorCodes.ENHANCE_YOUR_CALM, None)


async def test_resets_of_requests_with_waiting_handlers_end_their_connection() -> None:
    """CVE-2023-44487: the handlers begin, and end a turn after their streams."""
    flood = FLOODS["resets of whole requests"]
    async with attacked() as served:
        pieces = (
            b"".join(flood(stream) for stream in range(first, first + 200, 2))
            for first in range(1, 20 * STREAMS, 200)
        )
        assert await last_words(served, pieces) in (ErrorCodes.ENHANCE_YOUR_CALM, None)


async def test_a_flood_without_a_credential_ends_its_connection() -> None:
    tokens = StaticTokens({"secret": Identity("ada")})
    async with attacked(limits=Limits(concurrent_calls=50), options={"authenticate": tokens}) as served:
        pieces = (
            b"".join(
                head(stream, block(), END_HEADERS | END_STREAM) for stream in range(first, first + 400, 2)
            )
            for first in range(1, 2 * STREAMS, 400)
        )
        assert await last_words(served, pieces) in (ErrorCodes.ENHANCE_YOUR_CALM, None)
        assert served.ways.started == 0


async def test_half_requests_stay_within_the_memory_of_a_connection() -> None:
    memory = Memory(request_bytes=MIB)
    async with attacked(memory=memory) as served, http2_client(served.address) as client:
        before = bytes_held()
        streams = [client.begin("POST", "/ways/echo", Content_Length="99000") for _ in range(60)]
        for stream in streams:
            answer = client.peer.answers[stream]
            if not answer.is_over:
                await client.peer.send_all(stream, b"x" * 40_000)
        assert (await client.get("/docs")).status == 200
        assert bytes_held() < before + 2 * MIB
        refused = [stream for stream in streams if client.peer.answers[stream].head]
        assert refused
        for stream in refused:
            assert client.peer.answers[stream].head[":status"] in ("429", "503", "507")


async def test_answers_that_nobody_takes_are_held_within_the_memory_of_a_connection() -> None:
    memory = Memory(send_soft=MIB, send_hard=4 * MIB)
    async with attacked(memory=memory, limits=Limits(message_bytes=MIB)) as served:
        async with http2_client(served.address) as client:
            before = bytes_held()
            streams = []
            for _ in range(50):
                # Every byte of an answer waits for a window.
                stream = client.begin("POST", "/ways/ticks", Content_Length=None, Accept=EVENTS)
                client.peer.withheld.add(stream)
                client.send(stream, b'{"size": 10000}', ends=True)
                streams.append(stream)
            await eventually(lambda: all(len(client.peer.answers[one].data) > 65_000 for one in streams[:10]))
            assert bytes_held() < before + 8 * MIB
            for stream in streams:
                if not client.peer.answers[stream].is_over:
                    client.peer.reset(stream)


@pytest.mark.parametrize(
    "field",
    [
        literal(b"transfer-encoding", b"chunked"),
        literal(b"connection", b"close"),
        literal(b"keep-alive", b"1"),
        literal(b"upgrade", b"websocket"),
        literal(b"te", b"gzip"),
        literal(b"Content-Length", b"1"),
        literal(b"content-length", b"1, 2"),
        literal(b"content-length", b"+1"),
        literal(b"x", b"a\r\nb: c"),
        literal(b"x", b"a\0b"),
        literal(b"x y", b"a"),
        literal(b"host", b"other"),
        literal(b":path", b"/other"),
        literal(b"x", b"a") + literal(b":scheme", b"http"),
    ],
)
async def test_a_field_that_could_be_read_in_two_ways_ends_its_stream(field: bytes) -> None:
    async with attacked() as served:
        async with http2_client(served.address) as client:
            peer = client.peer
            peer.send_bytes(head(1, block(b"/ways/who", field), END_HEADERS | END_STREAM))
            # `h2` does not know the stream, and its own streams have higher ids.
            peer.h2.highest_outbound_stream_id = 1
            assert (await client.post("/ways/echo", {"text": "a"})).value == "a"
        assert served.ways.started == 0


@pytest.mark.parametrize(
    "frames",
    [
        raw(DATA, b"{}", 0, 1),
        head(2, block()),
        raw(CONTINUATION, block(), END_HEADERS, 1),
        raw(PUSH_PROMISE, (2).to_bytes(4, "big") + block(), END_HEADERS, 1),
        head(1, b"\xff" * 9),
    ],
    ids=["data", "even", "continuation", "promise", "block"],
)
async def test_a_wrong_start_ends_its_connection_alone(frames: bytes) -> None:
    async with attacked() as served:
        code = await last_words(served, iter([frames]))
        assert code in (
            ErrorCodes.PROTOCOL_ERROR,
            ErrorCodes.STREAM_CLOSED,
            ErrorCodes.COMPRESSION_ERROR,
            None,
        )
