"""The fault proxy carries bytes unchanged, and breaks them exactly as configured."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.peer_writing import write_to
from tests.support.proxy import Cut, FaultProxy

CONTENT = bytes(range(256)) * 40
LIMIT_SECONDS = 10


class EchoServer:
    """Echoes its input, and remembers how connections ended."""

    def __init__(self) -> None:
        self.address = ""
        self.received = b""
        self.got_thousand = asyncio.Event()
        self.ended: asyncio.Queue[str] = asyncio.Queue()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                self.received += data
                if len(self.received) >= 1_000:
                    self.got_thousand.set()
                write_to(writer, data)
                await writer.drain()
            self.ended.put_nowait("end")
        except OSError:
            self.ended.put_nowait("reset")
        writer.close()


@asynccontextmanager
async def echo_server(kind: str, folder: Path) -> AsyncIterator[EchoServer]:
    echo = EchoServer()
    if kind == "unix":
        server = await asyncio.start_unix_server(echo.serve, folder / "echo")
        echo.address = f"unix://{folder / 'echo'}"
    else:
        server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
        echo.address = f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield echo


class Connection:
    """A client's end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.read = reader.read
        self.read_exactly = reader.readexactly
        self.write = writer.write
        self.write_eof = writer.write_eof
        self.drain = writer.drain

    async def close(self) -> None:
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()

    async def read_to_the_end(self) -> bytes:
        found = b""
        while data := await self._reader.read(1_000):
            found += data
        return found


@asynccontextmanager
async def dialled(address: str) -> AsyncIterator[Connection]:
    scheme, _, rest = address.partition("://")
    host, _, port = rest.rpartition(":")
    unix = scheme == "unix"
    opening = asyncio.open_unix_connection(rest) if unix else asyncio.open_connection(host, int(port))
    connection = Connection(*await opening)
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def proxied(kind: str, folder: Path) -> AsyncIterator[tuple[EchoServer, FaultProxy]]:
    async with (
        asyncio.timeout(LIMIT_SECONDS),
        echo_server(kind, folder) as echo,
        FaultProxy(echo.address) as proxy,
    ):
        yield echo, proxy


@pytest.mark.parametrize("kind", ["tcp", "unix"])
async def test_bytes_pass_and_are_counted(kind: str, tmp_path: Path) -> None:
    async with proxied(kind, tmp_path) as (echo, proxy), dialled(proxy.address) as client:
        client.write(CONTENT)
        assert await client.read_exactly(len(CONTENT)) == CONTENT
        client.write_eof()
        assert await client.read() == b""
        assert (proxy.upstream.bytes_passed, proxy.downstream.bytes_passed) == (len(CONTENT),) * 2
        assert (proxy.accepted, await echo.ended.get()) == (1, "end")


@pytest.mark.parametrize("kind", ["tcp", "unix"])
async def test_slices_and_flips(kind: str, tmp_path: Path) -> None:
    async with proxied(kind, tmp_path) as (echo, proxy):
        proxy.upstream.slice_bytes = 7
        proxy.upstream.flip_offsets = frozenset({0, 6, 7, 1_000})
        async with dialled(proxy.address) as client:
            client.write(CONTENT)
            await client.read_exactly(len(CONTENT))
            changed = [at for at in range(len(CONTENT)) if echo.received[at] != CONTENT[at]]
            assert changed == [0, 6, 7, 1_000]


@pytest.mark.measures
async def test_delay_keeps_order_and_does_not_add_up(tmp_path: Path) -> None:
    async with proxied("tcp", tmp_path) as (_, proxy):
        proxy.upstream.delay_seconds = 0.05
        async with dialled(proxy.address) as client:
            loop = asyncio.get_running_loop()
            began = loop.time()
            for number in range(100):
                client.write(bytes([number]) * 1_000)
                await client.drain()
            assert await client.read_exactly(100_000) == b"".join(bytes([n]) * 1_000 for n in range(100))
            assert 0.05 <= loop.time() - began < 2


@pytest.mark.measures
async def test_rate_is_limited(tmp_path: Path) -> None:
    async with proxied("tcp", tmp_path) as (_, proxy):
        proxy.downstream.bytes_per_second = 50_000
        async with dialled(proxy.address) as client:
            began = asyncio.get_running_loop().time()
            client.write(bytes(10_000))
            await client.read_exactly(10_000)
            assert asyncio.get_running_loop().time() - began >= 0.19


@pytest.mark.parametrize(("cut", "ended"), [(Cut.CLOSE, "end"), (Cut.RESET, "reset")])
async def test_connection_is_cut_after_a_number_of_bytes(cut: Cut, ended: str, tmp_path: Path) -> None:
    async with proxied("tcp", tmp_path) as (echo, proxy):
        proxy.upstream.cut_after = 1_000
        proxy.upstream.cut = cut
        async with dialled(proxy.address) as client:
            client.write(CONTENT)
            if cut is Cut.RESET:
                with pytest.raises(ConnectionResetError):
                    await client.read_to_the_end()
            assert await echo.ended.get() == ended
            if cut is Cut.CLOSE:
                assert echo.received == CONTENT[:1_000]


@pytest.mark.parametrize("cut", [Cut.BLACKHOLE, Cut.HALF_OPEN])
async def test_silent_cut_tells_the_client_nothing(cut: Cut, tmp_path: Path) -> None:
    async with proxied("tcp", tmp_path) as (echo, proxy):
        proxy.upstream.cut_after = 1_000
        proxy.upstream.cut = cut
        async with dialled(proxy.address) as client:
            client.write(CONTENT[:1_000])
            if cut is Cut.HALF_OPEN:
                assert await echo.ended.get() in ("end", "reset")
            await echo.got_thousand.wait()
            client.write(CONTENT)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await client.read_exactly(1_001)
            assert echo.received == CONTENT[:1_000]


async def test_held_bytes_come_when_the_network_is_back(tmp_path: Path) -> None:
    async with proxied("unix", tmp_path) as (_, proxy), dialled(proxy.address) as client:
        proxy.hold()
        client.write(CONTENT)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await client.read(1)
        proxy.resume()
        assert await client.read_exactly(len(CONTENT)) == CONTENT


async def test_all_connections_are_reset_or_closed_at_once(tmp_path: Path) -> None:
    async with proxied("tcp", tmp_path) as (echo, proxy):
        for act, ended in ((proxy.reset_all, "reset"), (proxy.close_all, "end")):
            async with dialled(proxy.address) as client:
                client.write(b"x")
                await client.read_exactly(1)
                act()
                assert await echo.ended.get() == ended


async def test_refusing_proxy_resets_at_once(tmp_path: Path) -> None:
    async with proxied("tcp", tmp_path) as (_, proxy):
        proxy.refuses = True
        async with dialled(proxy.address) as client:
            with pytest.raises(ConnectionResetError):
                await client.read_exactly(1)


async def test_server_that_is_gone_looks_like_a_reset(tmp_path: Path) -> None:
    async with (
        asyncio.timeout(LIMIT_SECONDS),
        FaultProxy(f"unix://{tmp_path}/nobody") as proxy,
        dialled(proxy.address) as client,
    ):
        assert await client.read() == b""


async def test_a_proxy_that_ends_leaks_nothing(tmp_path: Path) -> None:
    """Neither a connection that it has just accepted nor an error that nobody looked at."""
    loop = asyncio.get_running_loop()
    told: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: told.append(context))
    async with asyncio.timeout(LIMIT_SECONDS), echo_server("unix", tmp_path) as echo:
        for turns in range(12):
            proxy = FaultProxy(echo.address)
            async with AsyncExitStack() as stack:
                async with proxy:
                    client = await stack.enter_async_context(dialled(proxy.address))
                    for _ in range(turns):
                        await asyncio.sleep(0)
                assert await client.read_to_the_end() == b""
                assert proxy.relays == []
    gc.collect()
    loop.set_exception_handler(None)
    assert told == []
