"""`fastrpc certs dev`, and the commands that dial with its certificates."""

import json
import ssl
import stat
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import TLS, ServerConfig
from fastrpc.coordination.registry.server import RegistryServer
from tests.support.arith import Arith
from tests.support.program import Finished, run_program
from tests.support.threaded_server import ThreadedServer


def command(*arguments: str, folder: Path | None = None) -> Finished:
    return run_program(["-m", "fastrpc", *arguments], folder or Path.cwd())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("development")
    made = command("certs", "dev", "certs", "--json", folder=path)
    assert made.code == 0, made.errors
    files: dict[str, Any] = json.loads(made.output)
    assert files["server"] == {"cert": "certs/server.pem", "key": "certs/server.key"}
    return path / "certs"


def options(folder: Path, *, shows: bool = True) -> list[str]:
    given = ["--ca", str(folder / "authority.pem")]
    return (
        [*given, "--cert", str(folder / "client.pem"), "--key", str(folder / "client.key")]
        if shows
        else given
    )


def server_tls(folder: Path, *, demands: bool) -> TLS:
    return TLS(
        cert_file=folder / "server.pem",
        key_file=folder / "server.key",
        ca_file=folder / "authority.pem" if demands else None,
        require_client_cert=demands,
    )


def test_keys_are_readable_by_their_owner_alone(folder: Path) -> None:
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == {
        f"{name}.{kind}": 0o600 if kind == "key" else 0o644
        for name in ("authority", "server", "client")
        for kind in ("key", "pem")
    }


def test_given_names_are_added_to_the_names_of_this_machine(tmp_path: Path) -> None:
    assert (
        command("certs", "dev", "--name", "orders.example", "--name", "localhost", folder=tmp_path).code == 0
    )
    certificate: dict[str, Any] = ssl._ssl._test_decode_cert(str(tmp_path / "certs" / "server.pem"))  # type: ignore[attr-defined]
    assert certificate["subjectAltName"] == (
        ("DNS", "orders.example"),
        ("DNS", "localhost"),
        ("IP Address", "127.0.0.1"),
        ("IP Address", "0:0:0:0:0:0:0:1"),
    )
    assert certificate["subject"] == ((("commonName", "orders.example"),),)


def test_existing_files_are_replaced_only_by_force(folder: Path, tmp_path: Path) -> None:
    assert command("certs", "dev", "here", folder=tmp_path).code == 0
    before = (tmp_path / "here" / "server.pem").read_bytes()
    refused = command("certs", "dev", "here", folder=tmp_path)
    assert refused.code == 2
    assert "--force replaces it" in refused.errors
    assert (tmp_path / "here" / "server.pem").read_bytes() == before
    assert command("certs", "dev", "here", "--force", folder=tmp_path).code == 0
    assert (tmp_path / "here" / "server.pem").read_bytes() != before


@pytest.mark.parametrize("name", ["a b", "a,DNS:b", "", "-", "ä.example", "a\nb", "a/b"])
def test_an_invalid_name_is_refused(tmp_path: Path, name: str) -> None:
    refused = command("certs", "dev", f"--name={name}", folder=tmp_path)
    assert refused.code == 2
    assert "is not a host name or IP address" in refused.errors
    assert not (tmp_path / "certs").exists()


COMMANDS: dict[str, tuple[list[str], str]] = {
    "call": (["call", "{}", "arith.mul", "6", "7"], "42"),
    "list": (["list", "{}"], "arith"),
    "health": (["health", "{}"], "SERVING"),
    "contract": (["contract", "{}"], "class Arith"),
    "bench": (["bench", "{}", "arith.mul", "6", "7", "-d", "0.05"], "calls"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_that_dials_takes_the_options(folder: Path, name: str) -> None:
    arguments, answer = COMMANDS[name]
    config = ServerConfig(tls=server_tls(folder, demands=True), reflection=True)
    with ThreadedServer(Arith, config=config, listen="tls://127.0.0.1:0") as server:
        filled = [one.format(server.address) for one in arguments]
        done = command(*filled, *options(folder))
        assert done.code == 0, done.errors
        assert answer in done.output
        without = command(*filled, *options(folder, shows=False))
        assert without.code == 1
        assert "certificate" in without.errors
        nameless = command(*filled)
        assert nameless.code == 1
        assert "its authority is not trusted" in nameless.errors


def test_a_key_without_a_certificate_is_a_wrong_use(folder: Path) -> None:
    refused = command("call", "tls://127.0.0.1:9", "arith.mul", "--key", str(folder / "client.key"))
    assert refused.code == 2
    assert "--key is given without --cert" in refused.errors


async def test_an_encrypted_registry_serves_clients_and_servers_with_their_own_certificates(
    folder: Path,
) -> None:
    client_tls = TLS(
        cert_file=folder / "client.pem",
        key_file=folder / "client.key",
        ca_file=folder / "authority.pem",
    )
    trusting = TLS(ca_file=folder / "authority.pem")
    async with RegistryServer("tls://127.0.0.1:0", tls=server_tls(folder, demands=False)) as registry:
        assert registry.url.endswith("?tls=true")
        config = ServerConfig(tls=server_tls(folder, demands=True))
        async with fastrpc.Server(Arith(), config=config, registry=registry.url) as server:
            await server.listen("tls://127.0.0.1:0")
            found = fastrpc.ClientConfig(tls=client_tls)
            async with fastrpc.Client("arith", registry=registry.url, config=found) as client:
                assert await client.call(Arith.mul, 6, 7) == 42
        # A server's authorities are for its clients; a server that demands no certificate names them by the URL.
        url = f"{registry.url}&ca_file={folder / 'authority.pem'}"
        async with fastrpc.Server(Arith(), registry=url) as server:
            await server.listen("tcp://127.0.0.1:0")
            found = fastrpc.ClientConfig(tls=trusting)
            async with fastrpc.Client("arith", registry=url, config=found) as client:
                assert await client.call(Arith.mul, 6, 7) == 42
