"""Registries with a LAN pass: who finds whom, at which addresses, and the certificates of their clients."""

import base64
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import Client, ClientConfig, ConfigError, Endpoint, FastRPCError, ServerConfig
from fastrpc.discovery.lan_pass import load_lan_pass
from fastrpc.registries import StaticRegistry, open_registry
from fastrpc.registries.base.registry import tls_for
from fastrpc.registries.lan.keys import add_key
from tests.support.arith import Arith
from tests.support.either_client import CLIENTS, connected, many_services
from tests.support.lan_passes import made_pass, put_passes
from tests.support.program import Program, run_program
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

PLAIN, ENCRYPTED = Endpoint("tcp://10.0.0.1:80"), Endpoint("tls://10.0.0.3:80")


async def until(watch: Any, *endpoints: Endpoint) -> None:
    await eventually(lambda: watch.latest is not None and set(watch.latest.endpoints) == set(endpoints))


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "lan.keys"
    add_key(path)
    return path


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Open registries of one program each, with a file of these passes; without any, with a key file."""
    with contextlib.ExitStack() as stack:

        def open_one(*numbers: int, key_file: Path | None = None, more: str = "") -> Any:
            secret = f"key_file={key_file}"
            if key_file is None:
                secret = f"pass={put_passes(tmp_path / f'{numbers}.pass', *map(made_pass, numbers))}"
            return stack.enter_context(open_registry(f"lan://?{secret}&interface=lo{more}"))  # type: ignore[arg-type]

        yield open_one


async def test_only_holders_of_the_same_pass_find_each_other(opened: Any, key_file: Path) -> None:
    mine, theirs = (Endpoint(f"tls://10.0.0.{number}:80") for number in (1, 2))
    async with (
        opened(1).register("arith", mine),
        opened(2).register("arith", theirs),
        opened(key_file=key_file).register("arith", PLAIN),
        opened(1).watch("arith") as watch,
        opened(2).watch("arith") as other,
        opened(2, 1).watch("arith") as both,
        opened(key_file=key_file).watch("arith") as keyed,
    ):
        await until(watch, mine)
        await until(other, theirs)
        await until(both, mine, theirs)
        await until(keyed, PLAIN)


async def test_an_address_that_is_not_encrypted_is_neither_announced_nor_taken_with_a_pass(
    opened: Any, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="tcp://10.0.0.1:80 is not encrypted"):
        opened(1).register("arith", PLAIN)
    # Another program with the same key announces both kinds.
    key_file = tmp_path / "lan.keys"
    key_file.write_text(f"{made_pass(1).id} {base64.b64encode(made_pass(1).lan_key).decode()}\n")
    registry = opened(key_file=key_file)
    async with (
        registry.register("arith", PLAIN),
        registry.register("arith", ENCRYPTED),
        opened(1).watch("arith") as watch,
        opened(1, more="&schemes=tcp").watch("arith") as asked,
    ):
        await until(watch, ENCRYPTED)
        await until(asked, PLAIN)


def test_a_pass_together_with_a_key_file_is_refused(key_file: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has a pass and a key_file"):
        open_registry(f"lan://?pass={tmp_path}/lan.pass&key_file={key_file}")
    with pytest.raises(ConfigError, match="the LAN pass '.*' cannot be read"):
        open_registry(f"lan://?pass={tmp_path}/lan.pass")


@contextlib.asynccontextmanager
async def announced_with_a_pass(path: Path) -> AsyncIterator[str]:
    """Serve with a pass, and yield the URL of the registry."""
    url = f"lan://?pass={path}&interface=lo"
    config = ServerConfig(tls=load_lan_pass(path).server_tls())
    async with fastrpc.Server(Arith, registry=url, config=config) as server:
        await server.listen("tls://127.0.0.1:0")
        yield url


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_client_presents_the_pass_of_its_registry(tmp_path: Path, kind: str) -> None:
    path = put_passes(tmp_path / "lan.pass", made_pass(1))
    async with announced_with_a_pass(path) as url:
        async with connected(kind, url.replace("//", "//arith")) as client:
            assert await client.call("arith.mul", 6, 7) == 42
        for registry in (url, [StaticRegistry({}), url]):
            async with connected(kind, "arith", registry=registry) as client:
                assert await client.call("arith.mul", 6, 7) == 42
        async with many_services(kind, url) as services:
            view = services["arith"]
            assert await view.call("arith.mul", 6, 7) == 42


async def test_a_client_with_separate_certificates_presents_these(tmp_path: Path) -> None:
    path, other = (put_passes(tmp_path / f"{number}.pass", made_pass(number)) for number in (1, 2))
    async with announced_with_a_pass(path) as url:
        config = ClientConfig(tls=load_lan_pass(other).client_tls())
        async with Client("arith", registry=url, config=config) as client:
            with pytest.raises(FastRPCError, match="authority is not trusted"):
                await client.call("arith.mul", 6, 7)


async def test_servers_of_other_registries_get_no_pass(tmp_path: Path) -> None:
    path = put_passes(tmp_path / "lan.pass", made_pass(1))
    own, endpoint = load_lan_pass(path).client_tls(), Endpoint("tls://127.0.0.1:9")
    elsewhere = StaticRegistry({"arith": [endpoint]})
    with open_registry([elsewhere, f"lan://?pass={path}&interface=lo"]) as registry:
        watch = registry.watch("arith")
        await eventually(lambda: watch.latest is not None and watch.latest.endpoints)
        assert tls_for(registry, endpoint, None) is None
        assert tls_for(registry, endpoint, own) is own
        assert tls_for(registry, Endpoint("tls://127.0.0.1:10"), None) is None
        watch.close()
    assert tls_for(object(), endpoint, own) is own


def test_commands_present_the_pass_of_their_registry(tmp_path: Path) -> None:
    put_passes(tmp_path / "lan.pass", made_pass(1))
    url = "lan://?pass=lan.pass&interface=lo"
    options = ["--tls-cert", "lan.pass", "--tls-ca", "lan.pass", "--address", "tls://127.0.0.1:0"]
    arguments = ["-m", "fastrpc", "run", "tests.support.arith:Arith", "--registry", url, *options]
    with Program(arguments, tmp_path) as server:
        server.wait_output(r"serving at (tls://\S+)")
        listed = run_program(["-m", "fastrpc", "list", url], tmp_path)
        assert "SERVING" in listed.output, listed
        target = "lan://arith?pass=lan.pass&interface=lo"
        called = run_program(["-m", "fastrpc", "call", target, "arith.mul", "6", "7"], tmp_path)
        assert called.output == "42\n", called
