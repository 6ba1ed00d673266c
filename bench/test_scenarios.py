"""Realistic work instead of one echo: the cost of a call among others, both sides in this process, over TCP on uvloop.

pytest bench/test_scenarios.py
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from types import FunctionType
from typing import Any

import msgspec
import pytest
import uvloop

import fastrpc
from bench.conftest import MeasurePerCall

TASKS = 16
METHODS = 200
SIZES = (32, 32, 32, 512, 512, 4_096, 65_536)


class Order(msgspec.Struct):
    """The request of a shop's front to its back."""

    id: int
    customer: str
    positions: list[tuple[str, int, float]]


ORDER = Order(7, "blue", [(f"article-{number}", number, 9.99) for number in range(10)])


@fastrpc.service("back")
class Back:
    """The innermost service."""

    @fastrpc.method(codec="raw")
    async def echo(self, payload: bytes) -> bytes:
        return payload

    @fastrpc.method
    async def price(self, order: Order) -> float:
        return sum(count * price for _, count, price in order.positions)


@fastrpc.service("middle")
class Middle:
    """Answers with the answer of the service that it calls."""

    def __init__(self, behind: fastrpc.Client) -> None:
        self._behind = behind

    @fastrpc.method
    async def price(self, order: Order) -> float:
        return await self._behind.call(Back.price, order)


@fastrpc.service("front")
class Front:
    """Calls the services of the next tier."""

    def __init__(self, middle: fastrpc.Client, back: fastrpc.Client) -> None:
        self._middle = middle
        self._back = back

    @fastrpc.method
    async def price(self, order: Order) -> float:
        return await self._middle.call(Middle.price, order)

    @fastrpc.method
    async def price_all(self, order: Order, count: int) -> float:
        prices = await asyncio.gather(*(self._back.call(Back.price, order) for _ in range(count)))
        return sum(prices)


def many_methods() -> type:
    """Make a service with so large a number of methods that no cache holds them by chance."""

    async def add(self: object, a: int, b: int) -> int:
        return a + b

    methods: dict[str, Any] = {}
    for number in range(METHODS):
        method = FunctionType(add.__code__, add.__globals__, f"add{number}")
        method.__annotations__ = dict(add.__annotations__)
        methods[f"add{number}"] = fastrpc.method(method)
    return fastrpc.service("many")(type("Many", (), methods))


class Shop:
    """Front, middle and back, each a server with a connection to the next."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner
        self._opened = AsyncExitStack()
        self.many = many_methods()
        runner.run(self._open())

    async def _open(self) -> None:
        self.back = await self._serve(Back(), self.many())
        middle = await self._serve(Middle(self.back))
        self.front = await self._serve(Front(middle, self.back))

    async def _serve(self, *services: object) -> fastrpc.Client:
        server = await self._opened.enter_async_context(fastrpc.Server(*services))
        address = await server.listen("tcp://127.0.0.1:0")
        return await self._opened.enter_async_context(fastrpc.Client(str(address)))

    def run(self, work: Callable[[], Awaitable[Any]], times: int) -> None:
        """Let each of `TASKS` tasks do the work so many times."""

        async def work_repeatedly() -> None:
            for _ in range(times):
                await work()

        async def work_all() -> None:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(TASKS):
                    tasks.create_task(work_repeatedly())

        self._runner.run(work_all())

    def close(self) -> None:
        self._runner.run(self._opened.aclose())


@pytest.fixture
def shop() -> Iterator[Shop]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        shop = Shop(runner)
        yield shop
        shop.close()


def test_chain_of_three_hops(shop: Shop, measure_per_call: MeasurePerCall) -> None:
    """Per hop: three calls for one answer."""
    measure_per_call(lambda: shop.run(lambda: shop.front.call(Front.price, ORDER), 8), TASKS * 8 * 3)


def test_fan_out_of_ten(shop: Shop, measure_per_call: MeasurePerCall) -> None:
    """Per call: one from outside, ten within it."""
    measure_per_call(lambda: shop.run(lambda: shop.front.call(Front.price_all, ORDER, 10), 4), TASKS * 4 * 11)


def test_mixed_sizes(shop: Shop, measure_per_call: MeasurePerCall) -> None:
    payloads = itertools.cycle([b"x" * size for size in SIZES])
    times = 2 * len(SIZES)
    measure_per_call(
        lambda: shop.run(lambda: shop.back.call(Back.echo, next(payloads)), times), TASKS * times
    )


def test_many_methods(shop: Shop, measure_per_call: MeasurePerCall) -> None:
    methods = itertools.cycle([getattr(shop.many, f"add{number}") for number in range(METHODS)])
    measure_per_call(lambda: shop.run(lambda: shop.back.call(next(methods), 6, 7), 20), TASKS * 20)


def test_many_connections(shop: Shop, measure_per_call: MeasurePerCall) -> None:
    """Call over 50 connections by turns, as a client of many servers does."""
    address = str(shop.back._pool.subchannels[0].endpoint.address)
    clients = [fastrpc.Client(address) for _ in range(50)]
    in_turn = itertools.cycle(clients)
    measure_per_call(lambda: shop.run(lambda: next(in_turn).call(Back.price, ORDER), 10), TASKS * 10)
    for client in clients:
        shop._runner.run(client.close())
