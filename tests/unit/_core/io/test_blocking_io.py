"""Reads and writes of a blocking connection: owned, closed once, and all facts of its socket."""

import itertools
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

import fastrpc
from fastrpc import ClientConfig, ConnectionLostError, SyncClient, Timeouts
from fastrpc._core.client.blocking_session import BlockingSession
from fastrpc._core.client.client_connection import ClientConnection
from fastrpc._core.io.blocking_io import BlockingIO, SocketIO
from fastrpc._core.wire.settings import usual_settings
from fastrpc.config import Keepalive
from fastrpc.endpoint import Address
from fastrpc.transports.base import DialOptions, add_transport, remove_transport


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    with near, far:
        yield near, far


class Opened:
    """A transport that connects to a given place."""

    numbers = itertools.count(1)

    def __init__(self, *, gives: Any) -> None:
        self.scheme = f"opened-{next(self.numbers)}"
        self._gives = gives

    def connect(self, address: Address, timeout: float | None, options: DialOptions) -> Any:
        return self._gives

    def __enter__(self) -> str:
        add_transport(self)  # type: ignore[arg-type]
        return f"{self.scheme}://here:1"

    def __exit__(self, *error: object) -> None:
        remove_transport(self)  # type: ignore[arg-type]


def test_it_has_the_descriptor_of_its_socket_until_it_is_closed(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    near, far = pair
    io = SocketIO(near)
    assert (io.descriptor, io.socket) == (near.fileno(), near)
    io.close()
    assert (io.descriptor, near.fileno()) == (-1, -1)
    assert far.recv(1) == b""


def test_closing_twice_closes_no_foreign_descriptor(pair: tuple[socket.socket, socket.socket]) -> None:
    io = SocketIO(pair[0])
    number = io.descriptor
    io.close()
    # The lowest free number: the number of the socket just closed.
    other = os.dup(pair[1].fileno())
    io.close()
    os.fstat(other)
    os.close(other)
    assert other == number


def test_the_interface_by_itself_is_closed() -> None:
    io = BlockingIO()
    assert io.descriptor == -1
    io.close()
    assert io.descriptor == -1


def test_a_session_takes_no_raw_socket(pair: tuple[socket.socket, socket.socket]) -> None:
    for wrong in (pair[0], pair[0].fileno(), None):
        engine = ClientConnection(
            endpoint="test", timeouts=Timeouts(), keepalive=Keepalive(), settings=usual_settings(False)
        )
        with pytest.raises(TypeError, match="io"):
            BlockingSession(engine, io=wrong, endpoint="test")  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [10, 100_000, 3_000_000])
def test_a_client_reads_and_writes_only_through_the_io_object(size: int) -> None:
    # Every use says that the descriptor is bad; a client that bypassed it would find no such descriptor.
    config = ClientConfig(timeouts=Timeouts(call=5.0))
    with Opened(gives=BlockingIO()) as target, SyncClient(target, config=config) as client:
        with pytest.raises((ConnectionLostError, fastrpc.UnavailableError), match="Bad file descriptor"):
            client.call("arith.mul", bytes(size))
