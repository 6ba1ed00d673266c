"""`fastrpc run` at `any://`: the addresses that it prints; the registry of the WAN scope; backends in a command."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.host_folder import host_folder
from tests.support.program import Program, run_program

pytestmark = pytest.mark.one_loop

APP = """
import fastrpc


@fastrpc.service("shop")
class Shop:
    @fastrpc.method
    async def double(self, number: int) -> int:
        return 2 * number


app = Shop
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("scopes")
    (path / "shop.py").write_text(APP)
    with host_folder():
        yield path


@pytest.fixture(scope="module")
def registry(folder: Path) -> Iterator[str]:
    with Program(["-m", "fastrpc", "registry", "-a", "tcp://127.0.0.1:0", "--json"], folder) as program:
        yield json.loads(program.wait_output(r"(.*)\n")[1])["urls"][0]


def serving(*options: str) -> list[str]:
    return ["-m", "fastrpc", "run", "shop:app", *options]


def test_the_addresses_of_each_scope_are_printed(folder: Path, registry: str) -> None:
    options = ["-a", "any://", "-a", "tcp://127.0.0.1:0", "--registry", registry]
    with Program(serving(*options), folder) as program:
        said = program.wait_output(r"(?s)(.*)shop")[1]
    assert re.search(r"serving at any://\n", said)
    assert re.search(r"  process +memory://any-\w+\n", said)
    assert re.search(r"  host +unix:///\S+\.sock\n", said)
    assert re.search(r"  wan +tcp://127\.0\.0\.1:\d+\n", said)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_wan_scope_may_have_its_registry_by_an_option(workers: str, folder: Path, registry: str) -> None:
    place = ["-a", "any://?scopes=host,wan", "-a", "tcp://127.0.0.1:0"]
    with Program(serving(*place, "--registry", registry, "-w", workers, "--json"), folder) as program:
        scopes = json.loads(program.wait_output(r"(.*)\n")[1])["scopes"]
        assert sorted(scopes) == ["host", "wan"]
        found = run_program(["-m", "fastrpc", "call", f"{registry}/shop", "shop.double", "21"], folder)
        assert found.output.strip() == "42", found
        assert scopes["wan"][0].startswith("tcp://127.0.0.1:")


def test_the_wan_scope_needs_a_registry(folder: Path) -> None:
    found = run_program(serving("-a", "any://?scopes=host,wan"), folder)
    assert found.code == 2
    assert "any://?scopes=wan needs a registry" in found.errors
    assert "--registry" in found.errors


@pytest.mark.parametrize(
    "command",
    [
        ["publish", "memory://shop", "orders.new", "1"],
        ["subscribe", "memory://shop", "orders.**"],
        ["topics", "memory://shop"],
        ["dead", "memory://shop", "list", "billing.bill"],
        ["kv", "put", "memory://", "a", "1"],
        ["kv", "get", "Memory://", "a"],
        ["lock", "memory://", "jobs", "--", "true"],
        ["elect", "memory://", "jobs", "--", "true"],
        ["leader", "memory://", "jobs"],
    ],
)
def test_a_backend_in_the_memory_of_a_command_is_refused(command: list[str], folder: Path) -> None:
    found = run_program(["-m", "fastrpc", *command], folder)
    assert found.code == 2, found
    assert "it ends with the command" in found.errors
    assert "that runs, such as `fastrpc" in found.errors
