"""gRPC inside TLS: ALPN selects h2 among other protocols; each call has an identity by certificate or credential."""

import asyncio
import ssl
from pathlib import Path
from typing import Any

import grpc
import pytest

from fastrpc import Address, Server, ServerConfig, Status
from fastrpc.auth import AnyOf, ClientCertificates, Identity, StaticTokens
from tests.support.certificates import Authority
from tests.support.grpc_peer import grpc_peer
from tests.support.http_talk import HttpClient
from tests.support.raw_methods import Raw

pytestmark = pytest.mark.one_loop

ECHO, LOOK = "/test.v1.Raw/echo", "/test.v1.Raw/look"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("grpc"))


def context_of(authority: Authority, *names: str, uri: str | None = None) -> ssl.SSLContext:
    """Return the context of a client that names these protocols."""
    context = ssl.create_default_context(cafile=str(authority.cert_file))
    if names:
        context.set_alpn_protocols(list(names))
    if uri is not None:
        shown = authority.certificate(f"URI:{uri}", purpose="clientAuth")
        context.load_cert_chain(shown.cert_file, shown.key_file)
    return context


def server_of(authority: Authority, *protocols: str, raw: Raw | None = None, **options: Any) -> Server:
    tls = authority.certificate().tls(authority)
    return Server(raw or Raw(), config=ServerConfig(protocols=protocols, tls=tls), **options)


async def test_grpcio_calls_by_tls(authority: Authority) -> None:
    async with server_of(authority, "native", "http", "grpc") as server:
        address = await server.listen("tls://127.0.0.1:0")
        credentials = grpc.ssl_channel_credentials(Path(authority.cert_file).read_bytes())
        async with grpc.aio.secure_channel(f"localhost:{address.port}", credentials) as client:
            assert await client.unary_unary(ECHO)(b"x") == b"x"


@pytest.mark.parametrize("protocols", [("grpc", "http", "native"), ("native", "http", "grpc")])
async def test_client_that_offers_both_versions_of_http_gets_the_second(
    authority: Authority, protocols: tuple[str, ...]
) -> None:
    async with server_of(authority, *protocols) as server:
        address = await server.listen("tls://127.0.0.1:0")
        for names in (("h2", "http/1.1"), ("http/1.1", "h2")):
            assert await agreed(address, context_of(authority, *names)) == "h2"
        assert await agreed(address, context_of(authority, "h2")) == "h2"
        assert await agreed(address, context_of(authority, "h2", "fastrpc/1")) == "fastrpc/1"


async def agreed(address: Address, context: ssl.SSLContext) -> str | None:
    """Return the name that a server agrees to."""
    _, writer = await asyncio.open_connection(
        address.host, address.port, ssl=context, server_hostname="localhost"
    )
    found = writer.get_extra_info("ssl_object").selected_alpn_protocol()
    writer.close()
    return str(found) if found else None


@pytest.mark.parametrize("names", [(), ("http/1.1",)])
async def test_http2_inside_tls_needs_its_name(authority: Authority, names: tuple[str, ...]) -> None:
    async with server_of(authority, "http", "grpc") as server:
        address = await server.listen("tls://127.0.0.1:0")
        async with grpc_peer(address, tls=context_of(authority, *names)) as peer:
            assert peer.is_closed
            assert peer.events == []


async def test_a_client_that_names_both_versions_of_http_calls_by_grpc(authority: Authority) -> None:
    """A client such as connect-go names both."""
    async with server_of(authority, "http", "grpc") as server:
        address = await server.listen("tls://127.0.0.1:0")
        async with grpc_peer(address, tls=context_of(authority, "h2", "http/1.1")) as peer:
            assert (await peer.call(ECHO, b"x")).messages == [b"x"]


async def test_a_call_of_grpc_by_http1_is_told_the_way(authority: Authority) -> None:
    async with server_of(authority, "http", "grpc") as server:
        address = await server.listen("tls://127.0.0.1:0")
        context = context_of(authority, "http/1.1")
        async with await HttpClient.to(address, ssl=context, server_hostname="localhost") as client:
            answer = await client.ask("POST", ECHO, b"\0\0\0\0\0", Content_Type="application/grpc+proto")
            assert answer.status == 505
            assert "offer h2 by ALPN" in answer.value["detail"]


async def test_a_certificate_identifies_the_caller_of_each_call(authority: Authority) -> None:
    raw = Raw()
    tokens = StaticTokens({"secret": Identity("token")})
    certificates = ClientCertificates(by="uri", allow=["spiffe://corp/*"])
    async with server_of(
        authority, "native", "grpc", raw=raw, authenticate=AnyOf(certificates, tokens)
    ) as server:
        address = await server.listen("tls://127.0.0.1:0")
        async with grpc_peer(address, tls=context_of(authority, "h2", uri="spiffe://corp/ada")) as peer:
            assert (await peer.call(LOOK, b"")).status == 0
            assert (await peer.call(LOOK, b"", [("authorization", "Bearer secret")])).status == 0
            assert (
                await peer.call(LOOK, b"", [("authorization", "Bearer no")])
            ).status == Status.UNAUTHENTICATED
            assert (await peer.call(LOOK, b"")).status == 0
        assert [call[0].name for call in raw.calls] == ["spiffe://corp/ada", "token", "spiffe://corp/ada"]
        async with grpc_peer(address, tls=context_of(authority, "h2")) as peer:
            assert (await peer.call(LOOK, b"")).status == Status.UNAUTHENTICATED
