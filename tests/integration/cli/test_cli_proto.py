"""`fastrpc proto` as a person and a build server use it."""

from pathlib import Path

import pytest

from tests.support.program import Finished, run_program

SHOP = '''
import fastrpc
from dataclasses import dataclass

@dataclass
class Item:
    """A thing."""

    id: int
    name: str = "none"

@fastrpc.service("shop.v1.items", grpc="pascal")
class Items:
    @fastrpc.method
    async def get_item(self, id: int) -> Item: ...

@fastrpc.service("shop.v1.stock")
class Stock:
    @fastrpc.method
    async def count(self, item: Item) -> int: ...

@fastrpc.service("bank")
class Bank:
    @fastrpc.method
    async def pay(self, item: Item) -> None: ...

@fastrpc.service("shop.v1.tables")
class Tables:
    @fastrpc.method
    async def rows(self) -> list[list[int]]: ...

    @fastrpc.method
    async def pairs(self) -> tuple[int, str]: ...

services = [Items, Stock]
'''
TEXT = """\
// Written by `fastrpc proto`.
syntax = "proto3";

package shop.v1;

service Items {
  rpc GetItem(GetItemRequest) returns (Item);
}

service stock {
  rpc count(Item) returns (CountResponse);
}

message GetItemRequest {
  int64 id = 1;
}

// A thing.
message Item {
  int64 id = 1;
  optional string name = 2;
}

message CountResponse {
  int64 value = 1;
}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(SHOP)
    return tmp_path


def proto(folder: Path, *arguments: str) -> Finished:
    return run_program(["-m", "fastrpc", "proto", *arguments], folder, {})


def test_services_are_printed_the_same_each_time(folder: Path) -> None:
    for arguments in (["shop:services"], ["shop:Items", "shop:Stock"], ["shop:Items", "shop:services"]):
        found = proto(folder, *arguments)
        assert (found.code, found.errors, found.output) == (0, "", TEXT)


def test_a_file_is_written_and_found_to_be_the_same(folder: Path) -> None:
    assert proto(folder, "shop:services", "-o", "shop.proto").code == 0
    assert (folder / "shop.proto").read_text() == TEXT
    found = proto(folder, "shop:services", "--check", "shop.proto")
    assert (found.code, found.output) == (0, "")


def test_a_file_that_differs_ends_the_command_with_the_difference(folder: Path) -> None:
    (folder / "shop.proto").write_text(TEXT.replace("int64 id = 1;\n}\n\n//", "int64 id = 7;\n}\n\n//"))
    found = proto(folder, "shop:services", "--check", "shop.proto")
    assert found.code == 1
    assert "-  int64 id = 7;\n+  int64 id = 1;\n" in found.output
    assert proto(folder, "shop:services", "--check", "other.proto").code == 1


def test_types_without_a_form_are_all_named(folder: Path) -> None:
    found = proto(folder, "shop:Tables", "-o", "shop.proto")
    assert found.code == 1
    assert "Tables.rows: the result is list[list[int]]" in found.errors
    assert "Tables.pairs: the result is tuple[int, str]" in found.errors
    assert "hint: " in found.errors
    assert not (folder / "shop.proto").exists()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["shop:Items", "shop:Bank"], "in 2 packages"),
        (["shop:Item"], "Item cannot be made without arguments"),
        (["shop:services", "-o", "a", "--check", "b"], "--output has no effect with --check"),
    ],
)
def test_mistakes_of_usage_end_with_two(folder: Path, arguments: list[str], text: str) -> None:
    found = proto(folder, *arguments)
    assert found.code == 2
    assert text in found.errors
