"""Plain functions under `@function`: served, called, listed, and refused next to a class with their prefix."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import fastrpc
from fastrpc import HTTP, Client, ConfigError, Server, ServerConfig, SyncClient
from fastrpc.testing import connected
from tests.support.http_talk import HttpClient
from tests.support.served import served
from tests.support.threaded_server import ThreadedServer

pytestmark = pytest.mark.one_loop


@fastrpc.function("math.mul")
async def mul(a: int, b: int = 1) -> int:
    return a * b


@fastrpc.function("math.add", inline=True)
def add(a: int, b: int) -> int:
    return a + b


@fastrpc.function("math.slow_add")
def slow_add(a: int, b: int) -> int:
    return a + b


@fastrpc.function("counting.count", alias=["walk"])
async def count(limit: int) -> AsyncIterator[int]:
    for n in range(limit):
        yield n


@fastrpc.function("counting.total")
async def total(numbers: AsyncIterator[int]) -> int:
    return sum([number async for number in numbers])


@fastrpc.service("math")
class Math:
    @fastrpc.method
    async def div(self, a: int, b: int) -> float:
        return a / b


async def test_functions_are_called_by_themselves_or_by_name() -> None:
    async with connected(mul, [add, slow_add]) as client:
        assert await client.call(mul, 6, 7) == 42
        assert await client.call(mul, a=6) == 6
        assert await client.call(add, 6, 7) == 13
        assert await client.call(slow_add, 1, b=2) == 3
        assert await client.call("math.mul", 2, 3) == 6
        assert await client.call_many(add, [(1, 2), (3, 4)]) == [3, 7]


async def test_functions_stream() -> None:
    async with connected(count, total) as client:
        async with client.stream(count, 3) as numbers:
            assert [n async for n in numbers] == [0, 1, 2]
        assert await client.call(total, iter([1, 2, 3])) == 6
        async with client.stream("counting.walk", 2) as numbers:
            assert [n async for n in numbers] == [0, 1]


async def test_a_function_that_add_refuses_does_not_change_the_others() -> None:
    @fastrpc.function("math.public_roots", public=True, roles=["admin"])
    def roots(a: int) -> int:
        return a

    async with served([add]) as target:
        [service] = target.server.services
        with pytest.raises(ConfigError):
            target.server.add(roots)
        assert not hasattr(service.owner, "public_roots")


async def test_wrong_arguments_are_refused_before_anything_is_sent() -> None:
    anything: Any = mul
    async with connected(mul) as client:
        with pytest.raises(TypeError, match=r"math\.mul\(\) missing"):
            await client.call(anything)


def test_a_blocking_client_calls_functions() -> None:
    with ThreadedServer(mul, add) as server, SyncClient(server.address) as client:
        assert client.call(mul, 6, 7) == 42
        assert client.call(add, 6, 7) == 13


async def test_reflection_lists_the_functions_of_a_prefix_as_one_service() -> None:
    async with connected(mul, count, add) as client:
        services = await client.call("fastrpc.reflection.services")
    methods = {one["name"]: [each["name"] for each in one["methods"]] for one in services}
    assert methods["math"] == ["mul", "add"]
    assert methods["counting"] == ["count"]


async def test_the_document_of_openapi_has_them() -> None:
    config = ServerConfig(protocols=("native", "http"), http=HTTP(docs=True))
    async with served(mul, config=config, scheme="tcp") as target, await HttpClient.to(target) as http:
        document = (await http.get("/openapi.json")).value
        assert (await http.post("/math/mul", {"a": 6, "b": 7})).value == 42
    assert "/math/mul" in document["paths"]


async def test_a_running_server_takes_further_functions() -> None:
    async with served(mul) as target, Client(target) as client:
        target.server.add(add)
        assert await client.call(add, 6, 7) == 13
        assert await client.call(mul, 6, 7) == 42
        assert [one.name for one in target.server.services] == ["math"]
        with pytest.raises(ConfigError, match="two functions are called"):
            target.server.add(add)


@pytest.mark.parametrize("sources", [(mul, Math), (Math, mul)])
async def test_a_class_with_the_name_of_served_functions_is_refused(sources: tuple[Any, ...]) -> None:
    with pytest.raises(ConfigError, match="'math' is a class, and functions have its name as their prefix"):
        async with Server(*sources):
            pass


async def test_functions_come_from_any_source() -> None:
    entered = []

    @asynccontextmanager
    async def opened() -> AsyncIterator[list[Any]]:
        entered.append("in")
        yield [mul, [count]]
        entered.append("out")

    async with connected(opened, lambda: add) as client:
        assert await client.call(add, 1, 2) == 3
        assert await client.call(mul, 1, 2) == 2
    assert entered == ["in", "out"]


async def test_a_client_serves_functions_as_well() -> None:
    @fastrpc.function("desk.ask")
    async def ask() -> int:
        peer = fastrpc.current_call().peer
        assert peer.client is not None
        return await peer.client.call(mul, 6, 7)

    async with served(ask) as target, Client(target, services=[mul]) as client:
        assert await client.call(ask) == 42
