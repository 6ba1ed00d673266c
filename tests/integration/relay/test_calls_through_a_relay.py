"""Servers behind a relay: every client reaches them by their open port."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

import fastrpc
from fastrpc import TLS, Client, ClientConfig, ConfigError, ConnectError, Server, ServerConfig, SyncClient
from tests.support.arith import Arith
from tests.support.either_client import CLIENTS, connected
from tests.support.peer_writing import write_to
from tests.support.relayed import RelayFiles, relaying
from tests.support.waiting import eventually


@fastrpc.service("place")
class Place:
    @fastrpc.method
    async def peer(self) -> str:
        peer = fastrpc.current_call().peer
        assert peer is not None
        return peer.address.host

    @fastrpc.method
    async def count(self, size: int) -> AsyncIterator[int]:
        for number in range(size):
            yield number


async def post(
    files: RelayFiles,
    port: int,
    path: str,
    body: bytes,
    *,
    host: str = "edge-7.localhost",
    local_host: str = "127.0.0.1",
) -> bytes:
    """Return the answer to one request of HTTP/1.1 to the server `edge-7`."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1",
        port,
        ssl=ssl.create_default_context(cafile=str(files.authority.cert_file)),
        server_hostname="edge-7.localhost",
        local_addr=(local_host, 0),
    )
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    write_to(writer, head.encode() + body)
    try:
        return await reader.read()
    finally:
        writer.transport.abort()


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_client_calls_a_server_behind_a_relay(kind: str, files: RelayFiles) -> None:
    async with relaying(files) as relay:
        await relay.serve(Arith)
        async with connected(kind, relay.target(), config=files.client) as client:
            assert await client.call(Arith.mul, 6, 7) == 42
            assert relay.front.pairs == 1


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_client_of_tls_dials_the_name_as_a_host(kind: str, files: RelayFiles) -> None:
    async with relaying(files) as relay:
        await relay.serve(Arith)
        config = ClientConfig(tls=TLS(ca_file=files.authority.cert_file, server_name="edge-7.localhost"))
        async with connected(kind, f"tls://127.0.0.1:{relay.port}", config=config) as client:
            assert await client.call(Arith.mul, 6, 7) == 42


async def test_the_server_sees_the_address_of_the_caller(files: RelayFiles) -> None:
    async with relaying(files) as relay:
        await relay.serve(Place, config=ServerConfig(protocols=("http",)))
        for host in ("127.0.0.1", "127.0.0.9"):
            answer = await post(files, relay.port, "/place/peer", b"", local_host=host)
            assert answer.endswith(f'"{host}"'.encode()), answer


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_stream_passes(kind: str, files: RelayFiles) -> None:
    async with relaying(files) as relay:
        await relay.serve(Place)
        async with connected(kind, relay.target(), config=files.client) as client:
            async with client.stream(Place.count, 1000) as numbers:
                assert [number async for number in numbers] == list(range(1000))


async def test_a_client_of_grpc_reaches_a_server_behind_a_relay(files: RelayFiles) -> None:
    async with relaying(files) as relay:
        await relay.serve(Arith, config=ServerConfig(protocols=("native", "grpc")))
        config = replace(files.client, wire_protocol="grpc")
        async with Client(relay.target(), config=config) as client:
            assert await client.call(Arith.mul, 6, 7) == 42


async def test_a_caller_of_http_may_use_the_relayed_name(files: RelayFiles) -> None:
    async with relaying(files) as relay:
        await relay.serve(Arith, config=ServerConfig(protocols=("native", "http")))
        for host, status in (("edge-7.localhost", b"200"), ("elsewhere.example", b"421")):
            answer = await post(files, relay.port, "/arith/mul", b'{"a": 6, "b": 7}', host=host)
            assert answer.split()[1] == status, answer


async def test_a_caller_of_a_name_that_is_away_gets_a_connect_error(files: RelayFiles) -> None:
    async with relaying(files) as relay, Client(relay.target(), config=files.client) as client:
        with pytest.raises(ConnectError, match="it does not know the host name") as refused:
            await client.call(Arith.mul, 6, 7)
        assert refused.value.processed == "no"


async def test_a_blocking_caller_of_a_name_that_is_away_gets_a_connect_error(files: RelayFiles) -> None:
    def call(target: str) -> None:
        with SyncClient(target, config=files.client) as client:
            client.call(Arith.mul, 6, 7)

    async with relaying(files) as relay:
        with pytest.raises(ConnectError, match="it does not know the host name") as refused:
            await asyncio.to_thread(call, relay.target())
        assert refused.value.processed == "no"


async def test_names_are_claimed_side_by_side(files: RelayFiles) -> None:
    async with relaying(files) as relay:
        await relay.serve(Arith)
        await relay.serve(Place, name="edge-8", owner="other")
        async with (
            Client(relay.target(), config=files.client) as first,
            Client(relay.target("edge-8"), config=files.client) as second,
        ):
            assert await first.call(Arith.mul, 6, 7) == 42
            assert await second.call(Place.peer) == "127.0.0.1"


async def test_a_drained_server_leaves_its_name(files: RelayFiles) -> None:
    async with relaying(files) as relay:
        server = await relay.serve(Arith)
        async with Client(relay.target(), config=files.client) as client:
            assert await client.call(Arith.mul, 6, 7) == 42
        assert await server.drain()
        assert not relay.front.claims.by_name
        await eventually(lambda: not relay.front.pairs)


async def test_a_server_without_certificates_cannot_listen_at_a_relay() -> None:
    async with Server(Arith) as server:
        with pytest.raises(ConfigError, match="ServerConfig.tls is None"):
            await server.listen("relay://localhost:8443/edge-7")


@pytest.mark.parametrize(
    "address",
    [
        "relay://localhost:8443",
        "relay://localhost:8443/",
        "relay://localhost:0/edge-7",
        "relay://localhost:8443/a.b",
        "relay://localhost:8443/Edge",
        "relay://localhost:8443/-edge",
        "relay://127.0.0.1:8443/edge-7",
        "relay://[::1]:8443/edge-7",
    ],
)
async def test_an_address_that_names_no_relayed_server_is_refused(address: str, files: RelayFiles) -> None:
    with pytest.raises(ConfigError):
        Client(address)
    async with Server(Arith, config=ServerConfig(tls=files.edge.tls())) as server:
        with pytest.raises(ConfigError):
            await server.listen(address)
