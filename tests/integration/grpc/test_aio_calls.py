"""Calls of generated stubs by channels of `fastrpc.grpc.aio`: all kinds, their ends, metadata and cancellation."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import Any

import grpc
import pytest

from fastrpc.grpc import aio
from tests.support.generated import generated
from tests.support.orders import STYLES, AsyncOrders, aio_calling, item, order, servicer_with
from tests.support.waiting import eventually

pytestmark = [pytest.mark.one_loop, pytest.mark.usefixtures("wire")]

TIMEOUT = 0.2
GET = "/shop.v1.Orders/Get"


async def items(*counts: int) -> AsyncIterator[Any]:
    for count in counts:
        yield item(count=count)


async def waiting(request: Any, context: Any) -> Any:
    await asyncio.Event().wait()


class TestKinds:
    @pytest.mark.parametrize("style", STYLES)
    async def test_each_kind_is_called(self, style: str) -> None:
        async with aio_calling(STYLES[style]()) as (stub, _):
            assert await stub.Get(item("tea", 3)) == order("tea", 3)
            assert [one.total async for one in stub.Follow(item("tea", 3))] == [0, 1, 2]
            assert await stub.Total(items(3, 4)) == order("total", 7)
            assert await stub.Total(iter([item(count=3), item(count=4)])) == order("total", 7)
            assert [one.total async for one in stub.Talk(items(1, 2))] == [1, 2]

    async def test_calls_are_as_in_grpc_aio(self) -> None:
        async with aio_calling(AsyncOrders()) as (stub, channel):
            assert isinstance(channel, grpc.aio.Channel)
            for multi, kind in ((stub.Get, "UnaryUnary"), (stub.Follow, "UnaryStream")):
                assert isinstance(multi, getattr(grpc.aio, f"{kind}MultiCallable"))
                call = multi(item())
                assert isinstance(call, getattr(grpc.aio, f"{kind}Call"))
                assert await call.code() is grpc.StatusCode.OK
            for multi, kind in ((stub.Total, "StreamUnary"), (stub.Talk, "StreamStream")):
                assert isinstance(multi, getattr(grpc.aio, f"{kind}MultiCallable"))
                call = multi(items())
                assert isinstance(call, getattr(grpc.aio, f"{kind}Call"))
                assert await call.code() is grpc.StatusCode.OK

    async def test_messages_are_written_and_read_by_hand(self) -> None:
        async with aio_calling(AsyncOrders()) as (stub, _):
            total = stub.Total()
            await total.write(item(count=3))
            await total.write(item(count=4))
            await total.done_writing()
            assert await total == order("total", 7)
            talk = stub.Talk()
            for name in ("a", "b"):
                await talk.write(item(name))
                assert await talk.read() == order(name)
            await talk.done_writing()
            assert await talk.read() is aio.EOF
            follow = stub.Follow(item(count=1))
            assert await follow.read() == order()
            assert await follow.read() is aio.EOF
            assert follow.done()

    async def test_the_two_styles_of_a_stream_do_not_mix(self) -> None:
        async with aio_calling(AsyncOrders()) as (stub, _):
            talk = stub.Talk(items(1))
            with pytest.raises(aio.UsageError):
                await talk.write(item())
            with pytest.raises(aio.UsageError):
                await talk.done_writing()
            assert await talk.read() == order(total=1)
            with pytest.raises(aio.UsageError):
                talk.__aiter__()
            talk.cancel()

    async def test_a_write_after_the_end_is_refused(self) -> None:
        async with aio_calling(AsyncOrders()) as (stub, _):
            talk = stub.Talk()
            await talk.done_writing()
            await talk.done_writing()
            with pytest.raises(asyncio.InvalidStateError):
                await talk.write(item())
            assert await talk.read() is aio.EOF

    async def test_a_call_starts_although_it_is_not_awaited(self) -> None:
        seen: list[str] = []

        async def get(request: Any, context: Any) -> Any:
            seen.append(request.name)
            return order()

        async with aio_calling(servicer_with(Get=get)) as (stub, _):
            call = stub.Get(item("tea"))
            await eventually(call.done)
            assert seen == ["tea"]

    async def test_an_answer_may_be_awaited_twice(self) -> None:
        async with aio_calling(AsyncOrders()) as (stub, _):
            call = stub.Get(item("tea"))
            assert await call == await call == order("tea")

    async def test_context_variables_of_the_caller_are_set_while_an_answer_is_decoded(self) -> None:
        user: ContextVar[str] = ContextVar("user", default="none")
        seen: list[str] = []

        def decode(content: bytes) -> Any:
            seen.append(user.get())
            return generated().pb2.Order.FromString(content)

        async with aio_calling(AsyncOrders(), compression=grpc.Compression.Gzip) as (stub, channel):
            get = channel.unary_unary(
                GET, request_serializer=lambda one: one.SerializeToString(), response_deserializer=decode
            )
            # The connection is made in this context, and compressed answers are decompressed before they are decoded.
            await stub.Get(item())
            for name in ("ada", "bob"):
                user.set(name)
                await get(item("tea" * 10_000))
        assert seen == ["ada", "bob"]


class TestEnds:
    async def test_a_refusal_is_an_error_of_grpc_aio(self) -> None:
        async def get(request: Any, context: Any) -> Any:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such item", (("room", "hall"),))

        async with aio_calling(servicer_with(Get=get)) as (stub, _):
            call = stub.Get(item())
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            error = caught.value
            assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, "no such item")
            assert error.trailing_metadata()["room"] == "hall"
            assert await call.code() is grpc.StatusCode.NOT_FOUND
            assert await call.details() == "no such item"
            assert (await call.trailing_metadata())["room"] == "hall"
            assert not call.cancelled()

    async def test_a_stream_raises_its_refusal_after_its_messages(self) -> None:
        async def follow(request: Any, context: Any) -> AsyncIterator[Any]:
            yield order("one")
            await context.abort(grpc.StatusCode.ABORTED, "enough")

        async with aio_calling(servicer_with(Follow=follow)) as (stub, _):
            call = stub.Follow(item())
            assert await call.read() == order("one")
            with pytest.raises(grpc.aio.AioRpcError, match="enough"):
                await call.read()
            with pytest.raises(grpc.aio.AioRpcError, match="enough"):
                await call.read()
            assert await call.code() is grpc.StatusCode.ABORTED
            seen = []
            with pytest.raises(grpc.aio.AioRpcError, match="enough"):
                async for one in stub.Follow(item()):
                    seen.append(one)
            assert seen == [order("one")]

    async def test_a_passed_deadline_is_reported(self) -> None:
        async with aio_calling(servicer_with(Get=waiting)) as (stub, _):
            call = stub.Get(item(), timeout=TIMEOUT)
            await eventually(lambda: call.time_remaining() is not None)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            stream = stub.Talk(timeout=TIMEOUT)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stream.read()
            assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED

    async def test_a_channel_has_no_default_timeout(self) -> None:
        async def get(request: Any, context: Any) -> Any:
            return order(str(context.time_remaining()))

        async with aio_calling(servicer_with(Get=get)) as (stub, _):
            assert await stub.Get(item()) == order("None")

    async def test_functions_hear_of_the_end_once(self) -> None:
        seen: list[Any] = []
        async with aio_calling(AsyncOrders()) as (stub, _):
            for call in (stub.Get(item()), stub.Follow(item(count=1))):
                call.add_done_callback(seen.append)
                if hasattr(call, "__await__"):
                    await call
                else:
                    assert [one async for one in call] == [order()]
                await eventually(lambda: seen)
                call.add_done_callback(seen.append)
                assert seen == [call, call]
                seen.clear()

    async def test_an_unreachable_server_is_unavailable(self, unused_tcp_port: int) -> None:
        async with aio.insecure_channel(f"127.0.0.1:{unused_tcp_port}") as channel:
            stub = generated().pb2_grpc.OrdersStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Get(item())
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            call = stub.Get(item(), wait_for_ready=True, timeout=TIMEOUT)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.Talk().wait_for_connection()
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.Get(item()).wait_for_connection()


class TestMetadata:
    async def test_it_comes_and_goes(self) -> None:
        seen: list[Any] = []

        async def follow(request: Any, context: Any) -> AsyncIterator[Any]:
            seen.append(dict(context.invocation_metadata()))
            await context.send_initial_metadata((("shelf", "9"),))
            context.set_trailing_metadata((("room", "hall"), ("seat-bin", b"\x01")))
            yield order()

        async with aio_calling(servicer_with(Follow=follow)) as (stub, _):
            call = stub.Follow(item(), metadata=(("k", "v"), ("k-bin", b"\x02")))
            assert tuple(await call.initial_metadata()) == (("shelf", "9"),)
            assert [one async for one in call] == [order()]
            assert tuple(await call.trailing_metadata()) == (("room", "hall"), ("seat-bin", b"\x01"))
        assert seen[0]["k"] == "v"
        assert seen[0]["k-bin"] == b"\x02"

    async def test_metadata_of_grpc_aio_is_taken(self) -> None:
        seen: list[Any] = []

        async def get(request: Any, context: Any) -> Any:
            seen.append(dict(context.invocation_metadata()))
            context.set_trailing_metadata(grpc.aio.Metadata(("room", "hall")))
            return order()

        async with aio_calling(servicer_with(Get=get)) as (stub, _):
            call = stub.Get(item(), metadata=grpc.aio.Metadata(("k", "v")))
            await call
            assert (await call.trailing_metadata())["room"] == "hall"
        assert seen[0]["k"] == "v"


class TestCancellation:
    async def test_a_cancelled_call_cancels_its_handler(self) -> None:
        ends: list[str] = []
        begun = asyncio.Event()

        async def get(request: Any, context: Any) -> Any:
            begun.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                ends.append("cancelled")
                raise

        async with aio_calling(servicer_with(Get=get)) as (stub, _):
            call = stub.Get(item())
            await begun.wait()
            assert call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert (call.cancelled(), call.done(), call.cancel()) == (True, True, False)
            assert await call.code() is grpc.StatusCode.CANCELLED
            assert await call.details() == "Locally cancelled by application!"
            await eventually(lambda: ends)

    async def test_a_call_cancelled_at_once_is_not_made(self) -> None:
        async with aio_calling(servicer_with(Get=waiting)) as (stub, _):
            call = stub.Get(item())
            assert call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert call.cancelled()

    async def test_a_call_whose_task_is_cancelled_before_its_first_step_is_not_made(self) -> None:
        async with aio_calling(servicer_with(Get=waiting)) as (stub, channel):
            calls: list[Any] = []

            async def get() -> Any:
                calls.append(stub.Get(item()))
                return await calls[0]

            task = asyncio.ensure_future(get())
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert calls.pop().cancelled()
            # A call that was made and never awaited would be a warning, which is an error here.
            gc.collect()
            assert not channel.under_way

    async def test_a_failed_call_that_nothing_awaits_is_no_error_of_the_loop(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def refuse(request: Any, context: Any) -> Any:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such item")

        async with aio_calling(servicer_with(Get=refuse)) as (stub, channel):
            ended: list[Any] = []
            stub.Get(item()).add_done_callback(ended.append)
            await eventually(lambda: ended)
            assert await ended.pop().code() is grpc.StatusCode.NOT_FOUND
            gc.collect()
            assert not channel.under_way
        assert [record for record in caplog.records if record.name == "asyncio"] == []

    async def test_a_task_that_is_cancelled_cancels_the_call_it_awaits(self) -> None:
        async with aio_calling(servicer_with(Get=waiting, Follow=waiting_stream)) as (stub, _):
            for call in (stub.Get(item()), stub.Follow(item())):
                work = call.__await__ if hasattr(call, "__await__") else call.read

                async def take(work: Any = work) -> None:
                    await _Awaitable(work)

                task = asyncio.ensure_future(take())
                await call.wait_for_connection() if call.__class__.__name__ != "UnaryUnaryCall" else None
                await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                await eventually(call.done)
                assert call.cancelled()

    async def test_a_task_cancelled_in_the_turn_of_the_answer_leaves_the_answer(self) -> None:
        async with aio_calling(AsyncOrders()) as (stub, _):
            # From then on a call is sent at once, and no task makes it.
            await stub.Get(item())
            call = stub.Get(item("tea"))

            async def take() -> Any:
                return await call

            task = asyncio.ensure_future(take())
            # Before the task waits: it is woken after this function.
            call.add_done_callback(lambda _: task.cancel())
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await call.code() is grpc.StatusCode.OK
            assert not call.cancelled()
            assert await call == order("tea")

    async def test_a_stream_is_cancelled(self) -> None:
        left = asyncio.Event()

        async def talk(requests: Any, context: Any) -> AsyncIterator[Any]:
            context.add_done_callback(lambda _: left.set())
            yield order()
            await asyncio.Event().wait()

        async with aio_calling(servicer_with(Talk=talk)) as (stub, _):
            call = stub.Talk()
            assert await call.read() == order()
            assert call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call.read()
            assert call.cancelled()
            assert await call.code() is grpc.StatusCode.CANCELLED
            async with asyncio.timeout(20):
                await left.wait()

    async def test_a_stream_that_is_dropped_is_cancelled(self) -> None:
        left = asyncio.Event()

        async def follow(request: Any, context: Any) -> AsyncIterator[Any]:
            context.add_done_callback(lambda _: left.set())
            yield order()
            await asyncio.Event().wait()

        async with aio_calling(servicer_with(Follow=follow)) as (stub, _):
            call = stub.Follow(item())
            await call.read()
            del call
            async with asyncio.timeout(20):
                await left.wait()

    async def test_an_iterable_that_fails_cancels_the_call(self, caplog: Any) -> None:
        async def broken() -> AsyncIterator[Any]:
            yield item()
            raise KeyError("broken")

        async with aio_calling(AsyncOrders()) as (stub, _):
            call = stub.Total(broken())
            with pytest.raises(asyncio.CancelledError):
                await call
            assert call.cancelled()
        assert "the iterable of its requests failed" in caplog.text

    async def test_an_iterable_with_a_message_of_another_class_ends_the_call(self) -> None:
        async def mixed() -> AsyncIterator[Any]:
            yield item()
            yield 5

        async with aio_calling(AsyncOrders()) as (stub, _):
            by_hand = stub.Total()
            with pytest.raises(grpc.RpcError) as written:
                await by_hand.write(5)
            by_hand.cancel()
            for requests in (mixed(), iter([item(), 5])):
                call = stub.Total(requests)
                with pytest.raises(grpc.RpcError, match="of type int") as failed:
                    async with asyncio.timeout(20):
                        await call
                assert failed.value.code() is written.value.code()
                assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
            talk = stub.Talk(mixed())
            with pytest.raises(grpc.RpcError, match="of type int"):
                async with asyncio.timeout(20):
                    [one async for one in talk]
            assert await talk.code() is grpc.StatusCode.INVALID_ARGUMENT


async def waiting_stream(request: Any, context: Any) -> AsyncIterator[Any]:
    await asyncio.Event().wait()
    yield order()


class _Awaitable:
    """Awaits the result of a function: a coroutine, or the iterator of `__await__`."""

    def __init__(self, work: Any) -> None:
        self._work = work

    def __await__(self) -> Any:
        found = self._work()
        return found.__await__() if hasattr(found, "__await__") else found
