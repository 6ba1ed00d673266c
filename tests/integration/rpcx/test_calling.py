"""Both clients speaking rpcx, against our server: the same methods as with the native protocol."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fastrpc import (
    CallError,
    Client,
    ClientConfig,
    ConfigError,
    DeadlineExceededError,
    Keepalive,
    Limits,
    Server,
    ServerConfig,
    Status,
    Timeouts,
)
from fastrpc.auth import Identity, StaticTokens
from fastrpc.protocols import rpcx_client
from tests.integration.rpcx.test_served_calls import Order, Shop
from tests.support.either_client import CLIENTS, connected
from tests.support.rpcx_arith import Arith
from tests.support.served import served
from tests.support.waiting import eventually, overdue_inside

pytestmark = pytest.mark.one_loop

TOKENS = StaticTokens({"secret": Identity("gopher"), "other": Identity("mouse")})


@asynccontextmanager
async def calling(
    shop: Shop | None = None,
    *,
    kind: str = "async",
    authenticate: Any = None,
    credentials: str | None = None,
    **settings: Any,
) -> AsyncIterator[Any]:
    config = ClientConfig(**{"wire_protocol": "rpcx", **settings})
    serves = ServerConfig(protocols=("rpcx",), limits=config.limits)
    async with served(
        shop or Shop(), Arith(), scheme="tcp", config=serves, authenticate=authenticate
    ) as target:
        async with connected(kind, target, config=config, credentials=credentials) as client:
            yield client


both = pytest.mark.parametrize("kind", CLIENTS)


@pytest.mark.parametrize("codec", ["msgpack", "json"])
@both
async def test_calls_of_every_form_are_answered(kind: str, codec: str) -> None:
    async with calling(kind=kind, codec=codec) as client:
        assert await client.call(Shop.price, "fig", count=2) == 6
        assert await client.call(Shop.price, "fig") == 3
        assert await client.call("shop.price", item="fig", count=3) == 9
        assert await client.call(Shop.order, Order("fig", 4)) == "4 fig"
        assert await client.call("shop.order", {"item": "fig"}) == "1 fig"
        assert await client.call(Shop.in_thread, "fig") == "FIG"
        assert await client.call(Shop.total, [1, 2, 3]) == 6
        assert await client.call(Shop.nothing) is None
        assert await client.call_many(Shop.price, [("fig",), ("apple", 2)]) == [3, 10]


@both
async def test_a_call_by_name_has_one_value_or_named_values(kind: str) -> None:
    async with calling(kind=kind) as client:
        with pytest.raises(TypeError, match="one value"):
            await client.call("shop.price", "fig", 2)


@pytest.mark.parametrize("size", [0, 1_000, 100_000, 5_000_000])
@both
async def test_bytes_of_every_size_go_there_and_back(kind: str, size: int) -> None:
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    async with calling(kind=kind) as client:
        assert await asyncio.gather(*[client.call(Shop.echo, data) for _ in range(4)]) == [data] * 4
        raw = client.with_options(codec="raw")
        assert await raw.call(Shop.echo, data) == data


@both
async def test_answers_above_the_window_arrive(kind: str) -> None:
    data = bytes(20_000_000)
    async with calling(kind=kind, limits=Limits(message_bytes=2**25)) as client:
        assert await client.with_options(codec="raw", timeout=30).call(Shop.echo, data) == data


@pytest.mark.parametrize("size", [16_300, 16_384, 40_000])
@both
async def test_answers_arrive_where_short_frames_alone_are_taken(kind: str, size: int) -> None:
    async with calling(kind=kind, limits=Limits(frame_bytes=16_384)) as client:
        assert await client.with_options(codec="raw").call(Shop.echo, bytes(size)) == bytes(size)
        # The payload begins after the metadata, and is larger than the remainder of the first frame.
        reply = await client.with_options(metadata={"trace": "a" * 3_000}).request(
            "Arith.Meta", {"A": 2, "B": 3}
        )
        assert reply.metadata["echo-trace"] == "a" * 3_000


@both
async def test_compressed_calls(kind: str) -> None:
    async with calling(kind=kind, compressor="gzip") as client:
        text = "alpha bravo " * 1_000
        assert await client.call(Arith.Echo, text) == text


@both
async def test_errors_have_their_status_details_and_pause(kind: str) -> None:
    async with calling(kind=kind) as client:
        with pytest.raises(CallError) as caught:
            await client.call(Shop.sold_out, "figs")
        assert caught.value.status is Status.FAILED_PRECONDITION
        assert caught.value.message == "no figs left"
        assert caught.value.details == {"item": "figs"}
        assert caught.value.retry_after == 2
        with pytest.raises(CallError) as caught:
            await client.call("shop.sell", "figs")
        assert caught.value.status is Status.UNIMPLEMENTED
        assert caught.value.processed == "no"


@both
async def test_metadata_goes_both_ways(kind: str) -> None:
    async with calling(kind=kind) as client:
        reply = await client.with_options(metadata={"trace": "abc"}).request("Arith.Meta", {"A": 2, "B": 3})
        assert reply.value == {"C": 6}
        assert reply.metadata == {"echo-trace": "abc", "server": "here"}


@both
async def test_a_deadline_is_sent_and_kept(kind: str) -> None:
    shop = Shop()
    async with calling(shop, kind=kind) as client:
        assert await client.with_options(timeout=3).call(Arith.HasDeadline) is True
        view = client.with_options(timeout=0.05)
        late = await overdue_inside(lambda: view.call(Shop.wait), shop.started.is_set)
        assert type(late) is DeadlineExceededError
        await eventually(shop.stopped.is_set)
        assert await client.call(Shop.hello) == "hello"


async def test_a_cancelled_call_leaves_the_connection_usable_for_other_calls() -> None:
    shop = Shop()
    async with calling(shop) as client:
        waiting = asyncio.ensure_future(client.with_options(timeout=None).call(Shop.wait))
        await shop.started.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await client.call(Shop.hello) == "hello"


@both
async def test_notifications_run(kind: str) -> None:
    shop = Shop()
    async with calling(shop, kind=kind) as client:
        await client.notify(Shop.tell, "a")
        await eventually(lambda: shop.told == ["a"])


@both
async def test_the_token_of_the_client_and_the_token_of_a_call(kind: str) -> None:
    async with calling(kind=kind, authenticate=TOKENS, credentials="secret") as client:
        assert await client.call(Shop.who) == "gopher"
        as_mouse = client.with_options(metadata={"authorization": "Bearer other"})
        assert await as_mouse.call(Shop.who) == "mouse"
        with pytest.raises(CallError) as caught:
            await client.with_options(metadata={"authorization": "Bearer wrong"}).call(Shop.who)
        assert caught.value.status is Status.UNAUTHENTICATED
        # The server closed; the next call connects again.
        assert await client.with_options(wait_for_ready=True).call(Shop.who) == "gopher"


async def test_heartbeats_keep_a_quiet_connection() -> None:
    async with calling(keepalive=Keepalive(interval=0.05, timeout=0.2, minimum_interval=0)) as client:
        assert await client.with_options(timeout=5).call(Arith.Sleep, 500) == 500
        [session] = client._pool.connections
        assert session.is_usable


async def test_a_server_that_leaves_fails_its_calls() -> None:
    shop = Shop()
    server = Server(shop, config=ServerConfig(protocols=("rpcx",), timeouts=Timeouts(drain=0.1)))
    await server.start()
    address = await server.listen("tcp://127.0.0.1:0")
    async with Client(address, config=ClientConfig(wire_protocol="rpcx")) as client:
        waiting = asyncio.ensure_future(client.with_options(timeout=20).call(Shop.wait))
        await shop.started.wait()
        await server.drain(0.1)
        await server.close()
        with pytest.raises(CallError) as caught:
            await waiting
        assert caught.value.status is Status.UNAVAILABLE


async def test_features_that_rpcx_lacks_are_refused() -> None:
    async with calling() as client:
        with pytest.raises(ConfigError, match="streams"):
            async with client.stream(Shop.count, 3):
                pass


async def test_many_short_calls_of_a_turn_leave_in_several_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []

    class CountedStream(rpcx_client.RpcxStream):
        def write(self, data: Any) -> None:
            written.append(len(data))
            super().write(data)

    monkeypatch.setattr(rpcx_client, "RpcxStream", CountedStream)
    async with calling() as client:
        await client.call(Shop.price, "fig", count=2)
        written.clear()
        async with asyncio.TaskGroup() as group:
            calls = [group.create_task(client.call(Shop.price, "fig", count=each)) for each in range(64)]
        assert [each.result() for each in calls] == [3 * each for each in range(64)]
    # 64 requests have over 2 KiB in total; answers to the server are written later.
    assert len([size for size in written if 1_024 <= size < 2_048]) >= 2
