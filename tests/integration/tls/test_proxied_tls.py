"""TLS behind a proxy that speaks the PROXY protocol: its header comes before the handshake."""

import asyncio

import pytest

import fastrpc
from fastrpc import TLS, Client, ClientConfig, Server, ServerConfig, SyncClient
from tests.support.certificates import Authority, Certificate
from tests.support.header_proxy import header, proxied


@fastrpc.service("who")
class Who:
    @fastrpc.method
    async def am_i(self) -> str:
        return str(fastrpc.current_call().peer)


@pytest.mark.parametrize("cut", [None, 7])
async def test_peer_of_an_encrypted_connection_is_named_by_the_proxy(
    authority: Authority, server_certificate: Certificate, cut: int | None
) -> None:
    config = ServerConfig(tls=server_certificate.tls(), proxy_protocol=("127.0.0.0/8",))
    trusting = ClientConfig(tls=TLS(ca_file=authority.cert_file))
    async with Server(Who(), config=config) as server:
        target = str(await server.listen("tls://127.0.0.1:0"))
        async with proxied(target, header("10.1.2.3"), cut=cut) as place:
            async with Client(place, config=trusting) as client:
                assert await client.call(Who.am_i) == "tls://10.1.2.3:4321"

            def ask() -> str:
                with SyncClient(place, config=trusting) as blocking:
                    return blocking.call(Who.am_i)

            assert await asyncio.to_thread(ask) == "tls://10.1.2.3:4321"


async def test_encrypted_connection_without_a_header_is_closed(
    authority: Authority, server_certificate: Certificate
) -> None:
    config = ServerConfig(tls=server_certificate.tls(), proxy_protocol=("127.0.0.0/8",))
    async with Server(Who(), config=config) as server:
        target = str(await server.listen("tls://127.0.0.1:0"))
        async with Client(target, config=ClientConfig(tls=TLS(ca_file=authority.cert_file))) as client:
            with pytest.raises(fastrpc.FastRPCError):
                await client.with_options(timeout=2, fail_mode="failfast").call(Who.am_i)
