"""Streams that speak rpcx below: of a loop, and of a blocking client."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from fastrpc import ClientConfig, SyncClient, UnavailableError
from fastrpc._core.io.blocking_io import SocketIO
from fastrpc._core.rpcx.layers import RpcxBlockingIO
from fastrpc.protocols.rpcx_client import RpcxStream, rpcx_stream, rpcx_translation
from tests.support.recording_session import RecordingSession
from tests.support.rpcx_wire import Frame, RpcxParser, answered_with, frames_in
from tests.support.still_transport import StillTransport
from tests.support.waiting import eventually
from tests.support.wire_frames import Request, Response, SettingsFrame
from tests.support.wire_parser import Parser, Preface

OPENING = Preface().encode() + SettingsFrame().encode()


class Link:
    """A layer with the layers above and below it; each read above takes `buffer_bytes`."""

    def __init__(self, *, buffer_bytes: int = 65_536) -> None:
        self.above, self.below = RecordingSession(buffer_bytes=buffer_bytes), StillTransport()
        self.layer: RpcxStream = rpcx_stream(
            self.above,  # type: ignore[arg-type]
            ClientConfig(wire_protocol="rpcx"),
            asyncio.get_running_loop(),
        )
        self.layer.connection_made(self.below)

    async def begin(self, *ids: int) -> list[int]:
        """Open, make calls, and return their sequences."""
        self.layer.write(OPENING)
        self.layer.writelines([Request(id, b"Arith.Mul", b"\x91\x01", codec=1).encode() for id in ids])
        await eventually(lambda: self.above.received)
        return [frame.sequence for frame in frames_in(self.below.written)]

    def receive(self, data: bytes) -> None:
        place = self.layer.get_buffer(-1)
        place[: len(data)] = data
        self.layer.buffer_updated(len(data))

    def answered(self) -> list[int]:
        """Return the ids of the calls that were answered above."""
        parser = Parser(False, max_frame=1 << 20)
        parser.feed(bytes(self.above.received))
        return [frame.id for frame in parser if isinstance(frame, Response)]


def answer(sequence: int) -> bytes:
    return Frame(response=True, sequence=sequence, payload=b"\xc0").encode()


@pytest.mark.parametrize("buffer_bytes", [1, 7, 65_536])
async def test_calls_go_down_and_answers_come_up_with_any_room(buffer_bytes: int) -> None:
    link = Link(buffer_bytes=buffer_bytes)
    first, second = await link.begin(1, 3)
    assert (first, second) == (0, 1)
    link.receive(answer(second) + answer(first))
    assert link.answered() == [3, 1]
    assert max(link.above.reads) <= buffer_bytes


async def test_the_session_above_is_told_in_a_separate_turn() -> None:
    link = Link()
    link.layer.write(OPENING)
    assert link.above.received == b""
    await eventually(lambda: link.above.received)


async def test_nothing_is_handed_over_while_the_session_pauses() -> None:
    link = Link()
    [sequence] = await link.begin(1)
    link.layer.pause_reading()
    assert (link.below.is_paused, link.layer.is_reading()) == (True, False)
    link.receive(answer(sequence))
    assert link.answered() == []
    link.layer.resume_reading()
    assert not link.below.is_paused
    await eventually(lambda: link.answered() == [1])


async def test_bytes_that_are_no_rpcx_abort_after_the_answers_before_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    link = Link()
    first, _ = await link.begin(1, 3)
    link.receive(answer(first) + b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert link.answered() == [1]
    assert link.below.is_aborted
    [record] = caplog.records
    assert "a frame begins with 0x48, the magic is 0x08" in record.getMessage()


async def test_bytes_after_the_end_of_the_stream_are_dropped() -> None:
    link = Link()
    [sequence] = await link.begin(1)
    link.layer.connection_lost(None)
    link.layer.connection_lost(None)
    assert link.above.events.count("lost") == 1
    link.receive(answer(sequence))
    assert link.answered() == []
    assert link.layer.eof_received() is False


async def test_the_side_of_the_client_never_ends_alone() -> None:
    link = Link()
    assert not link.layer.can_write_eof()
    assert link.layer.get_extra_info("peername") == "nobody"
    link.layer.pause_writing()
    link.layer.resume_writing()
    assert link.above.events == ["made", "pause", "resume"]
    link.layer.close()
    assert link.layer.is_closing()


async def test_nothing_is_written_to_a_transport_that_closes() -> None:
    link = Link()
    await link.begin()
    link.layer.abort()
    link.layer.write(Request(1, b"Arith.Mul", b"\x91\x01", codec=1).encode())
    assert link.below.written == b""


SPEAKS_RPCX = ClientConfig(wire_protocol="rpcx")

Answers = Callable[[Frame], bytes]


@contextmanager
def client_of(answers: Answers) -> Iterator[SyncClient]:
    """Yield a client of a server that sends the result of `answers` for each frame."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(20)

        def serve() -> None:
            connected, _ = listening.accept()
            with connected:
                parser = RpcxParser()
                # Small, so that long requests leave in parts.
                while data := connected.recv(16_384):
                    for frame in parser.feed(data):
                        connected.sendall(answers(frame))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with SyncClient(f"tcp://127.0.0.1:{listening.getsockname()[1]}", config=SPEAKS_RPCX) as client:
            yield client
        thread.join(20)


def test_long_calls_of_many_threads_go_there_and_back() -> None:
    with client_of(lambda frame: answered_with(frame, frame.value()).encode()) as client:

        def call(number: int) -> bool:
            data = bytes([number]) * (3_000_000 if number % 2 else 10)
            return bool(client.with_options(timeout=60).call("Echo.Echo", data) == data)

        with ThreadPoolExecutor(8) as threads:
            assert all(threads.map(call, range(24)))


def test_the_answers_before_bytes_that_are_no_rpcx_are_good() -> None:
    def answers(frame: Frame) -> bytes:
        wrong = b"HTTP/1.1 400 Bad Request\r\n"
        return answered_with(frame, 42).encode() + wrong if frame.value() == 6 else b""

    with client_of(answers) as client:
        # The second call is under way when they come.
        first, second = client.call_many("Arith.Mul", [(6,), (7,)], return_exceptions=True)
        assert first == 42
        with pytest.raises(UnavailableError, match="a frame begins with 0x48, the magic is 0x08"):
            raise second


def test_closing_the_upper_layer_closes_the_lower_one() -> None:
    near, far = socket.socketpair()
    with near, far:
        below = SocketIO(near)
        io = RpcxBlockingIO(below, rpcx_translation(SPEAKS_RPCX))
        assert (io.descriptor, io.below) == (near.fileno(), below)
        io.close()
        io.close()
        assert (io.descriptor, below.descriptor) == (-1, -1)
        assert far.recv(1) == b""
