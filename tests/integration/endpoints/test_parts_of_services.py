"""Services whose methods lie in several classes: each of them says so, by `part=True`."""

from typing import Any

import pytest

import fastrpc
from fastrpc import HTTP, Client, ConfigError, Server, ServerConfig
from fastrpc.rpc.service import service_definition
from tests.support.http_talk import HttpClient
from tests.support.served import served

pytestmark = pytest.mark.one_loop


@fastrpc.service("arith", part=True)
class Sums:
    @fastrpc.method
    async def add(self, a: int, b: int) -> int:
        return a + b


@fastrpc.service("arith", part=True)
class Products:
    @fastrpc.method(safe=True, http="GET /products/{a}/{b}")
    async def mul(self, a: int, b: int) -> int:
        return a * b


class MoreProducts(Products):
    """A part as well: it inherits the mark of its base."""


@fastrpc.service("arith")
class Whole:
    @fastrpc.method
    async def sub(self, a: int, b: int) -> int:
        return a - b


@pytest.mark.parametrize("products", [Products, MoreProducts])
async def test_parts_are_one_service(products: Any) -> None:
    async with served(Sums(), products()) as target, Client(target) as client:
        assert await client.call("arith.add", 6, 7) == 13
        assert await client.call("arith.mul", 6, 7) == 42


async def test_parts_are_one_service_by_http() -> None:
    config = ServerConfig(protocols=("http",), http=HTTP(docs=True))
    async with Server(Sums(), Products(), config=config) as server:
        async with await HttpClient.to(await server.listen("tcp://127.0.0.1:0")) as client:
            assert (await client.post("/arith/add", {"a": 6, "b": 7})).value == 13
            assert (await client.get("/products/6/7")).value == 42
            paths = (await client.get("/openapi.json")).value["paths"]
    assert {"/arith/add", "/arith/mul", "/products/{a}/{b}"} <= set(paths)


@pytest.mark.parametrize("sources", [(Sums, Whole), (Whole, Sums)])
async def test_a_class_without_the_mark_is_alone(sources: Any) -> None:
    with pytest.raises(ConfigError, match="the service 'arith' is two classes") as raised:
        async with Server(*sources):
            pass
    assert all(one.__name__ in str(raised.value) for one in sources)
    assert 'fastrpc.service("arith", part=True)' in str(raised.value)


async def test_a_part_may_be_added_and_leaves_with_its_service() -> None:
    async with served(Sums()) as target, Client(target) as client:
        target.server.add(Products())
        assert await client.call("arith.mul", 6, 7) == 42
        with pytest.raises(ConfigError, match="two classes"):
            target.server.add(Whole())
        await target.server.remove("arith")
        # Removed, the name is free for another class.
        target.server.add(Whole())
        assert await client.call("arith.sub", 6, 7) == -1


async def test_parts_with_one_method_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"arith\.mul"):
        async with Server(Products(), MoreProducts()):
            pass


def test_the_mark_is_true_or_false() -> None:
    with pytest.raises(ConfigError, match="part of the service 'arith' is 1"):
        fastrpc.service("arith", part=1)  # type: ignore[arg-type]
    assert service_definition(Sums).is_part
    assert service_definition(MoreProducts).is_part
    assert not service_definition(Whole).is_part
