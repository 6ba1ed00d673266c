"""rpcx over TLS, where it has no name in ALPN: both clients, and a peer that expects the native protocol."""

import asyncio

import pytest

from fastrpc import TLS, Client, ClientConfig, ConnectError, Server, ServerConfig, SyncClient
from fastrpc.auth import Identity, StaticTokens
from tests.integration.rpcx.test_served_calls import Shop
from tests.support.certificates import Authority, Certificate

pytestmark = pytest.mark.one_loop


async def test_both_clients_speak_rpcx_over_tls(
    authority: Authority, server_certificate: Certificate
) -> None:
    tokens = StaticTokens({"secret": Identity("gopher")})
    serving = ServerConfig(protocols=("native", "rpcx"), tls=server_certificate.tls())
    calling = ClientConfig(wire_protocol="rpcx", tls=TLS(ca_file=authority.cert_file))
    data = bytes(2_000_000)
    async with Server(Shop(), config=serving, authenticate=tokens) as server:
        address = str(await server.listen("tls://127.0.0.1:0"))
        async with Client(address, config=calling, credentials="secret") as client:
            assert await client.call(Shop.who) == "gopher"
            assert await client.call(Shop.echo, data) == data
        with SyncClient(address, config=calling, credentials="secret") as blocking:
            assert await asyncio.to_thread(blocking.call, Shop.who) == "gopher"
            assert await asyncio.to_thread(blocking.call, Shop.echo, data) == data
            await asyncio.to_thread(blocking.close)


async def test_a_port_of_the_native_protocol_alone_refuses_rpcx(
    authority: Authority, server_certificate: Certificate
) -> None:
    calling = ClientConfig(wire_protocol="rpcx", tls=TLS(ca_file=authority.cert_file))
    async with Server(Shop(), config=ServerConfig(tls=server_certificate.tls())) as server:
        address = await server.listen("tls://127.0.0.1:0")
        async with Client(address, config=calling) as client:
            with pytest.raises(ConnectError):
                await client.call(Shop.hello)
