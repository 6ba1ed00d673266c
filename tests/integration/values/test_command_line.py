"""The command line knows the types of libraries: in calls, in the list of methods, in contracts that it writes."""

import asyncio
import importlib.util
import sys
from collections import Counter, deque
from ipaddress import IPv4Address
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pydantic
import pytest

import fastrpc
from fastrpc import CallError, Client, Status
from fastrpc.cli.contracts.check import changes
from fastrpc.cli.contracts.text import contract_text
from fastrpc.rpc.described_services import ServiceDescription
from fastrpc.rpc.description import describe
from tests.support.program import run_program
from tests.support.served import served

pytestmark = pytest.mark.one_loop


class Item(pydantic.BaseModel):
    name: str
    unit_price: Annotated[int, pydantic.Field(alias="unitPrice", ge=0)] = 1
    tags: list[str] = pydantic.Field(default_factory=list)


class Order(pydantic.BaseModel):
    items: list[Item]
    path: Path | None = None


@fastrpc.service("shop")
class Shop:
    @fastrpc.method
    async def parent(self, path: Path, host: IPv4Address | None = None) -> Path:
        return path.parent

    @fastrpc.method
    async def total(self, order: Order) -> int:
        return sum(item.unit_price for item in order.items)

    @fastrpc.method
    async def first(self, order: Order) -> Item:
        return order.items[0]

    @fastrpc.method
    async def mask(self, array: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        return array > 0

    @fastrpc.method
    async def ones(self, rows: int) -> npt.NDArray[np.int64]:
        return np.ones((rows, 2), np.int64)

    @fastrpc.method
    async def words(self, words: deque[str]) -> Counter[str]:
        return Counter(words)


def module_of(source: str, folder: Path) -> ModuleType:
    path = folder / "written_contract.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location("written_contract", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["written_contract"] = module
    spec.loader.exec_module(module)
    return module


def description_of(service: Any) -> ServiceDescription:
    import msgspec

    return msgspec.convert(describe(service), ServiceDescription)


async def test_a_path_takes_its_text_undecoded(tmp_path: Path) -> None:
    async with served(Shop, scheme="tcp") as address:
        for arguments, answer in (
            (("shop.parent", "123/5"), '"123"'),
            (("shop.parent", "7"), '"."'),
            (("shop.parent", "path=true"), '"."'),
            (("shop.parent", "a/b", "10.0.0.1"), '"a"'),
            (("shop.parent", "a/b", "null"), '"a"'),
            (("shop.ones", "2"), "[\n  [\n    1,\n    1\n  ],\n  [\n    1,\n    1\n  ]\n]"),
            (("shop.total", '{"items": [{"name": "x", "unitPrice": 3}]}'), "3"),
        ):
            done = await asyncio.to_thread(
                run_program, ["-m", "fastrpc", "call", address, *arguments], tmp_path
            )
            assert (done.code, done.output.strip()) == (0, answer), done


async def test_the_list_shows_the_types_as_they_are_written(tmp_path: Path) -> None:
    async with served(Shop, scheme="tcp") as address:
        done = await asyncio.to_thread(run_program, ["-m", "fastrpc", "list", address], tmp_path)
    assert "parent(path: Path, host: IPv4Address | None = None) -> Path" in done.output
    assert "words(words: deque[str]) -> Counter[str]" in done.output
    assert "total(order: Order) -> int" in done.output


async def test_a_contract_has_the_types_and_a_struct_for_each_model(tmp_path: Path) -> None:
    source = contract_text([description_of(Shop)])
    module = module_of(source, tmp_path)
    contract = module.Shop
    assert description_of(contract).methods[0].result == "Path"
    assert list(changes([description_of(Shop)], [description_of(contract)])) == []
    async with served(Shop) as address, Client(address) as client:
        assert await client.call(contract.parent, Path("a/b")) == Path("a")
        order = module.Order(items=[module.Item(name="x", unit_price=3)])
        assert await client.call(contract.total, order) == 3
        assert await client.call(contract.first, order) == module.Item(name="x", unit_price=3)
        np.testing.assert_array_equal(await client.call(contract.mask, np.array([1.0, -1.0])), [True, False])
        assert await client.call(contract.words, deque(["a", "a"])) == Counter("aa")
        with pytest.raises(CallError, match=r"order\.items\[0\]\.unitPrice") as caught:
            await client.call(contract.total, module.Order(items=[module.Item(name="x", unit_price=-1)]))
    assert caught.value.status is Status.INVALID_ARGUMENT


def test_a_class_of_the_server_with_the_name_of_a_library_type_stays_its_own(tmp_path: Path) -> None:
    source = """
from dataclasses import dataclass
import fastrpc

@dataclass
class Path:
    steps: int

@fastrpc.service("walk")
class Walk:
    @fastrpc.method
    async def go(self, path: Path) -> None: ...
"""
    written = contract_text([description_of(module_of(source, tmp_path).Walk)])
    assert "class Path:" in written
    assert "pathlib" not in written
