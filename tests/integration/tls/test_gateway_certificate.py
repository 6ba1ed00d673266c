"""`fastrpc gateway --cert`: the registry sees the certificate, and no call of the gateway has its identity."""

from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import ServerConfig, current_call
from fastrpc.auth import AnyOf, ClientCertificates, Identity, StaticTokens
from tests.support.certificates import Authority
from tests.support.http_talk import HttpClient
from tests.support.program import Program
from tests.support.threaded_server import ThreadedServer

pytestmark = pytest.mark.one_loop

CONTRACT = """
import fastrpc

@fastrpc.service("books")
class Books:
    @fastrpc.method
    async def who(self) -> str: ...

@fastrpc.service("vault")
class Vault:
    @fastrpc.method
    async def who(self) -> str: ...
"""


class Asked:
    @fastrpc.method
    async def who(self) -> str:
        identity = current_call().identity
        return "nobody" if identity is None else identity.name


@fastrpc.service("books")
class Books(Asked):
    """Takes tokens, and the certificates of programs."""


@fastrpc.service("vault")
class Vault(Asked):
    """Takes programs with a certificate alone."""


async def test_a_certificate_identifies_no_call(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    ours = authority.certificate("DNS:localhost,IP:127.0.0.1")
    gateway = authority.certificate("URI:spiffe://corp/gateway", purpose="clientAuth")
    (tmp_path / "books.py").write_text(CONTRACT)
    ca = ("--ca", str(authority.cert_file))
    listen = ("-a", "tls://127.0.0.1:0", "--tls-cert", str(ours.cert_file), "--tls-key", str(ours.key_file))
    by_certificate = ClientCertificates(by="uri", allow=["spiffe://corp/*"])
    either = AnyOf(by_certificate, StaticTokens({"of-ada": Identity("ada")}))
    # The registry is only for those who show a certificate.
    demanding = (*listen, "--tls-ca", str(authority.cert_file))

    def server(service: Any, *, demands: bool, **options: Any) -> ThreadedServer:
        config = ServerConfig(tls=ours.tls(authority, require_client_cert=demands))
        return ThreadedServer(service, config=config, listen="tls://127.0.0.1:0", **options)

    with Program(["-m", "fastrpc", "registry", *demanding], tmp_path) as registry:
        url = registry.wait_output(r"registry at (\S+)\n")[1]
        shown = (
            "--contract",
            "books.py",
            *ca,
            "--cert",
            str(gateway.cert_file),
            "--key",
            str(gateway.key_file),
        )
        words = ["-m", "fastrpc", "gateway", "-r", url, "-a", "http://127.0.0.1:0", *shown]
        with (
            server(Books(), demands=False, registry=url, authenticate=either),
            server(Vault(), demands=True, registry=url, authenticate=by_certificate),
            Program(words, tmp_path) as program,
        ):
            origin = program.wait_output(r"gateway at (\S+)\n")[1].replace("http://", "tcp://")
            async with await HttpClient.to(origin) as client:
                answer = await client.post("/books/who", {}, Authorization="Bearer of-ada")
                assert (answer.status, answer.value) == (200, "ada")
                assert (await client.post("/books/who", {})).status == 401
                answer = await client.post("/vault/who", {})
                assert answer.status == 503
                assert "demand a client certificate" in answer.value["detail"]
