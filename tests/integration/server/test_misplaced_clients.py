"""Clients of HTTP and gRPC at a port without their protocol: a warning names it, once a minute for each peer."""

import asyncio
import contextlib
import logging
from typing import Any

import pytest

import fastrpc
from fastrpc import HTTP, Address, Server, ServerConfig
from fastrpc.handlers import misplaced
from fastrpc.handlers.misplaced import MisplacedClients
from tests.support.peer_writing import write_to

pytestmark = pytest.mark.one_loop

HTTP_1 = b"POST /arith/mul HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
HTTP_2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"


@fastrpc.service("arith")
class Arith:
    @fastrpc.method
    async def mul(self, a: int, b: int) -> int:
        return a * b


async def connect(address: Any, first: bytes) -> None:
    """Send first bytes, and wait for an answer, or the end."""
    reader, writer = await asyncio.open_connection(address.host, address.port)
    write_to(writer, first)
    with contextlib.suppress(ConnectionResetError):
        await reader.read(1)
    writer.close()


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        one.getMessage()
        for one in caplog.records
        if one.levelno == logging.WARNING and getattr(one, "event", None) == "misplaced_client"
    ]


@pytest.mark.parametrize(
    ("protocols", "first", "named"),
    [
        (("native",), HTTP_1, "http"),
        (("native",), HTTP_2, "grpc"),
        (("native", "rpcx"), HTTP_1, "http"),
        (("native", "rpcx"), HTTP_2, "grpc"),
        (("native", "http"), HTTP_2, "grpc"),
        (("native", "grpc"), HTTP_1, "http"),
        (("grpc",), HTTP_1, "http"),
        (("http",), HTTP_2, "grpc"),
        (("rpcx",), HTTP_1, "http"),
        (("rpcx",), HTTP_2, "grpc"),
        (("phobos",), HTTP_1, "http"),
    ],
)
async def test_a_client_without_its_protocol_is_told_of_once(
    protocols: tuple[str, ...], first: bytes, named: str, caplog: pytest.LogCaptureFixture
) -> None:
    http = HTTP(http2="http" not in protocols)
    async with Server(Arith(), config=ServerConfig(protocols=protocols, http=http)) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        for _ in range(3):
            await connect(address, first)
    (told,) = warnings_of(caplog)
    assert f'this port speaks {", ".join(protocols)}: add "{named}" to ServerConfig.protocols' in told
    assert "tcp://127.0.0.1:" in told


@pytest.mark.parametrize("protocols", [("native", "http", "grpc"), ("http", "grpc"), ("http",), ("grpc",)])
async def test_clients_of_spoken_protocols_are_not_told_of(
    protocols: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    async with Server(Arith(), config=ServerConfig(protocols=protocols)) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        for first, spoken in ((HTTP_1, {"http"}), (HTTP_2, {"http", "grpc"})):
            if not spoken.isdisjoint(protocols):
                await connect(address, first)
    assert warnings_of(caplog) == []


async def test_other_strangers_are_no_clients(caplog: pytest.LogCaptureFixture) -> None:
    async with Server(Arith(), config=ServerConfig(protocols=("native", "rpcx"))) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        for first in (b"SSH-2.0-OpenSSH", b"\x16\x03\x01\x02", b"GETA", b"PRIVATE\r\n", b"\0" * 16):
            await connect(address, first + bytes(256))
    assert warnings_of(caplog) == []


def test_each_peer_is_told_of_once_a_minute(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1_000.0]
    clients = MisplacedClients(("native",), clock=lambda: now[0])
    one, other = (Address("tcp", host=host, port=7) for host in ("10.0.0.1", "10.0.0.2"))
    for peer in (one, one, other, other):
        clients.note(peer, HTTP_1)
    assert len(warnings_of(caplog)) == 2
    clients.note(one, HTTP_2)
    assert len(warnings_of(caplog)) == 3
    now[0] += 59.9
    clients.note(one, HTTP_1)
    assert len(warnings_of(caplog)) == 3
    now[0] += 0.1
    clients.note(one, HTTP_1)
    assert len(warnings_of(caplog)) == 4
    # A flood of peers takes no more memory than this.
    monkeypatch.setattr(misplaced, "_MOST_PEERS", 10)
    for number in range(100):
        clients.note(Address("tcp", host=f"10.1.0.{number}", port=7), HTTP_1)
    assert len(clients._warned) == 10
