"""rpcx below a blocking client, against a server in a thread that answers as a test says."""

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from fastrpc import ClientConfig, SyncClient, UnavailableError
from fastrpc._core.io.blocking_io import SocketIO
from fastrpc._core.rpcx.rpcx_blocking_io import RpcxBlockingIO
from fastrpc.protocols.rpcx_client import rpcx_translation
from tests.support.rpcx_wire import Frame, RpcxParser, answered_with

SPEAKS_RPCX = ClientConfig(wire_protocol="rpcx")

Answers = Callable[[Frame], bytes]


@contextmanager
def client_of(answers: Answers) -> Iterator[SyncClient]:
    """Yield a client of a server that sends what `answers` returns for each frame."""
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
    with client_of(
        lambda frame: answered_with(frame, 42).encode() + b"HTTP/1.1 400 Bad Request\r\n"
    ) as client:
        assert client.call("Arith.Mul", 6) == 42
        with pytest.raises(UnavailableError, match="a frame begins with 0x48, the magic is 0x08"):
            client.call("Arith.Mul", 6)


def test_closing_it_closes_what_lies_below() -> None:
    near, far = socket.socketpair()
    with near, far:
        below = SocketIO(near)
        io = RpcxBlockingIO(below, rpcx_translation(SPEAKS_RPCX))
        assert (io.descriptor, io.below) == (near.fileno(), below)
        io.close()
        io.close()
        assert (io.descriptor, below.descriptor) == (-1, -1)
        assert far.recv(1) == b""
