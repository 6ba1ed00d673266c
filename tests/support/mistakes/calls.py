"""Calls that are wrong, or that a server refuses."""

import asyncio
from pathlib import Path

import fastrpc
from fastrpc import Batcher, Client, ClientConfig, Limits, Server, ServerConfig
from fastrpc.limits import ConcurrencyLimit, RateLimit
from fastrpc.testing import connected
from tests.support.mistakes.shop import NOWHERE, Raisers, Shop, added_to, asked

__all__ = ["RAISERS"]

RAISERS: Raisers = []
raises = added_to(RAISERS)


@raises
async def an_unknown_method(_: Path) -> None:
    await asked(lambda client: client.call("shop.prices", "tea"))


@raises
async def an_argument_of_another_type(_: Path) -> None:
    await asked(lambda client: client.call("shop.price", "tea", "two"))


@raises
async def a_field_that_is_missing(_: Path) -> None:
    await asked(lambda client: client.call("shop.store", {"name": "tea"}))


@raises
async def an_argument_too_many(_: Path) -> None:
    await asked(lambda client: client.call("shop.price", "tea", 1, 2))


@raises
async def an_unknown_parameter(_: Path) -> None:
    await asked(lambda client: client.call("shop.price", item="tea", count=2))


@raises
async def an_option_among_the_arguments(_: Path) -> None:
    await asked(lambda client: client.call(Shop.price, "tea", timeout=3))


@raises
def an_option_of_another_place(_: Path) -> None:
    Client(NOWHERE, timeout=3)


@raises
async def a_called_method(_: Path) -> None:
    shop = Shop()
    await asked(lambda client: client.call(shop.price("tea")))


@raises
async def a_call_without_await(_: Path) -> None:
    async with connected(Shop()) as client:
        call = client.call(Shop.price, "tea")
        try:
            call + 1  # type: ignore[operator]
        finally:
            call.close()


@raises
async def the_deadline_passed(_: Path) -> None:
    await asked(lambda client: client.with_options(timeout=0.01).call(Shop.wait))


@raises
async def an_exception_of_the_handler(_: Path) -> None:
    await asked(lambda client: client.call(Shop.fail), config=ServerConfig())


@raises
async def an_argument_without_encoding(_: Path) -> None:
    await asked(lambda client: client.call("shop.price", object()))


@raises
async def a_message_above_the_limit(_: Path) -> None:
    limits = Limits(message_bytes=32 * 1024)
    async with connected(Shop(), config=ServerConfig(limits=limits)) as client:
        await client.call(Shop.price, "x" * 64 * 1024)


@raises
async def a_result_above_the_limit(_: Path) -> None:
    config = ClientConfig(limits=Limits(message_bytes=32 * 1024))
    async with connected(Shop(), client_config=config) as client:
        await client.call(Shop.large)


@raises
async def a_stream_that_is_called(_: Path) -> None:
    await asked(lambda client: client.call(Shop.count, 3))


@raises
async def a_stream_that_is_awaited(_: Path) -> None:
    async with connected(Shop()) as client:
        async for _number in client.stream(Shop.price, "tea"):
            pass


@raises
async def a_stream_that_is_over(_: Path) -> None:
    async with connected(Shop()) as client, client.stream(Shop.count, 1) as numbers:
        await numbers.receive()
        await numbers.receive()


@raises
async def a_reply_before_the_end(_: Path) -> None:
    async with connected(Shop()) as client, client.stream(Shop.count, 1_000_000) as numbers:
        assert numbers.reply is not None


@raises
def no_call_is_running(_: Path) -> None:
    fastrpc.current_call()


@raises
async def another_batch_length(_: Path) -> None:
    async def run(items: list[int]) -> list[int]:
        return []

    await Batcher(run)(1)


@raises
async def above_the_rate(_: Path) -> None:
    async with Server(Shop, limits=[RateLimit(0.001, 1)]) as server:
        async with Client(str(await server.listen("tcp://127.0.0.1:0")), fail_mode="failfast") as client:
            await client.call(Shop.price, "tea")
            await client.call(Shop.price, "tea")


@raises
async def above_the_calls_at_a_time(_: Path) -> None:
    shop = Shop()
    async with Server(shop, limits=[ConcurrencyLimit(1)]) as server:
        async with Client(str(await server.listen("tcp://127.0.0.1:0")), fail_mode="failfast") as client:
            waiting = asyncio.ensure_future(client.call(Shop.wait))
            await shop.waits.wait()
            try:
                await client.call(Shop.price, "tea")
            finally:
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)
