"""Connections that TLS refuses: bad certificates, old versions, bytes of the wrong kind."""

import asyncio
import logging
import re
import socket
import ssl
from dataclasses import dataclass

import pytest

import fastrpc
from fastrpc import TLS, Client, ClientConfig, Server, ServerConfig, SyncClient, Timeouts
from fastrpc.errors import ConnectError, UnavailableError
from tests.support.certificates import Authority, Certificate
from tests.support.peer_writing import write_to
from tests.support.threaded_server import ThreadedServer

PAST = ("20200101000000Z", "20200201000000Z")
FUTURE = ("20990101000000Z", "20990201000000Z")


@fastrpc.service("guarded")
class Guarded:
    calls = 0

    @fastrpc.method(idempotent=True)
    async def enter(self) -> None:
        Guarded.calls += 1


@dataclass(frozen=True)
class Case:
    """Settings of both sides, and the reasons that the client's error and the server's log tell."""

    server: TLS
    client: TLS
    told: str
    logged: str


def _server_cases(mine: Authority, strange: Authority) -> dict[str, Case]:
    """Return cases in which the client refuses the server."""
    trust = TLS(ca_file=mine.cert_file)
    good = mine.certificate()
    revoked = mine.certificate()
    crl = mine.revocations(revoked)
    expected = TLS(ca_file=mine.cert_file, server_identities=("spiffe://corp/orders",))
    certificate_alert = "the client refuses TLS: our certificate"
    rsa = ("rsa:2048",)
    return {
        "expired": Case(mine.certificate(period=PAST).tls(), trust, "has expired", certificate_alert),
        "not yet valid": Case(
            mine.certificate(period=FUTURE).tls(), trust, "not valid yet", "our certificate"
        ),
        "other name": Case(
            mine.certificate("DNS:other.example").tls(), trust, "another IP address", "certificate"
        ),
        "no names": Case(mine.certificate("").tls(), trust, "no subjectAltName", "certificate"),
        "name of the subject": Case(
            mine.certificate("").tls(),
            TLS(ca_file=mine.cert_file, server_name="certificate1"),
            "no subjectAltName, and a name in its subject does not count",
            "certificate",
        ),
        "wrong authority": Case(
            strange.certificate().tls(), trust, "authority is not trusted", "does not trust"
        ),
        "system's authorities": Case(good.tls(), TLS(), "authority is not trusted", "does not trust"),
        "wrong use": Case(mine.certificate(purpose="clientAuth").tls(), trust, "purpose", "another purpose"),
        "revoked": Case(
            revoked.tls(), TLS(ca_file=mine.cert_file, crl_file=crl), "is revoked", "certificate is revoked"
        ),
        "no revocation list": Case(
            strange.certificate().tls(),
            TLS(ca_file=strange.cert_file, crl_file=crl),
            "no revocation list",
            "the client refuses TLS",
        ),
        "other identity": Case(
            mine.certificate("URI:spiffe://corp/other").tls(), expected, "'spiffe://corp/other'", ""
        ),
        "identity as a name": Case(
            mine.certificate("DNS:spiffe.corp,IP:127.0.0.1").tls(), expected, "URIs are none", ""
        ),
        "certificate of the authority, leaf not signed by it": Case(
            strange.certificate(key=rsa).tls(), trust, "authority is not trusted", "does not trust"
        ),
    }


def _client_cases(mine: Authority, strange: Authority) -> dict[str, Case]:
    """Return cases in which the server refuses the client."""
    good = mine.certificate()
    demands = good.tls(mine, require_client_cert=True)
    revoked = mine.certificate("URI:spiffe://corp/gone")
    crl = mine.revocations(revoked)
    careful = good.tls(mine, crl_file=crl)
    return {
        "client without one": Case(
            demands, TLS(ca_file=mine.cert_file), "demands a certificate", "sent no certificate"
        ),
        "client of another authority": Case(
            demands,
            strange.certificate().tls(mine),
            "does not trust the authority",
            "authority is not trusted",
        ),
        "client of another authority, none demanded": Case(
            good.tls(mine), strange.certificate().tls(mine), "does not trust", "authority is not trusted"
        ),
        "expired client": Case(
            demands, mine.certificate(period=PAST).tls(mine), "our certificate has expired", "has expired"
        ),
        "client with a server's certificate": Case(
            demands,
            mine.certificate(purpose="serverAuth").tls(mine),
            "another purpose",
            "its purpose is another",
        ),
        "revoked client": Case(careful, revoked.tls(mine), "certificate is revoked", "it is revoked"),
    }


SERVER_CASES = (
    "expired",
    "not yet valid",
    "other name",
    "no names",
    "name of the subject",
    "wrong authority",
    "system's authorities",
    "wrong use",
    "revoked",
    "no revocation list",
    "other identity",
    "identity as a name",
    "certificate of the authority, leaf not signed by it",
)
CLIENT_CASES = (
    "client without one",
    "client of another authority",
    "client of another authority, none demanded",
    "expired client",
    "client with a server's certificate",
    "revoked client",
)


#: The hints of the client's errors that name a setting.
HINTS = {
    "other name": "set server_name",
    "wrong authority": "set ca_file",
    "client without one": "set cert_file",
    "client of another authority": "set cert_file",
    "expired client": "renew cert_file",
}


@pytest.fixture(scope="session")
def cases(authority: Authority, stranger: Authority) -> dict[str, Case]:
    return _server_cases(authority, stranger) | _client_cases(authority, stranger)


def test_every_case_is_run(cases: dict[str, Case]) -> None:
    assert tuple(cases) == SERVER_CASES + CLIENT_CASES


def refusals(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "fastrpc.server" and record.levelno >= logging.WARNING
    ]


@pytest.mark.parametrize("name", SERVER_CASES + CLIENT_CASES)
async def test_a_bad_certificate_is_refused_by_name_and_nothing_runs(
    cases: dict[str, Case], name: str, caplog: pytest.LogCaptureFixture
) -> None:
    case, before = cases[name], Guarded.calls
    caplog.set_level(logging.DEBUG, "fastrpc.server")
    async with Server(Guarded(), config=ServerConfig(tls=case.server)) as server:
        target = str(await server.listen("tls://127.0.0.1:0"))
        async with Client(target, config=ClientConfig(tls=case.client)) as client:
            with pytest.raises(ConnectError, match=re.escape(case.told)) as refused:
                await client.call(Guarded.enter)
    assert refused.value.processed == "no"
    assert HINTS.get(name, "") in (refused.value.hint or "")
    assert Guarded.calls == before
    if case.logged:
        (line,) = refusals(caplog)
        assert re.match(r"refused tls://127\.0\.0\.1:\d+: ", line)
        assert case.logged in line


@pytest.mark.one_loop
@pytest.mark.parametrize("name", SERVER_CASES + CLIENT_CASES)
def test_a_blocking_client_tells_the_same(cases: dict[str, Case], name: str) -> None:
    case, before = cases[name], Guarded.calls
    config = ServerConfig(tls=case.server)
    with ThreadedServer(Guarded(), config=config, listen="tls://127.0.0.1:0") as server:
        with SyncClient(server.address, config=ClientConfig(tls=case.client)) as client:
            with pytest.raises(ConnectError, match=re.escape(case.told)) as refused:
                client.call(Guarded.enter)
    assert HINTS.get(name, "") in (refused.value.hint or "")
    assert Guarded.calls == before


async def handshake(port: int, context: ssl.SSLContext) -> str | None:
    """Return why a handshake with our server failed, or that bytes came after it; None if neither is so."""
    try:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=context, server_hostname="localhost"
        )
    except (ssl.SSLError, ConnectionError) as error:
        return str(error)
    try:
        write_to(writer, b"GET / HTTP/1.1\r\n\r\n")
        return None if await reader.read() == b"" else "it answered"
    except (ssl.SSLError, ConnectionError) as error:
        return str(error)
    finally:
        writer.transport.abort()


@pytest.mark.parametrize("alpn", [[], ["http/1.1"], ["h2", "http/1.1"], ["fastrpc/2"], ["fastrpc"]])
async def test_a_client_that_does_not_name_the_protocol_is_closed_before_a_byte_is_parsed(
    authority: Authority, server_certificate: Certificate, alpn: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    context = ssl.create_default_context(cafile=str(authority.cert_file))
    if alpn:
        context.set_alpn_protocols(alpn)
    async with Server(Guarded(), config=ServerConfig(tls=server_certificate.tls())) as server:
        port = (await server.listen("tls://127.0.0.1:0")).port
        assert await handshake(port, context) != "it answered"
    (line,) = refusals(caplog)
    assert "did not name the protocol fastrpc/1 (ALPN)" in line


async def test_tls_1_1_is_refused(
    authority: Authority, server_certificate: Certificate, caplog: pytest.LogCaptureFixture
) -> None:
    context = ssl.create_default_context(cafile=str(authority.cert_file))
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    async with Server(Guarded(), config=ServerConfig(tls=server_certificate.tls())) as server:
        port = (await server.listen("tls://127.0.0.1:0")).port
        assert "alert" in str(await handshake(port, context)).lower()
    (line,) = refusals(caplog)
    assert "no TLS version is common to both" in line


async def test_a_server_without_the_protocol_is_refused(
    authority: Authority, server_certificate: Certificate
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(server_certificate.cert_file, server_certificate.key_file)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.read() == b""
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        config = ClientConfig(tls=TLS(ca_file=authority.cert_file))
        async with Client(f"tls://127.0.0.1:{port}", config=config) as client:
            with pytest.raises(ConnectError, match=r"does not speak the protocol fastrpc/1 \(ALPN\)"):
                await client.call(Guarded.enter)


async def test_plain_bytes_into_tls(
    server_certificate: Certificate, caplog: pytest.LogCaptureFixture
) -> None:
    async with Server(Guarded(), config=ServerConfig(tls=server_certificate.tls())) as server:
        port = (await server.listen("tls://127.0.0.1:0")).port
        async with Client(f"tcp://127.0.0.1:{port}") as client:
            with pytest.raises(UnavailableError, match="a TLS server"):
                await client.call(Guarded.enter)
    # The client may try again before its call ends.
    assert all("the client does not speak TLS" in line for line in refusals(caplog))
    assert refusals(caplog)


async def test_tls_bytes_into_plain(
    server_certificate: Certificate, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "fastrpc.server")
    async with Server(Guarded()) as server:
        port = (await server.listen("tcp://127.0.0.1:0")).port
        config = ClientConfig(timeouts=Timeouts(connect=20, call=30))
        async with Client(f"tls://127.0.0.1:{port}", config=config) as client:
            with pytest.raises(ConnectError, match="may listen at tcp:// rather than tls://"):
                await client.call(Guarded.enter)
    strangers = [one.getMessage() for one in caplog.records if getattr(one, "event", "") == "strangers"]
    assert any("speaks TLS" in text for text in strangers)


async def test_a_connection_that_says_nothing_is_no_refusal(
    server_certificate: Certificate, caplog: pytest.LogCaptureFixture
) -> None:
    async with Server(Guarded(), config=ServerConfig(tls=server_certificate.tls())) as server:
        port = (await server.listen("tls://127.0.0.1:0")).port
        with socket.create_connection(("127.0.0.1", port)):
            await asyncio.sleep(0)
    assert refusals(caplog) == []


async def test_a_handshake_that_does_not_end_ends_in_time(server_certificate: Certificate) -> None:
    config = ServerConfig(tls=server_certificate.tls(), timeouts=Timeouts(handshake=0.1))
    async with Server(Guarded(), config=config) as server:
        port = (await server.listen("tls://127.0.0.1:0")).port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        # The begin of a ClientHello.
        write_to(writer, b"\x16\x03\x01\x02\x00\x01")
        async with asyncio.timeout(10):
            assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()


BEYOND = r"is not encrypted, and ClientConfig\.tls is set"


async def test_a_client_with_certificates_dials_no_plain_address_beyond_loopback(
    authority: Authority,
) -> None:
    config = ClientConfig(tls=TLS(ca_file=authority.cert_file))
    async with Client("tcp://192.0.2.1:1", config=config) as client:
        with pytest.raises(ConnectError, match=BEYOND):
            await client.call("guarded.enter")


def test_nor_does_a_blocking_client(authority: Authority) -> None:
    config = ClientConfig(tls=TLS(ca_file=authority.cert_file))
    with SyncClient("tcp://192.0.2.1:1", config=config) as client:
        with pytest.raises(ConnectError, match=BEYOND):
            client.call("guarded.enter")
