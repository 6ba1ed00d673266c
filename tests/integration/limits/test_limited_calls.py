"""Calls over a limit, as callers of both clients see them over each transport."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

import fastrpc
from fastrpc import Client, OverloadedError, Server
from fastrpc.limits import ConcurrencyLimit, RateLimit
from tests.support.either_client import CLIENTS, either, taken
from tests.support.served import SCHEMES, served
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

#: So few calls that no test sees another one become free.
RARE = 0.001


@fastrpc.service("shop")
class Shop:
    """Notes when each call started."""

    def __init__(self) -> None:
        self.started: list[float] = []
        self.go_on = asyncio.Event()

    @fastrpc.method
    async def buy(self, item: str) -> int:
        self.started.append(time.monotonic())
        return len(item)

    @fastrpc.method
    async def wait(self) -> int:
        self.started.append(time.monotonic())
        await self.go_on.wait()
        return 1

    @fastrpc.method
    async def list(self, count: int) -> AsyncIterator[int]:
        self.started.append(time.monotonic())
        for number in range(count):
            yield number
        await self.go_on.wait()

    @fastrpc.method
    async def total(self, prices: AsyncIterator[int]) -> int:
        self.started.append(time.monotonic())
        return sum([price async for price in prices])

    @fastrpc.method
    async def echo(self, words: AsyncIterator[str]) -> AsyncIterator[str]:
        self.started.append(time.monotonic())
        async for word in words:
            yield word


async def shows_interest(call: fastrpc.Call, proceed: fastrpc.Proceed) -> Any:
    return await proceed(call)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("interceptors", [(), (shows_interest,)], ids=["plain", "intercepted"])
@pytest.mark.parametrize("kind", CLIENTS)
async def test_refused_call_has_a_pause_and_did_not_start(kind: str, interceptors: Any, scheme: str) -> None:
    if kind == "sync" and scheme == "memory":
        pytest.skip("a SyncClient has no memory transport")
    shop = Shop()
    limits = [RateLimit(0.1, 2, per="peer")]
    async with either(kind, shop, scheme=scheme, limits=limits, server_interceptors=interceptors) as client:
        view = client.with_options(fail_mode="failfast")
        assert [await view.call(Shop.buy, "tea"), await view.call("shop.buy", "milk")] == [3, 4]
        for method in (Shop.buy, "shop.buy"):
            with pytest.raises(OverloadedError, match=r"over the rate of 0.1 calls/s per peer") as caught:
                await view.call(method, "tea")
            assert caught.value.processed == "no"
            assert caught.value.retry_after is not None
            assert 9 < caught.value.retry_after <= 10
        assert len(shop.started) == 2


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize("mode", ["failover", "failtry"])
async def test_refused_call_is_retried_after_the_stated_pause(kind: str, mode: str) -> None:
    shop = Shop()
    async with either(kind, shop, limits=[RateLimit(5, 1)]) as client:
        view = client.with_options(fail_mode=mode)
        for _ in range(4):
            assert await view.call(Shop.buy, "tea") == 3
        # A caller before that time would have been refused once more.
        assert len(shop.started) == 4
        assert client.stats()["totals"]["retries"] == 3


@pytest.mark.parametrize("kind", CLIENTS)
async def test_refused_call_is_not_tried_again_if_the_pause_is_beyond_its_deadline(kind: str) -> None:
    shop = Shop()
    async with either(kind, shop, limits=[RateLimit(0.01, 1)]) as client:
        assert await client.call(Shop.buy, "tea") == 3
        with pytest.raises(OverloadedError):
            await client.with_options(timeout=5).call(Shop.buy, "tea")
        assert len(shop.started) == 1


@pytest.mark.parametrize("kind", CLIENTS)
async def test_streams_of_each_kind_are_refused_before_they_start(kind: str) -> None:
    shop = Shop()
    async with either(kind, shop, limits=[RateLimit(RARE, 1, methods="shop.*")]) as client:
        view = client.with_options(fail_mode="failfast")
        assert await view.call(Shop.buy, "tea") == 3
        for method, arguments in (("shop.list", (3,)), ("shop.echo", (iter(["a", "b"]),))):
            with pytest.raises(OverloadedError) as caught:
                async with view.stream(method, *arguments) as stream:
                    await taken(stream)
            assert caught.value.retry_after is not None
        with pytest.raises(OverloadedError):
            await view.call("shop.total", iter([1, 2]))
        assert len(shop.started) == 1


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_stream_holds_its_place_until_it_ends(kind: str) -> None:
    shop = Shop()
    async with either(kind, shop, limits=[ConcurrencyLimit(1)]) as client:
        view = client.with_options(fail_mode="failfast")
        async with view.stream("shop.list", 2) as stream:
            assert await stream.receive() == 0
            with pytest.raises(OverloadedError, match="1 calls are in progress, the limit"):
                await view.call(Shop.buy, "tea")
        await eventually(lambda: len(shop.started) == 1)
        assert await client.call(Shop.buy, "tea") == 3


async def test_calls_of_a_batch_are_limited_one_by_one() -> None:
    shop = Shop()
    async with served(shop, limits=[RateLimit(RARE, 3)]) as target, Client(target) as client:
        view = client.with_options(timeout=2)
        found = await view.call_many(Shop.buy, [("tea",)] * 5, return_exceptions=True)
        assert [one if isinstance(one, int) else type(one) for one in found] == [
            3,
            3,
            3,
            OverloadedError,
            OverloadedError,
        ]
        assert len(shop.started) == 3


async def test_one_way_calls_over_the_limit_are_dropped() -> None:
    shop = Shop()
    async with served(shop, limits=[RateLimit(RARE, 2)]) as target, Client(target) as client:
        for _ in range(5):
            await client.notify(Shop.buy, "tea")
        await eventually(lambda: target.server.stats()["totals"]["refused"] == 3 and len(shop.started) >= 2)
        assert len(shop.started) == 2


async def test_refusals_leave_the_connection_open() -> None:
    shop = Shop()
    async with served(shop, limits=[RateLimit(RARE, 1)]) as target, Client(target) as client:
        view = client.with_options(fail_mode="failfast", timeout=60)
        assert await view.call(Shop.buy, "tea") == 3
        calls = [view.call(Shop.buy, "tea") for _ in range(3_000)]
        found = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(one, OverloadedError) for one in found)
        assert client.stats()["totals"]["connections"] == 1
        assert await view.call("fastrpc.health.check", "") == "SERVING"


async def test_calls_of_priority_1_are_refused_first() -> None:
    async with served(Shop(), limits=[RateLimit(RARE, 8)]) as target, Client(target) as client:
        view = client.with_options(fail_mode="failfast")
        sheddable = view.with_options(priority=1)
        for passed, calls in ((6, sheddable), (2, view)):
            found = [
                await asyncio.gather(calls.call(Shop.buy, "tea"), return_exceptions=True) for _ in range(8)
            ]
            assert found.count([3]) == passed


async def test_unix_callers_of_one_user_are_one_peer() -> None:
    async with served(Shop(), scheme="unix", limits=[RateLimit(RARE, 1, per="peer")]) as target:
        async with Client(target) as first, Client(target) as second:
            assert await first.call(Shop.buy, "tea") == 3
            with pytest.raises(OverloadedError):
                await second.with_options(fail_mode="failfast").call(Shop.buy, "tea")


async def test_connections_of_one_address_share_its_bucket() -> None:
    async with served(Shop(), scheme="tcp", limits=[RateLimit(RARE, 2, per="peer")]) as target:
        for expected in (True, True, False):
            async with Client(target) as client:
                call = client.with_options(fail_mode="failfast").call(Shop.buy, "tea")
                if expected:
                    assert await call == 3
                else:
                    with pytest.raises(OverloadedError):
                        await call


async def test_a_pattern_with_a_misspelt_method_is_refused_at_the_start() -> None:
    server = Server(Shop(), limits=[RateLimit(1, 1, methods="shop.byu")])
    with pytest.raises(fastrpc.ConfigError, match=r"'shop.byu', but 'shop' has no such method"):
        await server.listen("memory://misspelt")
    await server.close()


async def test_a_pattern_for_a_service_that_is_not_served_is_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Server(Shop(), limits=[RateLimit(1, 1, methods=["lost.*", "shop.buy"])]) as server:
        await server.listen("memory://lost")
    assert "a limit is for 'lost.*', but no service 'lost' is served here" in caplog.text
    assert "shop.buy" not in caplog.text


async def test_totals_tell_refusals_by_limits() -> None:
    limits = [RateLimit(RARE, 1, methods="shop.buy"), ConcurrencyLimit(1, methods="shop.wait")]
    shop = Shop()
    async with served(shop, limits=limits) as target, Client(target) as client:
        view = client.with_options(fail_mode="failfast")
        waiting = asyncio.ensure_future(view.call(Shop.wait))
        await eventually(lambda: len(shop.started) == 1)
        await asyncio.gather(
            *(view.call(Shop.buy, "tea") for _ in range(3)), view.call(Shop.wait), return_exceptions=True
        )
        totals = target.server.stats()["totals"]
        assert (totals["refused_by_rate"], totals["refused_by_concurrency"]) == (2, 1)
        shop.go_on.set()
        assert await waiting == 1
