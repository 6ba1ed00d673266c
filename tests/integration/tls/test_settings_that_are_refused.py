"""Certificates and addresses that contradict each other or cannot be used: refused before anybody connects."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

import fastrpc
from fastrpc import TLS, Client, ClientConfig, ConfigError, Server, ServerConfig
from tests.support.arith import Arith
from tests.support.certificates import Authority, Certificate

pytestmark = pytest.mark.one_loop


async def listen(config: ServerConfig, address: str = "tls://127.0.0.1:0", **options: bool) -> None:
    async with Server(Arith, config=config) as server:
        await server.listen(address, **options)  # type: ignore[arg-type]


async def test_tls_without_certificates_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"^cannot listen at tls://127\.0\.0\.1:0: ServerConfig\.tls is None"
    ):
        await listen(ServerConfig())
    with pytest.raises(ConfigError, match="a server needs a certificate"):
        await listen(ServerConfig(tls=TLS()))


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "192.0.2.1", "example.org", ""])
async def test_a_server_with_certificates_listens_plainly_on_loopback_only(
    server_certificate: Certificate, host: str
) -> None:
    config = ServerConfig(tls=server_certificate.tls())
    with pytest.raises(
        ConfigError, match=r"it is not encrypted, and ServerConfig\.tls is set .*allow_plain=True"
    ):
        await listen(config, f"tcp://{host}:0")


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:0", "tcp://[::1]:0", "tcp://localhost:0", "memory://plain"]
)
async def test_listeners_that_no_other_machine_reaches_need_no_permission(
    server_certificate: Certificate, address: str
) -> None:
    await listen(ServerConfig(tls=server_certificate.tls()), address)


async def test_allow_plain_is_the_permission(server_certificate: Certificate) -> None:
    await listen(ServerConfig(tls=server_certificate.tls()), "tcp://0.0.0.0:0", allow_plain=True)


@pytest.mark.parametrize("workers", [1, 2])
def test_serve_refuses_the_same(server_certificate: Certificate, workers: int) -> None:
    config = ServerConfig(tls=server_certificate.tls())
    with pytest.raises(ConfigError, match=r"it is not encrypted, and ServerConfig\.tls is set"):
        fastrpc.serve(Arith, address="tcp://0.0.0.0:0", workers=workers, config=config)
    with pytest.raises(ConfigError, match=r"ServerConfig\.tls is None"):
        fastrpc.serve(Arith, address="tls://127.0.0.1:0", workers=workers)


MAKE = Callable[[Authority, Authority, Path], TLS]

BAD_FILES: dict[str, tuple[MAKE, str]] = {
    "no such file": (
        lambda mine, _, folder: TLS(cert_file=folder / "none.pem"),
        r"TLS\.cert_file is '.*none\.pem': No such file or directory",
    ),
    "a folder": (lambda mine, _, folder: TLS(cert_file=folder), r"TLS\.cert_file is '.*': Is a directory"),
    "no certificate": (
        lambda mine, _, folder: TLS(cert_file=_file(folder, "text")),
        "it holds no certificate in PEM",
    ),
    "no key": (lambda mine, _, folder: TLS(cert_file=mine.cert_file), "it holds no private key in PEM"),
    "damaged": (
        lambda mine, _, folder: TLS(
            cert_file=_file(folder, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
            key_file=mine.certificate().key_file,
        ),
        r"TLS\.cert_file is '.*': ",
    ),
    "key of another": (
        lambda mine, _, folder: TLS(
            cert_file=mine.certificate().cert_file, key_file=mine.certificate().key_file
        ),
        "it is not the key of '",
    ),
    "encrypted key": (
        lambda mine, _, folder: mine.certificate(password="secret").tls(),
        r"its key is encrypted \(set key_password\)",
    ),
    "wrong password": (
        lambda mine, _, folder: mine.certificate(password="secret").tls(key_password="guess"),
        "key_password does not open it",
    ),
    "weak key": (
        lambda mine, _, folder: mine.certificate(key=("rsa:1024",)).tls(),
        r"TLS\.cert_file is '.*': ee key too small",
    ),
    "no authority": (
        lambda mine, _, folder: mine.certificate().tls(ca_file=folder / "none.pem"),
        r"TLS\.ca_file is '.*none\.pem': No such file",
    ),
    "authority that is none": (
        lambda mine, _, folder: mine.certificate().tls(ca_file=_file(folder, "text")),
        r"TLS\.ca_file is '.*': it holds no certificate",
    ),
    "no list": (
        lambda mine, _, folder: mine.certificate().tls(crl_file=mine.cert_file),
        r"TLS\.crl_file is '.*': it holds no revocation list",
    ),
    "list with a certificate, which would be trusted": (
        lambda mine, other, folder: mine.certificate().tls(
            crl_file=_file(folder, mine.revocations().read_text() + other.cert_file.read_text())
        ),
        r"TLS\.crl_file is '.*': it holds a certificate",
    ),
}


def _file(folder: Path, text: str) -> Path:
    path = folder / "file.pem"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", BAD_FILES)
async def test_a_file_that_cannot_be_used_is_named(
    authority: Authority, stranger: Authority, tmp_path: Path, name: str
) -> None:
    make, message = BAD_FILES[name]
    tls = make(authority, stranger, tmp_path)
    with pytest.raises(ConfigError, match=message) as refused:
        await listen(ServerConfig(tls=tls))
    assert "secret" not in str(refused.value)
    assert "guess" not in str(refused.value)


async def test_a_client_names_the_file_too(tmp_path: Path) -> None:
    config = ClientConfig(tls=TLS(ca_file=tmp_path / "none.pem"))
    async with Client("tls://127.0.0.1:9", config=config) as client:
        with pytest.raises(fastrpc.FastRPCError, match=re.escape("none.pem': No such file or directory")):
            await client.call(Arith.mul, 6, 7)
