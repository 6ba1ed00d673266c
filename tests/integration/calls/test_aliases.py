"""Calls by an alias: the method's own handler runs, and everything else sees the canonical name."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

import fastrpc
from fastrpc import CallError, Client, ConfigError, Server, Status, SyncClient, current_call
from fastrpc._core.base.histogram import default_registry
from fastrpc.auth import Identity, Policy, StaticTokens
from fastrpc.limits import RateLimit
from fastrpc.testing import connected
from tests.support.either_client import CLIENTS, either

pytestmark = pytest.mark.one_loop

KINDS = pytest.mark.parametrize("kind", CLIENTS)


@fastrpc.service("shop.v1", alias=("Shop",), rpcx="go")
class Shop:
    def __init__(self) -> None:
        self.noted: list[str] = []

    @fastrpc.method(alias=("fetch",))
    async def get_item(self, item: int, more: int = 0) -> int:
        return item + more

    @fastrpc.method
    def in_a_thread(self) -> str:
        return current_call().method

    @fastrpc.method
    async def count(self, limit: int) -> AsyncIterator[int]:
        for number in range(limit):
            yield number

    @fastrpc.method
    async def total(self, numbers: AsyncIterator[int]) -> int:
        return sum([number async for number in numbers])

    @fastrpc.method
    async def note(self, text: str) -> None:
        self.noted.append(f"{current_call().method} {text}")


NAMES = (
    "shop.v1.get_item",
    "shop.v1.fetch",
    "shop.v1.GetItem",
    "Shop.get_item",
    "Shop.fetch",
    "Shop.GetItem",
)


@KINDS
@pytest.mark.parametrize("scheme", ["tcp", "memory"])
async def test_every_name_calls_the_one_method(kind: str, scheme: str) -> None:
    async with either(kind, Shop(), scheme=scheme) as client:
        for name in NAMES:
            assert await client.call(name, 3, more=4) == 7
        assert await client.call(Shop.get_item, 3) == 3
        assert await client.call("ShopV1.InAThread") == "shop.v1.in_a_thread"


async def test_batches_and_one_way_calls_take_aliases() -> None:
    shop = Shop()
    async with connected(shop) as client:
        assert await client.call_many("Shop.GetItem", [(1,), (2,)]) == [1, 2]
        await client.notify("Shop.Note", "first")
        assert await client.call("Shop.get_item", 0) == 0
    assert shop.noted == ["shop.v1.note first"]


async def test_batches_without_a_loop_take_aliases() -> None:
    async with Server(Shop()) as server:
        address = await server.listen("tcp://127.0.0.1:0")

        def calls() -> list[int]:
            with SyncClient(str(address)) as client:
                return client.call_many("Shop.GetItem", [(1,), (2,)])

        assert await asyncio.to_thread(calls) == [1, 2]


async def test_streams_take_aliases() -> None:
    async with connected(Shop()) as client:
        async with client.stream("Shop.Count", 3) as numbers:
            assert [number async for number in numbers] == [0, 1, 2]
        async with client.open("Shop.Total") as stream:
            await stream.send(4)
            await stream.end()
        assert await client.call("Shop.get_item", 1) == 1


async def test_a_client_that_serves_is_called_by_aliases() -> None:
    @fastrpc.service("front")
    class Front:
        @fastrpc.method
        async def ask(self) -> int:
            peer = current_call().peer
            assert peer is not None
            assert peer.client is not None
            found: int = await peer.client.call("Shop.GetItem", 5)
            return found

    async with Server(Front()) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        async with Client(str(address), services=[Shop()]) as client:
            assert await client.call(Front.ask) == 5


async def test_names_are_case_exact() -> None:
    async with connected(Shop()) as client:
        for wrong in ("shop.v1.Get_item", "SHOP.get_item", "Shop.getitem"):
            with pytest.raises(CallError) as caught:
                await client.call(wrong, 1)
            assert caught.value.status is Status.UNIMPLEMENTED


async def test_interceptors_and_counters_see_the_canonical_name() -> None:
    seen = []

    async def look(call: Any, proceed: Any) -> Any:
        seen.append(call.method)
        return await proceed(call)

    async with connected(Shop(), interceptors=[look]) as client:
        for name in NAMES:
            await client.call(name, 1)
    assert seen == ["shop.v1.get_item"] * len(NAMES)
    counted = {f"{one.service}.{one.method}" for one in default_registry if one.side == "server"}
    assert NAMES[0] in counted
    assert not counted & set(NAMES[1:])


async def test_a_policy_judges_the_canonical_name() -> None:
    policy = Policy([{"who": ["ann"], "allow": ["shop.v1.get_item"]}])
    tokens = StaticTokens({"reader-token": Identity("ann")})
    async with Server(Shop(), authenticate=tokens, authorize=policy) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        async with Client(str(address), credentials="reader-token") as client:
            assert [await client.call(name, 2) for name in NAMES] == [2] * len(NAMES)
            with pytest.raises(CallError) as caught:
                await client.call("Shop.InAThread")
            assert caught.value.status is Status.PERMISSION_DENIED


async def test_a_limit_counts_all_names_of_a_method_as_one() -> None:
    limit = RateLimit(0.001, 2, methods="shop.v1.get_item")
    async with Server(Shop(), limits=[limit]) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        async with Client(str(address), fail_mode="failfast") as client:
            await client.call("Shop.fetch", 1)
            await client.call("shop.v1.get_item", 1)
            with pytest.raises(fastrpc.FastRPCError) as caught:
                await client.call("Shop.GetItem", 1)
            assert caught.value.status is Status.RESOURCE_EXHAUSTED


@fastrpc.service("market", alias=("Shop",))
class Market:
    @fastrpc.method
    async def get_item(self) -> None: ...


@fastrpc.service("Shop")
class Namesake:
    @fastrpc.method("fetch")
    async def get(self) -> None: ...


@pytest.mark.parametrize("other", [Market, Namesake])
async def test_a_clash_between_two_services_is_refused(other: Any) -> None:
    for sources in ((Shop, other), (other, Shop)):
        with pytest.raises(TypeError, match=r"'Shop\.(get_item|fetch)' is (the name|an alias) of .* and "):
            await Server(*sources).start()


async def test_a_running_server_that_refuses_a_service_serves_none_of_its_methods() -> None:
    @fastrpc.service("late")
    class Late:
        @fastrpc.method
        async def first(self) -> None: ...

    @fastrpc.service("later", alias=("late",))
    class Later:
        @fastrpc.method
        async def other(self) -> None: ...

        @fastrpc.method("first")
        async def second(self) -> None: ...

    async with Server(Late()) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        with pytest.raises(TypeError, match=r"'late\.first' is the name of 'late\.first' and an alias of"):
            server.add(Later())
        assert [one.name for one in server.services] == ["late"]
        async with Client(str(address)) as client:
            await client.call("late.first")
            with pytest.raises(CallError, match="no method 'later.other' here"):
                await client.call("later.other")


async def test_two_services_of_one_name_are_a_mistake_of_configuration_as_before() -> None:
    with pytest.raises(ConfigError, match=r"two handlers for 'shop\.v1\.get_item'"):
        await Server(Shop(), Shop()).start()


async def test_a_near_name_is_suggested_for_a_wrong_alias() -> None:
    async with connected(Shop()) as client:
        with pytest.raises(CallError, match=r"did you mean 'Shop\.GetItem'"):
            await client.call("Shop.GetItm", 1)
