"""Servers behind a proxy that speaks the PROXY protocol: a peer is the address that it names."""

import asyncio
import logging
from typing import Any

import pytest

import fastrpc
from fastrpc import Client, OverloadedError, ServerConfig, SyncClient, Timeouts
from fastrpc.limits import RateLimit
from tests.support.header_proxy import header, proxied
from tests.support.peer_writing import write_to
from tests.support.served import served
from tests.support.waiting import eventually

TRUSTED = ServerConfig(proxy_protocol=("127.0.0.0/8", "::1/128"))


@fastrpc.service("who")
class Who:
    @fastrpc.method
    async def am_i(self) -> str:
        return str(fastrpc.current_call().peer)


@pytest.mark.parametrize("protocols", [("native",), ("native", "toy")])
@pytest.mark.parametrize("host", ["10.1.2.3", "2001:db8::7"])
@pytest.mark.parametrize("cut", [None, 5])
async def test_peer_is_named_by_the_proxy(host: str, cut: int | None, protocols: Any) -> None:
    if "toy" in protocols:
        pytest.importorskip("tests.support.toy_protocol")
    config = ServerConfig(proxy_protocol=TRUSTED.proxy_protocol, protocols=protocols)
    shown = f"tcp://[{host}]:4321" if ":" in host else f"tcp://{host}:4321"
    async with served(Who(), scheme="tcp", config=config) as target:
        async with proxied(target, header(host), cut=cut) as place, Client(place) as client:
            assert await client.call(Who.am_i) == shown
            assert [str(peer) for peer in target.server.peers()] == [shown]


async def test_limits_count_the_named_peers() -> None:
    async with served(
        Who(), scheme="tcp", config=TRUSTED, limits=[RateLimit(0.001, 1, per="peer")]
    ) as target:
        for host in ("10.0.0.1", "10.0.0.2"):
            async with proxied(target, header(host)) as place, Client(place) as client:
                view = client.with_options(fail_mode="failfast")
                assert await view.call(Who.am_i) == f"tcp://{host}:4321"
                with pytest.raises(OverloadedError):
                    await view.call(Who.am_i)


async def test_proxy_itself_may_call() -> None:
    async with served(Who(), scheme="tcp", config=TRUSTED) as target:
        async with proxied(target, b"PROXY UNKNOWN\r\n") as place, Client(place) as client:
            assert (await client.call(Who.am_i)).startswith("tcp://127.0.0.1:")


@pytest.mark.parametrize("first", [b"", b"PROXY nonsense\r\n", b"GET / HTTP/1.1\r\n"])
async def test_trusted_connection_without_a_header_is_closed(first: bytes, caplog: Any) -> None:
    caplog.set_level(logging.INFO, "fastrpc.server")
    async with served(Who(), scheme="tcp", config=TRUSTED) as target:
        async with proxied(target, first) as place, Client(place) as client:
            with pytest.raises(fastrpc.UnavailableError):
                await client.with_options(timeout=1, fail_mode="failfast").call(Who.am_i)
        assert target.server.peers() == []
    assert "PROXY" in caplog.text


async def test_silent_connection_is_closed_in_time() -> None:
    config = ServerConfig(proxy_protocol=("127.0.0.1/32",), timeouts=Timeouts(handshake=0.05))
    async with served(Who(), scheme="tcp", config=config) as target:
        host, _, port = target.removeprefix("tcp://").rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        write_to(writer, b"PROXY TCP4 ")
        assert await reader.read() == b""
        writer.close()


async def test_first_request_of_any_length_may_come_with_the_header() -> None:
    """More bytes than detection looks at: the remaining bytes belong to the protocol that it found."""
    config = ServerConfig(proxy_protocol=TRUSTED.proxy_protocol, protocols=("native", "http"))
    async with served(Who(), scheme="tcp", config=config) as target:
        host, _, port = target.removeprefix("tcp://").rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        head = f"POST /who/am_i HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
        write_to(writer, header("10.0.0.1") + f"{head}X-Pad: {'a' * 1_000}\r\n\r\n{{}}".encode())
        assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
        assert len(target.server.peers()) == 1
        writer.close()
        await eventually(lambda: target.server.peers() == [])


async def test_drain_does_not_wait_for_a_header() -> None:
    async with served(Who(), scheme="tcp", config=TRUSTED) as target:
        host, _, port = target.removeprefix("tcp://").rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        write_to(writer, b"PROXY")
        async with proxied(target, header("10.0.0.1")) as place, Client(place) as client:
            await client.call(Who.am_i)
        assert await target.server.drain(5)
        assert await reader.read() == b""
        writer.close()


@pytest.mark.parametrize("config", [ServerConfig(), ServerConfig(proxy_protocol=("10.0.0.0/8",))])
async def test_header_from_elsewhere_is_refused(config: ServerConfig) -> None:
    async with served(Who(), scheme="tcp", config=config) as target:
        async with proxied(target, header("10.0.0.1")) as place, Client(place) as client:
            with pytest.raises(fastrpc.FastRPCError):
                await client.with_options(timeout=1, fail_mode="failfast").call(Who.am_i)
        async with Client(target) as client:
            assert (await client.call(Who.am_i)).startswith("tcp://127.0.0.1:")


@pytest.mark.parametrize("scheme", ["unix", "memory"])
async def test_other_transports_have_no_proxy(scheme: str) -> None:
    async with served(Who(), scheme=scheme, config=TRUSTED) as target, Client(target) as client:
        assert (await client.call(Who.am_i)).startswith(f"{scheme}://")


async def test_blocking_clients_pass_too() -> None:
    async with served(Who(), scheme="tcp", config=TRUSTED) as target:
        async with proxied(target, header("10.1.2.3")) as place:

            def ask() -> str:
                with SyncClient(place) as client:
                    return client.call(Who.am_i)

            assert await asyncio.to_thread(ask) == "tcp://10.1.2.3:4321"


@pytest.mark.parametrize(
    "networks", [("10.0.0.1/8",), ("proxy",), (), [], ("",), ("10.0.0.0/8",) * 2, "10.0.0.0/8"]
)
def test_networks_are_a_tuple_of_networks(networks: Any) -> None:
    if networks == ():
        assert ServerConfig(proxy_protocol=networks).proxy_protocol == ()
        return
    with pytest.raises(fastrpc.ConfigError, match="ServerConfig.proxy_protocol is"):
        ServerConfig(proxy_protocol=networks)
