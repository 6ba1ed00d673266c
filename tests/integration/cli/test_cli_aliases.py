"""Aliases on the command line: `list` shows them, `call` takes them."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.program import Finished, Program, run_program

APP = '''
import fastrpc


@fastrpc.service("shop", version="1", alias=("old.shop",), rpcx="go")
class Shop:
    """Sells."""

    @fastrpc.method(alias=("fetch",))
    async def get_name(self, item: str) -> str:
        """Name an item."""
        return f"item {item}"
'''


def command(folder: Path, *arguments: str) -> Finished:
    return run_program(["-m", "fastrpc", *arguments], folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("aliases")
    (folder / "app.py").write_text(APP)
    return folder


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with Program(["-m", "fastrpc", "run", "app:Shop", "-a", "tcp://127.0.0.1:0"], folder) as program:
        yield program.wait_output(r"serving at (\S+)\n")[1]


def test_list_shows_the_other_names(folder: Path, address: str) -> None:
    ended = command(folder, "list", address)
    assert ended.code == 0
    assert "shop 1  also old.shop, Shop  Sells." in ended.output
    assert re.search(
        r"^  get_name\(item: str\) -> str  also fetch, GetName +Name an item\.", ended.output, re.MULTILINE
    )


def test_call_finds_the_signature_by_an_alias(folder: Path, address: str) -> None:
    for name in ("shop.get_name", "old.shop.fetch", "Shop.GetName"):
        # A parameter that is a text takes a number unparsed, if the signature is known.
        assert command(folder, "call", address, name, "7").output == '"item 7"\n'
