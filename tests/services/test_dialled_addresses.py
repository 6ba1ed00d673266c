"""The addresses that a server dials while it refuses connections, as strace sees them: only configured ones."""

import asyncio
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

import fastrpc
from fastrpc.coordination import RegistryServer
from tests.support.certificates import Authority, Certificate
from tests.support.traced import dialled_in, tracing

SERVER = """
import asyncio, sys
import fastrpc

@fastrpc.service("guarded")
class Guarded:
    @fastrpc.method
    async def enter(self) -> None:
        pass

async def main(cert, key, authority, registry):
    tls = fastrpc.TLS(cert_file=cert, key_file=key, ca_file=authority, require_client_cert=True)
    config = fastrpc.ServerConfig(tls=tls)
    async with fastrpc.Server(Guarded, config=config, registry=registry or None) as server:
        print((await server.listen("tls://127.0.0.1:0")).port, flush=True)
        await asyncio.to_thread(sys.stdin.read)

async def check_tokens(public_key):
    from fastrpc.auth import JWT, AnyOf, StaticTokens
    keys = JWT(open(public_key).read(), issuer="one", audience="all", algorithms=["RS256"], name_prefix="jwt:")
    authenticate = AnyOf(StaticTokens({"known": fastrpc.Identity("ada")}), keys)
    async with fastrpc.Server(Guarded, authenticate=authenticate) as server:
        print((await server.listen("tcp://127.0.0.1:0")).port, flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main(*sys.argv[1:]) if len(sys.argv) > 2 else check_tokens(sys.argv[1]))
"""

#: Port 1 is reserved for a service that nobody runs: whoever follows these addresses is seen, and gets nowhere.
NAMED_IN_CERTIFICATE = """
authorityInfoAccess=OCSP;URI:http://127.0.0.1:1/ocsp,caIssuers;URI:http://127.0.0.1:1/issuer
crlDistributionPoints=URI:http://127.0.0.1:1/revoked
"""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


class Traced:
    """A server under strace."""

    def __init__(self, port: int, trace: Path) -> None:
        self.port = port
        self._trace = trace

    def dialled(self) -> list[str]:
        """Return the addresses that were connected to, or sent to without a connection; it has ended."""
        return dialled_in(self._trace)


@contextmanager
def traced_server(strace: str, folder: Path, authority: Authority, registry: str = "") -> Iterator[Traced]:
    shown = authority.certificate()
    files = [str(each) for each in (shown.cert_file, shown.key_file, authority.cert_file)]
    with traced(strace, folder, *files, registry) as server:
        yield server


@contextmanager
def traced(strace: str, folder: Path, *arguments: str) -> Iterator[Traced]:
    program, trace = folder / "server.py", folder / "trace"
    program.write_text(SERVER)
    with subprocess.Popen(
        [*tracing(strace, trace), sys.executable, str(program), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield Traced(int(process.stdout.readline()), trace)


def refused(port: int, sent: bytes) -> None:
    """Send bytes that are no TLS, and wait for the end."""
    with socket.create_connection(("127.0.0.1", port), 20) as connection:
        connection.sendall(sent)
        with suppress(ConnectionResetError):
            while connection.recv(4096):
                pass


def refused_tls(port: int, authority: Authority, shown: Certificate | None) -> None:
    """Open TLS as a client whose certificate is refused, and wait for the alert."""
    context = ssl.create_default_context(cafile=str(authority.cert_file))
    context.set_alpn_protocols(["fastrpc/1"])
    if shown is not None:
        context.load_cert_chain(shown.cert_file, shown.key_file)
    with (
        pytest.raises((ssl.SSLError, ConnectionResetError)),
        socket.create_connection(("127.0.0.1", port), 20) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
    ):
        # TLS 1.3: the client has finished its half before the server refuses its certificate.
        connection.recv(1)


def test_a_server_that_refuses_dials_nobody(strace: str, authority: Authority, tmp_path: Path) -> None:
    stranger = Authority(tmp_path / "strange").certificate(extensions=NAMED_IN_CERTIFICATE)
    expired = authority.certificate(
        period=("20200101000000Z", "20210101000000Z"), extensions=NAMED_IN_CERTIFICATE
    )
    wrong_use = authority.certificate(purpose="serverAuth", extensions=NAMED_IN_CERTIFICATE)
    with traced_server(strace, tmp_path, authority) as server:
        for sent in (
            b"GET http://127.0.0.1:1/ HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n",
            b"\x00" * 64,
            b"FRPC\x01",
        ):
            refused(server.port, sent)
        for shown in (None, stranger, expired, wrong_use):
            refused_tls(server.port, authority, shown)
    assert server.dialled() == []


def pointing_token(key: str | None, **header: Any) -> str:
    """Return a token that names places where its key is to be had; None: signed by nobody."""
    places = dict.fromkeys(("jku", "x5u", "kid"), "http://127.0.0.1:1/keys")
    claims = {"iss": "http://127.0.0.1:1/", "aud": "all", "sub": "ada", "exp": time.time() + 60}
    algorithm = "none" if key is None else "RS256"
    return jwt.encode(claims, key or "", algorithm=algorithm, headers={**places, **header})


def test_a_server_that_refuses_tokens_dials_nobody(strace: str, authority: Authority, tmp_path: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public, private = (
        tmp_path / "public",
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    jwk = {"jwk": {"kty": "RSA", "x5u": "http://127.0.0.1:1/key"}}
    tokens = [
        "unknown",
        "http://127.0.0.1:1/",
        pointing_token(private.decode()),
        pointing_token(private.decode(), **jwk),
        pointing_token(None),
    ]
    with traced(strace, tmp_path, str(public)) as server:
        for token in tokens:
            for shown in ({"credentials": token}, {"metadata": {"authorization": f"Bearer {token}"}}):
                with fastrpc.SyncClient(
                    f"tcp://127.0.0.1:{server.port}", credentials=shown.get("credentials")
                ) as client:
                    view = client.with_options(metadata=shown.get("metadata") or {})
                    with pytest.raises(fastrpc.CallError) as refused_call:
                        view.call("guarded.enter")
                    assert refused_call.value.status is fastrpc.Status.UNAUTHENTICATED
    assert server.dialled() == []


async def test_strace_sees_the_registry_that_a_server_was_told_of_and_nothing_else(
    strace: str, authority: Authority, tmp_path: Path
) -> None:
    async with RegistryServer("tcp://127.0.0.1:0") as registry:

        def serve_and_refuse() -> list[str]:
            with traced_server(strace, tmp_path, authority, registry.url) as server:
                refused_tls(server.port, authority, None)
            return server.dialled()

        dialled = await asyncio.to_thread(serve_and_refuse)
        port = registry.url.rpartition(":")[2].partition("/")[0]
    assert dialled
    assert [each for each in dialled if f"sin_port=htons({port})" not in each] == []
