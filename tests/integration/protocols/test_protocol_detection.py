"""One port, several protocols: the first bytes of a connection choose, and nobody can hold it undecided."""

import asyncio
import socket
import time
from typing import Any, NoReturn

import pytest

from fastrpc import Admission, Client, ConfigError, Server, ServerConfig, Timeouts
from fastrpc._core.server.link import Link
from fastrpc._core.server.server_connection import ServerConnection
from fastrpc.endpoint import Address
from fastrpc.protocols.base import Match, register
from fastrpc.protocols.native import detect_native
from tests.support.peer_writing import write_to
from tests.support.served import SCHEMES, served
from tests.support.shop import Shop
from tests.support.toy_protocol import ToyWire, toy_link
from tests.support.waiting import eventually

BOTH = ("native", "toy")


async def connect(server: Server) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    [listener] = server._listening.listeners
    return await asyncio.open_connection(listener.address.host, listener.address.port)


def undecided(server: Server) -> int:
    assert server._accepting.detection is not None
    return len(server._accepting.detection.undecided)


async def heard(reader: asyncio.StreamReader) -> bytes:
    """Return the bytes that arrive until the connection is closed in any way."""
    async with asyncio.timeout(20):
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("protocols", [BOTH, BOTH[::-1]])
async def test_native_clients_are_served_next_to_another_protocol(
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
        assert target.server._accepting.detection is None
    async with served(Shop, scheme="tcp", config=ServerConfig(protocols=("toy",))) as target:
        assert target.server._accepting.detection is None
        reader, writer = await connect(target.server)
        write_to(writer, b'shop.price "apple"\n')
        assert await reader.readline() == b"1 OK 5\n"
        writer.close()


async def test_first_bytes_may_come_one_at_a_time() -> None:
    async with served(Shop, scheme="tcp", config=ServerConfig(protocols=BOTH)) as target:
        _, writer = await connect(target.server)
        for byte in b"\xf5FRP":
            assert not sessions(target.server)
            write_to(writer, bytes([byte]))
            await writer.drain()
            await eventually(lambda: undecided(target.server) or sessions(target.server))
        await eventually(lambda: sessions(target.server) == [ServerConnection])
        assert undecided(target.server) == 0
        writer.close()
        await eventually(lambda: not sessions(target.server))


def sessions(server: Server) -> list[type]:
    assert server._gate is not None
    return [ToyWire if isinstance(one, Link) else ServerConnection for one in server._gate.engines]


async def test_a_stranger_is_closed_and_noted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "fastrpc.server")
    async with served(Shop, scheme="tcp", config=ServerConfig(protocols=BOTH)) as target:
        reader, writer = await connect(target.server)
        write_to(writer, b"\x16\x03\x01")
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


async def test_a_short_drain_is_clean_in_spite_of_a_silent_connection() -> None:
    config = ServerConfig(protocols=BOTH, timeouts=Timeouts(drain=0.05))
    async with served(Shop, scheme="tcp", config=config) as target:
        reader, writer = await connect(target.server)
        await eventually(lambda: undecided(target.server) == 1)
        assert await target.server.drain() is True
        assert await heard(reader) == b""
        writer.close()


async def test_of_too_many_silent_connections_the_one_silent_for_longest_is_closed() -> None:
    config = ServerConfig(protocols=("native", "slow"), admission=Admission(handshakes=2))
    async with served(Shop, scheme="tcp", config=config) as target:
        first = await connect(target.server)
        await eventually(lambda: undecided(target.server) == 1)
        second = await connect(target.server)
        await eventually(lambda: undecided(target.server) == 2)
        sizes.clear()
        first[1].write(b"~")
        await eventually(lambda: sizes)
        third = await connect(target.server)
        assert await heard(second[0]) == b""
        assert undecided(target.server) == 2
        for _, writer in (first, second, third):
            assert writer is second[1] or not writer.is_closing()
            writer.close()


@pytest.mark.measures
@pytest.mark.parametrize("protocols", [("native",), BOTH])
async def test_a_silent_connection_has_two_tenths_of_a_second(protocols: tuple[str, ...]) -> None:
    config = ServerConfig(protocols=protocols, admission=Admission(handshakes=2))
    async with served(Shop, scheme="tcp", config=config) as target:
        began = time.monotonic()
        connections = [await connect(target.server) for _ in range(4)]
        ends = [asyncio.ensure_future(heard(reader)) for reader, _ in connections]
        done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        assert 0.2 <= time.monotonic() - began < 1
        assert done
        for _, writer in connections:
            writer.close()
        await asyncio.gather(*ends)


async def test_silent_connections_make_place_for_each_other_and_for_openings() -> None:
    config = ServerConfig(protocols=BOTH, admission=Admission(handshakes=2))
    async with served(Shop, scheme="tcp", config=config) as target:
        connections = [await connect(target.server) for _ in range(5)]
        await eventually(lambda: undecided(target.server) == 5)
        await eventually(lambda: undecided(target.server) == 2)
        async with Client(target) as client:
            assert await client.call(Shop.price, "apple") == 5
        for _, writer in connections:
            writer.close()


@pytest.mark.parametrize("turns", range(4))
async def test_a_connection_that_a_server_takes_while_a_drain_begins_is_drained(
    turns: int,
) -> None:
    """Neither the program that accepted it nor its peer knows of the drain."""
    shop = Shop()
    async with Server(shop, config=ServerConfig(protocols=BOTH)) as server:
        address = Address.parse("tcp://127.0.0.1:1")
        ours, theirs = socket.socketpair()
        await server.take(theirs, address)
        ours.send(b'shop.pack "apple"\n')
        await eventually(lambda: server.stats()["live"]["calls"] == 1)
        late, other = socket.socketpair()
        taking = asyncio.ensure_future(server.take(other, address))
        for _ in range(turns):
            await asyncio.sleep(0)
        draining = asyncio.ensure_future(server.drain())
        await taking
        late.setblocking(False)
        late.send(b'shop.price "apple"\n')
        reader, writer = await asyncio.open_connection(sock=late)
        async with asyncio.timeout(20):
            assert await reader.readline() == b"1 OK 5\n"
        assert not draining.done()
        shop.go_on.set()
        assert await draining
        assert await heard(reader) == b""
        writer.close()
        ours.close()


async def test_detection_looks_at_256_bytes_and_no_more() -> None:
    config = ServerConfig(protocols=("native", "slow"))
    async with served(Shop, scheme="tcp", config=config) as target:
        sizes.clear()
        reader, writer = await connect(target.server)
        write_to(writer, b"~" * 255)
        await eventually(lambda: sizes)
        write_to(writer, b"~" * 1_000)
        assert await heard(reader) == b""
        assert max(sizes) == 256
        writer.close()


async def test_a_match_is_final_even_if_a_protocol_before_it_asks_for_more() -> None:
    async with served(Shop, scheme="tcp", config=ServerConfig(protocols=("slow", "toy"))) as target:
        reader, writer = await connect(target.server)
        write_to(writer, b'shop.price "apple"\n')
        assert await reader.readline() == b"1 OK 5\n"
        writer.close()


#: How many bytes the detector of the protocol "slow" was given, each time.
sizes: list[int] = []


def detect_slow(data: bytes) -> Match:
    sizes.append(len(data))
    return Match.MORE if data[:1] in (b"~", b"s") else Match.NO


register("slow", detect_slow, toy_link)


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
        write_to(writer, b"!")
        assert await heard(reader) == b""
        writer.close()
        async with Client(target) as client:
            assert await client.call(Shop.price, "apple") == 5


def broken(parts: object) -> NoReturn:
    raise ZeroDivisionError


register("broken", lambda data: Match.YES if data[:1] == b"!" else Match.NO, broken)


def test_a_name_stands_for_one_protocol() -> None:
    with pytest.raises(ConfigError, match="'native' is registered already"):
        register("native", detect_native, broken)


@pytest.mark.parametrize(
    ("data", "verdict"),
    [
        (b"\xf5", Match.MORE),
        (b"\xf5FR", Match.MORE),
        (b"\xf5FRP", Match.YES),
        (b"\xf5FRP\x01\x01", Match.YES),
        (b"\xf5FRX", Match.NO),
        (b"G", Match.NO),
    ],
)
def test_the_native_protocol_is_told_by_its_magic(data: bytes, verdict: Match) -> None:
    assert detect_native(data) is verdict
