"""Peers that are not ours and would agree to less: weak keys and hashes, old versions, old ciphers, renegotiation."""

import asyncio
import logging
import shutil
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

import fastrpc
from fastrpc import TLS, Client, ClientConfig, Server, ServerConfig, SyncClient
from fastrpc.errors import ConnectError
from tests.support.certificates import Authority, Certificate
from tests.support.waiting import eventually

WEAK = "ALL:@SECLEVEL=0"


@fastrpc.service("careful")
class Careful:
    @fastrpc.method(idempotent=True)
    async def enter(self) -> None:
        return None


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if getattr(one, "event", "") == "tls_refused"]


def weak_context(purpose: ssl.Purpose, certificate: Certificate | None = None) -> ssl.SSLContext:
    """Return a context that agrees to everything that OpenSSL still has."""
    context = ssl.SSLContext(
        ssl.PROTOCOL_TLS_SERVER if purpose is ssl.Purpose.CLIENT_AUTH else ssl.PROTOCOL_TLS_CLIENT
    )
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers(WEAK)
    context.set_alpn_protocols(["fastrpc/1"])
    if certificate is not None:
        context.load_cert_chain(certificate.cert_file, certificate.key_file)
    return context


def only(version: ssl.TLSVersion) -> Callable[[ssl.SSLContext], None]:
    def restrict(context: ssl.SSLContext) -> None:
        with pytest.warns(DeprecationWarning, match="TLSv1"):
            context.minimum_version = context.maximum_version = version

    return restrict


def cipher(names: str) -> Callable[[ssl.SSLContext], None]:
    def restrict(context: ssl.SSLContext) -> None:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(names + ":@SECLEVEL=0")

    return restrict


#: The restrictions of the other side.
OLD = {
    "TLS 1.0": only(ssl.TLSVersion.TLSv1),
    "TLS 1.1": only(ssl.TLSVersion.TLSv1_1),
    "no forward secrecy": cipher("AES128-GCM-SHA256"),
    "CBC": cipher("ECDHE-RSA-AES128-SHA"),
    "CBC with SHA-256": cipher("ECDHE-RSA-AES128-SHA256"),
    "nobody known": cipher("AECDH-AES128-SHA:ADH-AES128-SHA"),
}


@pytest.fixture(scope="session")
def rsa(authority: Authority) -> Certificate:
    return authority.certificate(key=("rsa:2048",))


@contextmanager
def foreign_server(context: ssl.SSLContext) -> Iterator[str]:
    """Serve TLS of a foreign server, which gets no bytes after its handshake."""
    said = bytearray()

    def serve() -> None:
        while True:
            try:
                accepted, _ = listening.accept()
            except OSError:
                return
            accepted.settimeout(10)
            # asyncio would keep the alert back.
            with accepted, suppress(OSError), context.wrap_socket(accepted, server_side=True) as wrapped:
                said.extend(wrapped.recv(1_000))

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"tls://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(10)
    assert said == b""


async def refused_by_both_clients(target: str, tls: TLS) -> list[str]:
    """Return the texts of the errors of both clients."""
    config = ClientConfig(tls=tls)

    def blocking() -> str:
        with SyncClient(target, config=config) as client, pytest.raises(ConnectError) as refused:
            client.call(Careful.enter)
        return str(refused.value)

    async with Client(target, config=config) as client:
        with pytest.raises(ConnectError) as refused:
            await client.call(Careful.enter)
    return [str(refused.value), await asyncio.to_thread(blocking)]


@pytest.mark.parametrize("name", OLD)
async def test_a_server_takes_no_old_version_or_cipher(
    rsa: Certificate, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    context = weak_context(ssl.Purpose.SERVER_AUTH)
    OLD[name](context)
    async with Server(Careful(), config=ServerConfig(tls=rsa.tls())) as server:
        port = (await server.listen("tls://127.0.0.1:0")).port
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection("127.0.0.1", port, ssl=context)
        await eventually(lambda: lines(caplog))
        await eventually(lambda: server.stats()["live"]["connections"] == 0)
    (line,) = lines(caplog)
    told = "no TLS version is common to both" if name.startswith("TLS") else "no cipher is common to both"
    assert told in line


@pytest.mark.parametrize("name", OLD)
async def test_a_client_takes_no_old_version_or_cipher(
    authority: Authority, rsa: Certificate, name: str
) -> None:
    context = weak_context(ssl.Purpose.CLIENT_AUTH, rsa)
    OLD[name](context)
    with foreign_server(context) as target:
        for error in await refused_by_both_clients(target, TLS(ca_file=authority.cert_file)):
            assert "TLS version in common" in error or "no cipher in common" in error


@dataclass(frozen=True)
class Weak:
    """A certificate of an authority that our side trusts, and the error of our side."""

    certificate: Certificate
    trusted: Authority
    told: str


def _signed_by_a_leaf(authority: Authority) -> Certificate:
    """Return a certificate that was signed by a server's certificate, with that in its chain."""
    leaf = authority.certificate()
    folder = authority.folder / "leaf"
    folder.mkdir()
    shutil.copy(leaf.cert_file, folder / "authority.pem")
    shutil.copy(leaf.key_file, folder / "authority.key")
    false = Authority.__new__(Authority)
    false.folder, false.cert_file, false._number = folder, folder / "authority.pem", 0
    for name in ("config", "serial", "crlnumber"):
        shutil.copy(authority.folder / name, folder / name)
    (folder / "index.txt").touch()
    signed = false.certificate()
    signed.cert_file.write_text(signed.cert_file.read_text() + leaf.cert_file.read_text())
    return signed


WEAK_CASES = ("RSA of 1,024 bits", "SHA-1", "signed by a server", "signed by itself")


@pytest.fixture(scope="session")
def weak(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Weak]:
    mine = Authority(tmp_path_factory.mktemp("weak"), "weak")
    lonely = Authority(tmp_path_factory.mktemp("weak"), "lonely")
    itself = Certificate(lonely.cert_file, lonely.folder / "authority.key")
    return {
        "RSA of 1,024 bits": Weak(mine.certificate(key=("rsa:1024",)), mine, "key is too weak"),
        "SHA-1": Weak(mine.certificate(digest="sha1"), mine, "signed by a weak hash"),
        "signed by a server": Weak(_signed_by_a_leaf(mine), mine, "its authority may sign no certificates"),
        "signed by itself": Weak(itself, mine, "signed by itself"),
    }


@pytest.mark.parametrize("name", WEAK_CASES)
async def test_both_clients_refuse_a_weak_certificate(weak: dict[str, Weak], name: str) -> None:
    case = weak[name]
    with foreign_server(weak_context(ssl.Purpose.CLIENT_AUTH, case.certificate)) as target:
        for error in await refused_by_both_clients(target, TLS(ca_file=case.trusted.cert_file)):
            assert case.told in error


@pytest.mark.parametrize("name", WEAK_CASES)
async def test_a_server_refuses_a_weak_certificate(
    weak: dict[str, Weak], name: str, caplog: pytest.LogCaptureFixture
) -> None:
    case = weak[name]
    caplog.set_level(logging.DEBUG, "fastrpc.server")
    config = ServerConfig(tls=case.trusted.certificate().tls(case.trusted, require_client_cert=True))
    async with Server(Careful(), config=config) as server:
        port = (await server.listen("tls://127.0.0.1:0")).port
        context = weak_context(ssl.Purpose.SERVER_AUTH, case.certificate)
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        # In TLS 1.3 a client hears of it only after its handshake.
        with pytest.raises((ssl.SSLError, ConnectionError)):
            if await reader.read() == b"":
                raise ConnectionResetError
        writer.transport.abort()
        await eventually(lambda: lines(caplog))
    (line,) = lines(caplog)
    assert case.told in line


@pytest.mark.one_loop
async def test_a_client_of_tls_1_2_cannot_negotiate_again(rsa: Certificate, tmp_path: Path) -> None:
    async with Server(Careful(), config=ServerConfig(tls=rsa.tls())) as server:
        port = (await server.listen("tls://127.0.0.1:0")).port
        program = await asyncio.create_subprocess_exec(
            *("openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-tls1_2", "-alpn", "fastrpc/1"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        assert program.stdin is not None
        assert program.stdout is not None
        async with asyncio.timeout(20):
            # The end of its output about the connection.
            shown = await program.stdout.readuntil(b"Extended master secret")
            program.stdin.write(b"R\n")
            shown += await program.stdout.read()
        assert b"Secure Renegotiation IS supported" in shown
        assert b"no renegotiation" in shown
        await program.wait()


async def test_no_session_can_be_resumed(authority: Authority, server_certificate: Certificate) -> None:
    context = ssl.create_default_context(cafile=str(authority.cert_file))
    context.set_alpn_protocols(["fastrpc/1"])
    async with Server(Careful(), config=ServerConfig(tls=server_certificate.tls())) as server:
        port = (await server.listen("tls://127.0.0.1:0")).port
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context.maximum_version = version
            _, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=context, server_hostname="localhost"
            )
            # A ticket or an identifier would outlive an authority that is removed.
            session = writer.get_extra_info("ssl_object").session
            assert session is None or not session.has_ticket
            assert session is None or version is ssl.TLSVersion.TLSv1_2 or not session.id
            writer.transport.abort()
