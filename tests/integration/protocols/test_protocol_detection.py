"""One port, several protocols: the first bytes of a connection choose, and nobody can hold it undecided."""

import asyncio
from typing import Any

import pytest

from fastrpc import Admission, Client, ConfigError, Server, ServerConfig, Timeouts
from fastrpc._core.serving.server_session import ServerSession
from fastrpc.protocols.base import Verdict, register
from fastrpc.protocols.native import detect_native
from tests.support.served import SCHEMES, served
from tests.support.shop import Shop
from tests.support.toy_protocol import ToySession
from tests.support.waiting import eventually

BOTH = ("native", "toy")


async def connect(server: Server) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    [listener] = server._listeners
    return await asyncio.open_connection(listener.address.host, listener.address.port)


def undecided(server: Server) -> int:
    assert server._detection is not None
    return len(server._detection.undecided)


async def heard(reader: asyncio.StreamReader) -> bytes:
    """Return what comes until the connection is closed, in whichever way."""
    async with asyncio.timeout(20):
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("protocols", [BOTH, BOTH[::-1]])
async def test_native_clients_are_served_beside_another_protocol(
    scheme: str, protocols: tuple[str, ...]
) -> None:
    config = ServerConfig(protocols=protocols)
    async with served(Shop, scheme=scheme, config=config) as target, Client(target) as client:
        assert await client.call(Shop.price, "apple") == 5
        assert await asyncio.gather(*(client.call(Shop.price, "x" * size) for size in (1, 10, 500_000))) == [
            1,
            10,
            500_000,
        ]
        assert undecided(target.server) == 0


async def test_a_server_of_one_protocol_detects_nothing() -> None:
    async with served(Shop, scheme="tcp") as target, Client(target) as client:
        await client.ready()
        assert target.server._detection is None
    async with served(Shop, scheme="tcp", config=ServerConfig(protocols=("toy",))) as target:
        assert target.server._detection is None
        reader, writer = await connect(target.server)
        writer.write(b'shop.price "apple"\n')
        assert await reader.readline() == b"1 OK 5\n"
        writer.close()


async def test_first_bytes_may_come_one_at_a_time() -> None:
    async with served(Shop, scheme="tcp", config=ServerConfig(protocols=BOTH)) as target:
        _, writer = await connect(target.server)
        for byte in b"\xf5FRP":
            assert not sessions(target.server)
            writer.write(bytes([byte]))
            await writer.drain()
            await eventually(lambda: undecided(target.server) or sessions(target.server))
        await eventually(lambda: sessions(target.server) == [ServerSession])
        assert undecided(target.server) == 0
        writer.close()
        await eventually(lambda: not sessions(target.server))


def sessions(server: Server) -> list[type]:
    assert server._gate is not None
    return [ToySession if isinstance(one, ToySession) else ServerSession for one in server._gate.sessions]


async def test_a_stranger_is_closed_and_noted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "fastrpc.server")
    async with served(Shop, scheme="tcp", config=ServerConfig(protocols=BOTH)) as target:
        reader, writer = await connect(target.server)
        writer.write(b"\x16\x03\x01")
        assert await heard(reader) == b""
        assert undecided(target.server) == 0
        assert "its first bytes match none of the protocols native, toy" in caplog.text
        writer.close()


async def test_a_silent_connection_is_closed_after_the_handshake_time() -> None:
    config = ServerConfig(protocols=BOTH, timeouts=Timeouts(handshake=0.01))
    async with served(Shop, scheme="tcp", config=config) as target:
        reader, writer = await connect(target.server)
        assert await heard(reader) == b""
        assert undecided(target.server) == 0
        writer.close()


async def test_of_too_many_silent_connections_the_first_is_closed() -> None:
    config = ServerConfig(protocols=BOTH, admission=Admission(handshakes=2))
    async with served(Shop, scheme="tcp", config=config) as target:
        first = await connect(target.server)
        await eventually(lambda: undecided(target.server) == 1)
        others = [await connect(target.server) for _ in range(2)]
        assert await heard(first[0]) == b""
        assert undecided(target.server) == 2
        others[1][1].write(b'shop.price "apple"\n')
        assert await others[1][0].readline() == b"1 OK 5\n"
        for _, writer in (first, *others):
            writer.close()


@pytest.mark.parametrize("end", [Server.drain, Server.close])
async def test_undecided_connections_end_with_their_server(end: Any) -> None:
    async with served(Shop, scheme="tcp", config=ServerConfig(protocols=BOTH)) as target:
        reader, writer = await connect(target.server)
        await eventually(lambda: undecided(target.server) == 1)
        await end(target.server)
        assert await heard(reader) == b""
        assert undecided(target.server) == 0
        writer.close()


async def test_a_peer_that_leaves_undecided_leaves_nothing() -> None:
    async with served(Shop, scheme="tcp", config=ServerConfig(protocols=BOTH)) as target:
        _, writer = await connect(target.server)
        await eventually(lambda: undecided(target.server) == 1)
        writer.close()
        await eventually(lambda: undecided(target.server) == 0)


async def test_an_engine_that_cannot_be_made_ends_its_connection(caplog: pytest.LogCaptureFixture) -> None:
    async with served(Shop, scheme="tcp", config=ServerConfig(protocols=("native", "broken"))) as target:
        reader, writer = await connect(target.server)
        writer.write(b"!")
        assert await heard(reader) == b""
        writer.close()
        async with Client(target) as client:
            assert await client.call(Shop.price, "apple") == 5


def broken(parts: object) -> None:
    raise ZeroDivisionError


register("broken", lambda data: Verdict.YES if data[:1] == b"!" else Verdict.NO, broken)


def test_a_name_stands_for_one_protocol() -> None:
    with pytest.raises(ConfigError, match="'native' is registered already"):
        register("native", detect_native, broken)


@pytest.mark.parametrize(
    ("data", "verdict"),
    [
        (b"\xf5", Verdict.MORE),
        (b"\xf5FR", Verdict.MORE),
        (b"\xf5FRP", Verdict.YES),
        (b"\xf5FRP\x01\x01", Verdict.YES),
        (b"\xf5FRX", Verdict.NO),
        (b"G", Verdict.NO),
    ],
)
def test_the_native_protocol_is_told_by_its_magic(data: bytes, verdict: Verdict) -> None:
    assert detect_native(data) is verdict
