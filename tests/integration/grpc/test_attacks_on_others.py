"""Attacks from advisories of 2025 and 2026 on other servers and clients of HTTP/2 and gRPC, tried here.

`test_attacks.py` measures an honest caller during these attacks; this file checks the answer to each attack.
"""

import asyncio
import gzip
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from h2.errors import ErrorCodes

import fastrpc
from fastrpc import Limits, Memory, ServerConfig, Status
from fastrpc._core.server.memory_budget import bytes_held
from tests.support.grpc_link import HEAD, GrpcLink, Head, error_of, message
from tests.support.grpc_peer import grpc_peer
from tests.support.http2_attacker import MALFORMED, PREFACE, WRONG_STARTS, call_of, head, literal
from tests.support.http2_frames import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    raw,
)
from tests.support.peer_writing import write_to
from tests.support.served import Served, served
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

KIB, MIB = 1 << 10, 1 << 20

#: A frame: its kind, flags, stream and content.
Frame = tuple[int, int, int, bytes]


@fastrpc.service("test.v1.Raw")
class Raw:
    def __init__(self) -> None:
        self.ran = 0

    @fastrpc.method(codec="raw")
    async def echo(self, data: bytes) -> bytes:
        self.ran += 1
        return data

    @fastrpc.method(codec="raw")
    async def give(self, data: bytes) -> bytes:
        return bytes(250_000)

    @fastrpc.method(codec="raw")
    async def total(self, blocks: AsyncIterator[bytes]) -> bytes:
        size = 0
        async for block in blocks:
            size += len(block)
        return b"%d" % size


class Stranger:
    """A connection whose frames a test sends and reads."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.seen: list[Frame] = []

    def send(self, *frames: bytes) -> None:
        write_to(self.writer, b"".join(frames))

    async def frame(self) -> Frame | None:
        """Return the next frame, None after the last one."""
        async with asyncio.timeout(20):
            try:
                start = await self.reader.readexactly(9)
                content = await self.reader.readexactly(int.from_bytes(start[:3], "big"))
            except (asyncio.IncompleteReadError, ConnectionError):
                return None
        found = start[3], start[4], int.from_bytes(start[5:9], "big"), content
        self.seen.append(found)
        return found

    async def until(self, kind: int, stream: int = 0) -> bytes:
        """Return the content of the next frame of a kind on a stream."""
        while (found := await self.frame()) is not None:
            if (found[0], found[2]) == (kind, stream):
                return found[3]
        raise AssertionError(f"the connection ended, after {self.seen}")

    async def pinged(self) -> list[Frame]:
        """Return the frames that come before a PING is answered: all of the server's answers to the bytes it read."""
        self.send(raw(PING, b"are here"))
        before = len(self.seen)
        while (found := await self.frame()) is not None:
            if found[:2] == (PING, ACK):
                break
        return self.seen[before:]

    async def goodbye(self) -> int:
        """Return the code of the GOAWAY with which the server closes."""
        codes = []
        while (found := await self.frame()) is not None:
            if found[0] == GOAWAY:
                codes.append(int.from_bytes(found[3][4:8], "big"))
        assert len(codes) == 1, self.seen
        return codes[0]


@asynccontextmanager
async def stranger(target: Served, *settings: tuple[int, int]) -> AsyncIterator[Stranger]:
    address = fastrpc.Address.parse(target)
    made = Stranger(*await asyncio.open_connection(address.host, address.port))
    made.send(PREFACE, raw(SETTINGS, b"".join(struct.pack(">HI", *pair) for pair in settings)))
    await made.until(SETTINGS)
    made.send(raw(SETTINGS, b"", ACK))
    try:
        yield made
    finally:
        made.writer.transport.abort()


@asynccontextmanager
async def attacked(service: Raw | None = None, **settings: Any) -> AsyncIterator[Served]:
    """Yield a server, which still serves an honest caller on another connection, and holds nothing."""
    config = ServerConfig(protocols=("native", "grpc"), **settings)
    async with served(service or Raw(), scheme="tcp", config=config) as target:
        async with grpc_peer(target) as honest:
            assert (await honest.call("/test.v1.Raw/echo", b"before")).messages == [b"before"]
            yield target
            await eventually(lambda: bytes_held() < 64 * KIB)
            assert (await honest.call("/test.v1.Raw/echo", b"behind")).messages == [b"behind"]
            assert honest.goaways == []
        await eventually(lambda: bytes_held() == 0)


def number(value: int) -> bytes:
    return value.to_bytes(4, "big")


def called(stream: int, method: bytes = b"echo", content: bytes = message(b"")) -> bytes:
    return head(stream, call_of(method)) + raw(DATA, content, END_STREAM, stream)


@pytest.mark.parametrize("frames", WRONG_STARTS, ids=range(len(WRONG_STARTS)))
async def test_a_wrong_start_of_a_stream_ends_its_connection_alone(frames: bytes) -> None:
    async with attacked() as target, stranger(target) as peer:
        peer.send(frames)
        assert await peer.goodbye() in {ErrorCodes.PROTOCOL_ERROR, ErrorCodes.STREAM_CLOSED}


@pytest.mark.parametrize("frames", MALFORMED, ids=range(len(MALFORMED)))
@pytest.mark.parametrize("after", ["opening", "call", "GOAWAY"])
async def test_a_malformed_frame_ends_its_connection_alone_in_any_state(frames: bytes, after: str) -> None:
    async with attacked() as target, stranger(target) as peer:
        if after == "call":
            peer.send(called(1))
            await peer.until(HEADERS, 1)
        elif after == "GOAWAY":
            peer.send(head(1), raw(GOAWAY, bytes(8)))
        peer.send(frames, head(3), b"\xff" * 100)
        codes = {ErrorCodes.FRAME_SIZE_ERROR, ErrorCodes.PROTOCOL_ERROR, ErrorCodes.COMPRESSION_ERROR}
        assert await peer.goodbye() in codes


@pytest.mark.parametrize("name", [b"host", b":authority"])
async def test_copies_of_a_host_end_their_stream(name: bytes) -> None:
    raw_service = Raw()
    async with attacked(raw_service) as target, stranger(target) as peer:
        for count in (1, 100, 3_900):
            copies = call_of(b"echo") + literal(name, b"a", 0x40) + b"\xbe" * count
            stream = 1 + 2 * len(peer.seen)
            peer.send(head(stream, copies) + raw(DATA, message(b"x"), END_STREAM, stream))
            frames = await peer.pinged()
            assert [frame[:1] + frame[2:3] for frame in frames if frame[0] in (HEADERS, DATA)] == []
            assert any(frame[0] == RST_STREAM and frame[2] == stream for frame in frames), frames
        assert raw_service.ran == 1


async def test_answers_without_windows_are_held_within_the_memory_of_the_process() -> None:
    many = call_of(b"give") + literal(b"cookie", b"a", 0x40) + b"\xbe" * 100
    async with attacked(memory=Memory(process_bytes=4 * MIB)) as target, stranger(target, (4, 0)) as peer:
        for stream in range(1, 101, 2):
            peer.send(head(stream, many) + raw(DATA, message(b""), END_STREAM, stream))
        # Each is answered with a head, which no window holds, or refused.
        heads: dict[int, int] = {}
        while len(heads) < 50:
            kind, flags, stream, _ = await peer.frame() or pytest.fail(f"the connection ended, {peer.seen}")
            assert kind != DATA
            if kind == HEADERS:
                heads[stream] = flags
        refused = sum(bool(flags & END_STREAM) for flags in heads.values())
        assert refused
        assert bytes_held() <= 4 * MIB + 256 * KIB
        assert (50 - refused) * 250_000 <= 4 * MIB + 256 * KIB


async def test_windows_of_many_streams_are_changed_a_few_times_a_minute() -> None:
    async with attacked() as target, stranger(target, (4, 0)) as peer:
        peer.send(*(called(stream, b"give") for stream in range(1, 201, 2)))
        await peer.pinged()
        for size in (1, 0) * 500:
            peer.send(raw(SETTINGS, b"\0\4" + number(size)))
        assert await peer.goodbye() == ErrorCodes.ENHANCE_YOUR_CALM


async def test_a_window_below_zero_sends_only_bytes_of_credit_above_zero() -> None:
    async with attacked() as target, stranger(target, (4, 10)) as peer:
        peer.send(called(1, b"give"))
        sent = b""
        while len(sent) < 10:
            sent += await peer.until(DATA, 1)
        peer.send(raw(SETTINGS, b"\0\4" + number(0)))
        peer.send(raw(WINDOW_UPDATE, number(10), 0, 1))
        assert [frame for frame in await peer.pinged() if frame[0] == DATA] == []
        for given in (5, 3):
            peer.send(raw(WINDOW_UPDATE, number(given), 0, 1))
            assert await peer.until(DATA, 1) == bytes(given)
            assert [frame for frame in await peer.pinged() if frame[0] == DATA] == []


@pytest.mark.parametrize("stream", [0, 1])
async def test_a_window_that_overflows_ends_its_stream_or_connection(stream: int) -> None:
    async with attacked() as target, stranger(target, (4, 0)) as peer:
        peer.send(called(1, b"give"))
        await peer.pinged()
        peer.send(raw(WINDOW_UPDATE, number(2**31 - 1), 0, stream) * 2)
        if stream:
            assert await peer.until(RST_STREAM, 1) == number(ErrorCodes.FLOW_CONTROL_ERROR)
        else:
            assert await peer.goodbye() == ErrorCodes.FLOW_CONTROL_ERROR


def statuses(answers: Sequence[Any]) -> list[Status]:
    return [Status(answer.status) for answer in answers]


@pytest.mark.parametrize("method", ["echo", "total"])
async def test_a_message_above_the_limit_is_refused_by_its_prefix(method: str) -> None:
    async with attacked(limits=Limits(message_bytes=100_000)) as target, grpc_peer(target) as peer:
        for size in (100_001, 2**31 - 1, 2**32 - 1):
            stream = peer.open(f"/test.v1.Raw/{method}")
            peer.send(stream, b"\0" + number(size))
            assert (await peer.end(stream)).status == Status.RESOURCE_EXHAUSTED
            assert bytes_held() < 64 * KIB


@pytest.mark.parametrize("method", ["echo", "total"])
async def test_a_message_above_the_limit_once_unpacked_is_refused(method: str) -> None:
    async with attacked(limits=Limits(message_bytes=100_000)) as target, grpc_peer(target) as peer:
        for size, status in ((100_001, Status.RESOURCE_EXHAUSTED), (2_000, Status.OK)):
            packed = gzip.compress(bytes(size))
            stream = peer.open(f"/test.v1.Raw/{method}", [("grpc-encoding", "gzip")])
            peer.send(stream, b"\1" + number(len(packed)) + packed, ends=True)
            assert (await peer.end(stream)).status == status


@pytest.mark.parametrize("method", ["echo", "total"])
@pytest.mark.parametrize("data", [b"\0", b"\0\0\0\0", b"\0" + number(10), b"\0" + number(10) + b"half"])
async def test_a_message_that_is_cut_off_is_answered_at_once(method: str, data: bytes) -> None:
    service = Raw()
    async with attacked(service) as target, grpc_peer(target) as peer:
        streams = [peer.open(f"/test.v1.Raw/{method}") for _ in range(20)]
        for stream in streams:
            peer.send(stream, data, ends=True)
        answers = [await peer.end(stream) for stream in streams]
        assert set(statuses(answers)) <= {Status.INTERNAL, Status.INVALID_ARGUMENT}
        assert service.ran == 1


async def test_single_bytes_on_a_thousand_streams_hold_less_than_4_mib() -> None:
    async with attacked() as target, stranger(target) as peer:
        peer.send(*(head(stream) for stream in range(1, 2_001, 2)))
        before = bytes_held()
        for _ in range(4):
            peer.send(*(raw(DATA, b"\0", 0, stream) for stream in range(1, 2_001, 2)))
        frames = await peer.pinged()
        # Streams above the limit were refused, and their later frames are skipped.
        assert bytes_held() - before < 4 * MIB
        assert {frame[0] for frame in frames} <= {RST_STREAM, HEADERS, WINDOW_UPDATE, SETTINGS, PING, GOAWAY}


MALFORMED_ANSWERS = {
    "not packed": (message(b"not packed at all", is_compressed=True), "gzip"),
    "cut off": (message(gzip.compress(bytes(1_000))[:-9], is_compressed=True), "gzip"),
    "a wrong sum": (message(gzip.compress(bytes(1_000))[:-8] + bytes(8), is_compressed=True), "gzip"),
    "nothing": (message(b"", is_compressed=True), "gzip"),
    "not deflated": (message(b"\xff" * 100, is_compressed=True), "deflate"),
    "packed without an encoding": (message(gzip.compress(b"x"), is_compressed=True), "identity"),
    "a flag without meaning": (b"\2" + message(b"abc")[1:], "gzip"),
}


@pytest.mark.parametrize("name", MALFORMED_ANSWERS)
async def test_a_malformed_packed_answer_fails_its_call_alone(name: str) -> None:
    content, encoding = MALFORMED_ANSWERS[name]
    link = GrpcLink()
    first, second = await link.call(), await link.call()
    await link.heard(Head)
    link.answer(1, content, head=[*HEAD, ("grpc-encoding", encoding)])
    link.answer(3, message(b"plain"), head=HEAD)
    assert isinstance(await error_of(first), fastrpc.FastRPCError)
    assert await second == b"plain"
    third = await link.call()
    await link.heard(Head)
    link.answer(5, message(b"third"), head=HEAD)
    assert await third == b"third"


@pytest.mark.parametrize("flags", [END_HEADERS, END_HEADERS | END_STREAM])
async def test_a_call_that_its_peer_never_ends_leaves_nothing(flags: int) -> None:
    async with attacked() as target:
        for _ in range(3):
            async with stranger(target, (4, 0)) as peer:
                peer.send(*(raw(HEADERS, call_of(b"give"), flags, stream) for stream in range(1, 101, 2)))
                peer.send(raw(GOAWAY, bytes(8)))
                await peer.pinged()
        await eventually(lambda: target.server.stats()["live"]["calls"] == 0)
