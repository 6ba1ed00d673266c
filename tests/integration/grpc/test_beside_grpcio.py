"""Generated code on both stacks: grpcio's channels call our servers, our channels call grpcio's servers."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

import fastrpc.grpc
from fastrpc.grpc import aio
from tests.support.generated import generated
from tests.support.orders import AsyncOrders, ThreadOrders, item, order, servicer_with

pytestmark = pytest.mark.one_loop

STACKS = {"ours": aio, "grpcio": grpc.aio}
#: Pairs of server and channel.
PAIRS = [("ours", "grpcio"), ("grpcio", "ours"), ("ours", "ours")]


@asynccontextmanager
async def calling(pair: tuple[str, str], servicer: Any) -> AsyncIterator[Any]:
    """Serve a servicer by one stack; yield a stub by the other."""
    server = STACKS[pair[0]].server(ThreadPoolExecutor(2))
    generated().pb2_grpc.add_OrdersServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with STACKS[pair[1]].insecure_channel(f"127.0.0.1:{port}") as channel:
            yield generated().pb2_grpc.OrdersStub(channel)
    finally:
        await server.stop(5)


class Passing(grpc.aio.UnaryUnaryClientInterceptor):  # type: ignore[misc]
    async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return await continuation(details, request)


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
class TestPairs:
    @pytest.mark.parametrize("kind", [AsyncOrders, ThreadOrders])
    async def test_each_kind_is_served_and_called(self, pair: tuple[str, str], kind: type[Any]) -> None:
        async with calling(pair, kind()) as stub:
            assert await stub.Get(item("tea", 3), timeout=20) == order("tea", 3)
            assert [one.total async for one in stub.Follow(item(count=3))] == [0, 1, 2]
            assert await stub.Total(iter([item(count=3), item(count=4)])) == order("total", 7)
            assert [one.text async for one in stub.Talk(iter([item("a"), item("b")]))] == ["a", "b"]

    async def test_head_and_trailers_keep_their_pairs(self, pair: tuple[str, str]) -> None:
        sent = (("k", "1"), ("k", "2,3"), ("k-bin", b"\x00\xff"), ("k-bin", b"\x01"))
        seen: list[Any] = []

        async def get(request: Any, context: Any) -> Any:
            seen.append(tuple(pair for pair in context.invocation_metadata() if pair[0].startswith("k")))
            await context.send_initial_metadata((("head", "a"), ("head", "b")))
            context.set_trailing_metadata((("tail", "c"), ("tail", "d"), ("tail-bin", b"\x02")))
            return order()

        async def follow(request: Any, context: Any) -> AsyncIterator[Any]:
            await get(request, context)
            yield order()

        async def total(requests: Any, context: Any) -> Any:
            context.set_trailing_metadata((("tail", "c"),))
            return order()

        async with calling(pair, servicer_with(Get=get, Follow=follow, Total=total)) as stub:
            for call in (stub.Get(item(), metadata=sent), stub.Follow(item(), metadata=sent)):
                head = await call.initial_metadata()
                assert [value for key, value in head if key == "head"] == ["a", "b"]
                if hasattr(call, "__await__"):
                    assert await call == order()
                else:
                    assert [one async for one in call] == [order()]
                tail = tuple(await call.trailing_metadata())
                assert tuple(one for one in tail if one[0].startswith("tail")) == (
                    ("tail", "c"),
                    ("tail", "d"),
                    ("tail-bin", b"\x02"),
                )
            # Without a separate head, too, trailers are trailers.
            call = stub.Total(iter([item()]))
            assert await call == order()
            assert "tail" not in await call.initial_metadata()
            assert (await call.trailing_metadata())["tail"] == "c"
        assert seen == [sent, sent]

    async def test_errors_have_code_text_and_metadata(self, pair: tuple[str, str]) -> None:
        async def get(request: Any, context: Any) -> Any:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no ☕", (("tail", "c"),))

        async def follow(request: Any, context: Any) -> AsyncIterator[Any]:
            yield order("one")
            context.set_code(grpc.StatusCode.ABORTED)
            context.set_details("enough")

        async with calling(pair, servicer_with(Get=get, Follow=follow)) as stub:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Get(item())
            error = caught.value
            assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, "no ☕")
            assert error.trailing_metadata()["tail"] == "c"
            call = stub.Follow(item())
            assert await call.read() == order("one")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call.read()
            assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.ABORTED, "enough")

    async def test_long_messages_travel_compressed_and_plain(self, pair: tuple[str, str]) -> None:
        async def get(request: Any, context: Any) -> Any:
            context.set_compression(grpc.Compression.Gzip)
            return order(request.name)

        text = "tea" * 100_000
        async with calling(pair, servicer_with(Get=get)) as stub:
            for compression in (None, grpc.Compression.Gzip, grpc.Compression.Deflate):
                assert await stub.Get(item(text), compression=compression) == order(text)
                talk = stub.Talk(iter([item(text)] * 3), compression=compression)
                assert [one async for one in talk] == [order(text)] * 3

    @pytest.mark.parametrize("interceptors", [[], [Passing()]], ids=["plain", "intercepted"])
    async def test_closing_a_channel_cancels_a_call_that_was_just_made(
        self, pair: tuple[str, str], interceptors: list[Any]
    ) -> None:
        async def get(request: Any, context: Any) -> Any:
            await asyncio.Event().wait()

        server = STACKS[pair[0]].server()
        generated().pb2_grpc.add_OrdersServicer_to_server(servicer_with(Get=get), server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        channel = STACKS[pair[1]].insecure_channel(f"127.0.0.1:{port}", interceptors=interceptors)
        call = generated().pb2_grpc.OrdersStub(channel).Get(item())
        await channel.close()
        assert await call.code() is grpc.StatusCode.CANCELLED
        assert call.cancelled()
        await server.stop(5)


async def test_a_blocking_channel_of_grpcio_calls_a_blocking_server_of_ours() -> None:
    with ThreadPoolExecutor(2) as pool:
        server = fastrpc.grpc.server(pool)
        generated().pb2_grpc.add_OrdersServicer_to_server(ThreadOrders(), server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = generated().pb2_grpc.OrdersStub(channel)
            assert stub.Get(item("tea"), timeout=20) == order("tea")
            assert [one.text for one in stub.Talk(iter([item("a"), item("b")]))] == ["a", "b"]
        server.stop(5).wait()
