"""A port with several protocols and TLS: the first bytes have to fit the protocol negotiated by ALPN."""

import asyncio
import ssl

import pytest

from fastrpc import TLS, Client, ClientConfig, Server, ServerConfig
from tests.support.arith import Arith
from tests.support.certificates import Authority, Certificate
from tests.support.peer_writing import write_to
from tests.support.toy_protocol import toy_link

assert toy_link is not None  # Its import registers the protocol "toy".


async def toy(port: int, context: ssl.SSLContext) -> bytes:
    """Call in the toy protocol; return the answer, nothing if the connection is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        write_to(writer, b"arith.add 6\n")
        async with asyncio.timeout(10):
            return await reader.readline()
    except ConnectionError:
        return b""
    finally:
        writer.transport.abort()


def context_for(authority: Authority, *names: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.cert_file))
    if names:
        context.set_alpn_protocols(list(names))
    return context


def config_of(certificate: Certificate, *protocols: str) -> ServerConfig:
    return ServerConfig(tls=certificate.tls(), protocols=protocols)


async def test_the_native_protocol_has_a_name_and_other_protocols_have_no_name(
    authority: Authority, server_certificate: Certificate
) -> None:
    async with Server(Arith, config=config_of(server_certificate, "native", "toy")) as server:
        port = (await server.listen("tls://127.0.0.1:0")).port
        trusting = ClientConfig(tls=TLS(ca_file=authority.cert_file))
        async with Client(f"tls://127.0.0.1:{port}", config=trusting) as client:
            assert await client.call(Arith.mul, 6, 7) == 42
        assert (await toy(port, context_for(authority))).startswith(b"1 ")


async def test_bytes_of_another_protocol_than_agreed_to_are_a_stranger(
    authority: Authority, server_certificate: Certificate, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "fastrpc.server")
    async with Server(Arith, config=config_of(server_certificate, "native", "toy")) as server:
        port = (await server.listen("tls://127.0.0.1:0")).port
        assert await toy(port, context_for(authority, "fastrpc/1")) == b""
    assert "it speaks toy, and TLS agreed to fastrpc/1 (ALPN)" in caplog.text


async def test_a_port_without_the_native_protocol_refuses_its_name(
    authority: Authority, server_certificate: Certificate, caplog: pytest.LogCaptureFixture
) -> None:
    async with Server(Arith, config=config_of(server_certificate, "toy")) as server:
        port = (await server.listen("tls://127.0.0.1:0")).port
        assert (await toy(port, context_for(authority))).startswith(b"1 ")
        assert await toy(port, context_for(authority, "fastrpc/1")) == b""
    assert "the client wants the protocol fastrpc/1 (ALPN), which is not spoken here" in caplog.text
