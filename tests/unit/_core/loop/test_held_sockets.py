"""Sockets whose input is held are asked whether their peer is gone; here by connections of a small protocol."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fastrpc._core.io.engine import PythonEngine
from fastrpc._core.loop.loop_state import HeldSockets, loop_state
from fastrpc.protocols.base import StreamSession
from tests.support.waiting import eventually

#: On close the system sends a reset.
RESET = struct.pack("ii", 1, 0)


class Deaf(PythonEngine):
    """Reads nothing."""

    def __init__(self) -> None:
        self.ends: list[Any] = []

    def connection_made(self) -> None:
        self.hold_back(True)

    def receive_data(self, data: bytes) -> int:
        self.ends.append(data)
        return len(data)

    def eof_received(self) -> None:
        self.ends.append("eof")

    def connection_lost(self, error: BaseException | None) -> None:
        self.ends.append("lost")


def held_sockets() -> HeldSockets:
    return loop_state(asyncio.get_running_loop()).held_sockets


@asynccontextmanager
async def connected(**options: Any) -> AsyncIterator[tuple[Deaf, socket.socket]]:
    """Yield an engine that is held back, and the socket of its peer, whose bytes have arrived."""
    loop = asyncio.get_running_loop()
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with near, far:
        far.sendall(b"unread")
        near.setblocking(False)
        engine = Deaf()
        for name, value in options.items():
            setattr(engine, name, value)
        transport, _ = await loop.connect_accepted_socket(lambda: StreamSession(engine, loop=loop), near)
        try:
            yield engine, far
        finally:
            transport.abort()
            await eventually(lambda: "lost" in engine.ends)


async def test_the_end_of_a_peer_behind_unread_bytes_is_the_end_of_the_connection() -> None:
    async with connected() as (engine, peer):
        assert len(held_sockets()) == 1
        held_sockets().look()
        await asyncio.sleep(0)
        assert engine.ends == []
        peer.shutdown(socket.SHUT_WR)
        await eventually(lambda: engine.ends)
        assert engine.ends[0] == "eof"
        await eventually(lambda: engine.ends == ["eof", "lost"])
        assert len(held_sockets()) == 0


async def test_an_end_that_is_none_waits_until_it_is_read() -> None:
    async with connected(outlasts_input=True) as (engine, peer):
        peer.shutdown(socket.SHUT_WR)
        held_sockets().look()
        await asyncio.sleep(0)
        assert (engine.ends, len(held_sockets())) == ([], 1)
        engine.hold_back(False)
        await eventually(lambda: engine.ends == [b"unread", "eof", "lost"])


@pytest.mark.parametrize("outlasts_input", [False, True])
async def test_a_reset_ends_a_connection_in_any_case(outlasts_input: bool) -> None:
    loop = asyncio.get_running_loop()
    engine = Deaf()
    engine.outlasts_input = outlasts_input
    server = await loop.create_server(lambda: StreamSession(engine, loop=loop), "127.0.0.1", 0)
    async with server:
        with socket.create_connection(server.sockets[0].getsockname()) as peer:
            peer.sendall(b"unread")
            await eventually(lambda: len(held_sockets()))
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        await eventually(lambda: engine.ends == ["lost"])
        assert len(held_sockets()) == 0


async def test_a_socket_that_is_read_again_is_no_longer_watched() -> None:
    async with connected() as (engine, _):
        engine.hold_back(False)
        await eventually(lambda: engine.ends == [b"unread"])
        held_sockets().look()
        assert len(held_sockets()) == 0


async def test_one_that_fails_harms_no_other() -> None:
    class Broken(Deaf):
        def eof_received(self) -> None:
            raise ZeroDivisionError

    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))
    async with connected() as (engine, peer), connected() as (other, its_peer):
        engine.eof_received = Broken.eof_received.__get__(engine)  # type: ignore[method-assign]
        for one in (peer, its_peer):
            one.shutdown(socket.SHUT_WR)
        await eventually(lambda: other.ends == ["eof", "lost"])
        assert isinstance(told[0], ZeroDivisionError)
