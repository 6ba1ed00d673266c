"""The HTTP gateway over TLS: ALPN, and client certificates as identities."""

import ssl

import pytest

from fastrpc import HTTP, TLS, Address, Client, ClientConfig, Server, ServerConfig
from fastrpc.auth import ClientCertificates
from tests.support.certificates import Authority, Certificate
from tests.support.http2_client import http2_client
from tests.support.http2_frames import OPENING
from tests.support.http_shop import Shop
from tests.support.http_talk import HttpClient, Response, request
from tests.support.http_versions import VERSIONS, http_client

WHO = "/shop.v1/who"


def context_for(authority: Authority, *names: str, client: Certificate | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.cert_file))
    if names:
        context.set_alpn_protocols(list(names))
    if client is not None:
        context.load_cert_chain(client.cert_file, client.key_file)
    return context


async def asked(port: int, context: ssl.SSLContext, path: str = WHO, **fields: str | None) -> Response | None:
    """Return the response; None where the connection is closed instead."""
    try:
        async with await HttpClient.to(f"tcp://localhost:{port}", ssl=context) as client:
            answer = await client.post(path, {}, **fields)
            alpn = client.writer.get_extra_info("ssl_object").selected_alpn_protocol()
            assert alpn in (None, "http/1.1")
            return answer
    except (ConnectionError, EOFError, ssl.SSLError):
        return None


@pytest.mark.parametrize("protocols", [("http",), ("native", "http"), ("http", "native")])
async def test_http_is_named_in_alpn_or_nothing_is(
    authority: Authority, server_certificate: Certificate, protocols: tuple[str, ...]
) -> None:
    config = ServerConfig(tls=server_certificate.tls(), protocols=protocols)
    async with Server(Shop(), config=config) as server:
        port = (await server.listen("tls://127.0.0.1:0")).port
        for names in ((), ("http/1.1",)):
            answer = await asked(port, context_for(authority, *names))
            assert answer is not None
            assert answer.value == "nobody"
        if "native" in protocols:
            assert await asked(port, context_for(authority, "fastrpc/1")) is None
            trusting = ClientConfig(tls=TLS(ca_file=authority.cert_file))
            async with Client(f"tls://127.0.0.1:{port}", config=trusting) as client:
                assert await client.call("shop.v1.who") == "nobody"


async def agreed(address: Address, context: ssl.SSLContext) -> str | None:
    """Return the name that a server agrees to."""
    async with await HttpClient.to(address, ssl=context, server_hostname="localhost") as client:
        found: str | None = client.writer.get_extra_info("ssl_object").selected_alpn_protocol()
        return found


@pytest.mark.parametrize(
    ("protocols", "http2", "expected"),
    [
        (("http",), True, "h2"),
        (("native", "http"), True, "h2"),
        (("http", "native", "grpc"), True, "h2"),
        (("grpc", "http"), True, "h2"),
        (("http",), False, "http/1.1"),
        (("grpc", "http"), False, "http/1.1"),
    ],
)
async def test_a_client_that_names_both_versions_gets_http2_where_it_serves_pages(
    authority: Authority,
    server_certificate: Certificate,
    protocols: tuple[str, ...],
    http2: bool,
    expected: str,
) -> None:
    config = ServerConfig(tls=server_certificate.tls(), protocols=protocols, http=HTTP(http2=http2))
    async with Server(Shop(), config=config) as server:
        address = await server.listen("tls://127.0.0.1:0")
        for names in (("h2", "http/1.1"), ("http/1.1", "h2")):
            context = context_for(authority, *names)
            assert await agreed(address, context) == expected
            if expected == "h2":
                async with http2_client(address, tls=context) as client:
                    assert (await client.post(WHO, {})).value == "nobody"
            else:
                answer = await asked(address.port, context)
                assert answer is not None
                assert answer.value == "nobody"
        assert await agreed(address, context_for(authority, "http/1.1")) == "http/1.1"
        if "native" in protocols:
            assert await agreed(address, context_for(authority, "h2", "fastrpc/1")) == "fastrpc/1"


@pytest.mark.parametrize("protocols", [("http",), ("native", "http"), ("http", "grpc")], ids="+".join)
@pytest.mark.parametrize(
    ("names", "data", "told"),
    [
        (("h2",), request("POST", WHO, {}), "it speaks http, and TLS agreed to h2 (ALPN)"),
        (("http/1.1",), OPENING, "and TLS agreed to http/1.1 (ALPN)"),
        ((), OPENING, "and TLS agreed to no protocol (ALPN)"),
    ],
    ids=["h2", "http/1.1", "nothing"],
)
async def test_a_client_that_agreed_to_one_version_cannot_speak_the_other(
    authority: Authority,
    server_certificate: Certificate,
    protocols: tuple[str, ...],
    names: tuple[str, ...],
    data: bytes,
    told: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "fastrpc.server")
    config = ServerConfig(tls=server_certificate.tls(), protocols=protocols)
    async with Server(Shop(), config=config) as server:
        address = await server.listen("tls://127.0.0.1:0")
        async with await HttpClient.to(
            address, ssl=context_for(authority, *names), server_hostname="localhost"
        ) as client:
            client.send(data)
            assert await client.is_closed()
    assert told in caplog.text
    assert "add " not in caplog.text


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_certificate_identifies_requests_of_both_versions(
    authority: Authority, server_certificate: Certificate, client_certificate: Certificate, version: str
) -> None:
    config = ServerConfig(tls=server_certificate.tls(authority), protocols=("http",))
    certificates = ClientCertificates(by="uri", allow=["spiffe://corp/*"])
    name = "h2" if version == "2" else "http/1.1"
    async with Server(Shop(), config=config, authenticate=certificates) as server:
        address = await server.listen("tls://127.0.0.1:0")
        for shown, status in ((client_certificate, 200), (None, 401)):
            context = context_for(authority, name, client=shown)
            async with http_client(version, address, tls=context) as client:
                assert (await client.post(WHO, {})).status == status


async def test_a_certificate_identifies_callers_but_not_calls_of_web_pages(
    authority: Authority, server_certificate: Certificate, client_certificate: Certificate
) -> None:
    origin = "https://shop.example"
    config = ServerConfig(
        tls=server_certificate.tls(authority), protocols=("http",), http=HTTP(cors_origins=(origin,))
    )
    certificates = ClientCertificates(by="uri", allow=["spiffe://corp/*"])
    async with Server(Shop(), config=config, authenticate=certificates) as server:
        port = (await server.listen("tls://127.0.0.1:0")).port
        named = context_for(authority, client=client_certificate)
        answer = await asked(port, named)
        assert answer is not None
        assert answer.value == "spiffe://corp/ada"
        for context, fields in ((named, {"Origin": origin}), (context_for(authority), {})):
            answer = await asked(port, context, **fields)
            assert answer is not None
            assert answer.status == 401


@pytest.mark.parametrize("forwarded", [None, "1.2.3.4", "127.0.0.1"])
async def test_the_certificate_of_a_trusted_proxy_identifies_no_request(
    authority: Authority,
    server_certificate: Certificate,
    client_certificate: Certificate,
    forwarded: str | None,
) -> None:
    http = HTTP(trusted_proxies=("127.0.0.0/8",))
    config = ServerConfig(tls=server_certificate.tls(authority), protocols=("http",), http=http)
    certificates = ClientCertificates(by="uri", allow=["spiffe://corp/*"])
    async with Server(Shop(), config=config, authenticate=certificates) as server:
        port = (await server.listen("tls://127.0.0.1:0")).port
        answer = await asked(
            port, context_for(authority, client=client_certificate), X_Forwarded_For=forwarded
        )
    assert answer is not None
    assert answer.status == 401
