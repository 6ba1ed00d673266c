"""Interceptors of grpc.aio around servicers and around calls."""

import asyncio
from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import Any

import grpc
import pytest

from fastrpc.grpc import aio
from tests.support.orders import STYLES, AsyncOrders, aio_calling, item, order, servicer_with

pytestmark = [pytest.mark.one_loop, pytest.mark.usefixtures("wire")]

caller: ContextVar[str] = ContextVar("caller")


class Noting(aio.ServerInterceptor):  # type: ignore[misc]
    """Notes each call, and passes its caller on."""

    def __init__(self, name: str, seen: list[Any]) -> None:
        self._name = name
        self._seen = seen

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        self._seen.append((self._name, handler_call_details.method))
        caller.set(dict(handler_call_details.invocation_metadata).get("caller", ""))
        return await continuation(handler_call_details)


class TestServers:
    @pytest.mark.parametrize("style", STYLES)
    async def test_they_see_each_kind_in_their_order(self, style: str) -> None:
        seen: list[Any] = []
        interceptors = [Noting("outer", seen), Noting("inner", seen)]
        async with aio_calling(STYLES[style](), interceptors=interceptors) as (stub, _):
            assert await stub.Get(item("tea")) == order("tea")
            assert [one.total async for one in stub.Follow(item(count=2))] == [0, 1]
            assert await stub.Total(iter([item(count=3)])) == order("total", 3)
            assert [one.text async for one in stub.Talk(iter([item("a")]))] == ["a"]
        methods = [f"/shop.v1.Orders/{name}" for name in ("Get", "Follow", "Total", "Talk")]
        assert seen == [(name, method) for method in methods for name in ("outer", "inner")]

    async def test_their_context_variables_reach_the_servicer(self) -> None:
        async def get(request: Any, context: Any) -> Any:
            return order(caller.get())

        async with aio_calling(servicer_with(Get=get), interceptors=[Noting("", [])]) as (stub, _):
            assert await stub.Get(item(), metadata=(("caller", "ada"),)) == order("ada")

    async def test_one_may_choose_another_handler(self) -> None:
        class Refusing(aio.ServerInterceptor):  # type: ignore[misc]
            async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
                async def refuse(request: Any, context: Any) -> Any:
                    await context.abort(grpc.StatusCode.PERMISSION_DENIED, f"not {request.name}")

                handler = await continuation(handler_call_details)
                return grpc.unary_unary_rpc_method_handler(
                    refuse, handler.request_deserializer, handler.response_serializer
                )

        async with aio_calling(AsyncOrders(), interceptors=[Refusing()]) as (stub, _):
            with pytest.raises(grpc.aio.AioRpcError, match="not tea") as caught:
                await stub.Get(item("tea"))
            assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Follow(item("tea")).read()
            assert caught.value.code() is grpc.StatusCode.INTERNAL

    async def test_an_interceptor_hides_a_method_by_returning_none(self) -> None:
        class Hiding(aio.ServerInterceptor):  # type: ignore[misc]
            async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
                return None

        async with aio_calling(AsyncOrders(), interceptors=[Hiding()]) as (stub, _):
            with pytest.raises(grpc.aio.AioRpcError, match="Method not found!") as caught:
                await stub.Get(item())
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED

    async def test_messages_are_read_and_written_by_hand_inside_them(self) -> None:
        async def talk(requests: Any, context: Any) -> None:
            while (request := await context.read()) is not aio.EOF:
                await context.write(order(request.name))

        async with aio_calling(servicer_with(Talk=talk), interceptors=[Noting("", [])]) as (stub, _):
            assert [one.text async for one in stub.Talk(iter([item("a"), item("b")]))] == ["a", "b"]

    def test_other_objects_are_refused(self) -> None:
        with pytest.raises(ValueError, match="is not a ServerInterceptor of grpcio"):
            aio.server(interceptors=[object()])


class Doubling(
    aio.UnaryUnaryClientInterceptor,  # type: ignore[misc]
    aio.UnaryStreamClientInterceptor,
    aio.StreamUnaryClientInterceptor,
    aio.StreamStreamClientInterceptor,
):
    """Sends each request with twice its count, and metadata."""

    async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return await continuation(_marked(details), item(request.name, 2 * request.count))

    async def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:
        return await continuation(_marked(details), item(request.name, 2 * request.count))

    async def intercept_stream_unary(self, continuation: Any, details: Any, requests: Any) -> Any:
        return await continuation(_marked(details), _doubled(requests))

    async def intercept_stream_stream(self, continuation: Any, details: Any, requests: Any) -> Any:
        return await continuation(_marked(details), _doubled(requests))


def _marked(details: Any) -> Any:
    marks = dict(details.metadata or ()).get("mark", "")
    return details._replace(metadata=(("mark", f"{marks}1"),))


async def _doubled(requests: Any) -> AsyncIterator[Any]:
    async for request in requests:
        yield item(request.name, 2 * request.count)


async def items(*counts: int) -> AsyncIterator[Any]:
    for count in counts:
        yield item(count=count)


class TestChannels:
    async def test_each_kind_goes_through_them(self) -> None:
        channel = {"interceptors": [Doubling(), Doubling()]}
        async with aio_calling(AsyncOrders(), channel=channel) as (stub, _):
            call = stub.Get(item("tea", 1))
            assert isinstance(call, grpc.aio.UnaryUnaryCall)
            assert await call == order("tea", 4)
            assert await call.code() is grpc.StatusCode.OK
            assert await call.details() == ""
            assert [one.total async for one in stub.Follow(item(count=1))] == [0, 1, 2, 3]
            assert await stub.Total(items(1, 2)) == order("total", 12)
            assert [one.total async for one in stub.Talk(items(1, 2))] == [4, 8]

    async def test_messages_are_written_and_read_by_hand_through_them(self) -> None:
        async with aio_calling(AsyncOrders(), channel={"interceptors": [Doubling()]}) as (stub, _):
            total = stub.Total()
            await total.write(item(count=1))
            await total.write(item(count=2))
            await total.done_writing()
            assert await total == order("total", 6)
            talk = stub.Talk()
            await talk.write(item("a", 1))
            assert await talk.read() == order("a", 2)
            await talk.done_writing()
            assert await talk.read() is aio.EOF
            assert talk.done()

    async def test_metadata_and_errors_pass_through_them(self) -> None:
        async def get(request: Any, context: Any) -> Any:
            mark = dict(context.invocation_metadata())["mark"]
            await context.abort(grpc.StatusCode.ABORTED, mark, (("room", "hall"),))

        async with aio_calling(servicer_with(Get=get), channel={"interceptors": [Doubling()]}) as (stub, _):
            call = stub.Get(item())
            with pytest.raises(grpc.aio.AioRpcError, match="1"):
                await call
            assert await call.code() is grpc.StatusCode.ABORTED
            assert (await call.trailing_metadata())["room"] == "hall"

    async def test_one_may_answer_by_itself(self) -> None:
        class Cached(aio.UnaryUnaryClientInterceptor):  # type: ignore[misc]
            async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
                return order("cached")

        class Replaced(aio.UnaryStreamClientInterceptor):  # type: ignore[misc]
            async def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:
                call = await continuation(details, request)

                async def messages() -> AsyncIterator[Any]:
                    async for one in call:
                        yield order("replaced", one.total)

                return messages()

        # An interceptor around them gets their results.
        channel = {"interceptors": [Doubling(), Cached(), Replaced()]}
        async with aio_calling(AsyncOrders(), channel=channel) as (stub, _):
            call = stub.Get(item())
            assert await call == order("cached")
            assert (await call.code(), call.done()) == (grpc.StatusCode.OK, True)
            replaced = [order("replaced"), order("replaced", 1)]
            assert [one async for one in stub.Follow(item(count=1))] == replaced

    async def test_one_may_call_again(self) -> None:
        seen: list[Any] = []

        async def get(request: Any, context: Any) -> Any:
            seen.append(request.name)
            if len(seen) < 3:
                await context.abort(grpc.StatusCode.ABORTED)
            return order(request.name)

        class Again(aio.UnaryUnaryClientInterceptor):  # type: ignore[misc]
            async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
                while True:
                    call = await continuation(details, request)
                    if await call.code() is grpc.StatusCode.OK:
                        return call

        async with aio_calling(servicer_with(Get=get), channel={"interceptors": [Again()]}) as (stub, _):
            assert await stub.Get(item("tea")) == order("tea")
        assert seen == ["tea"] * 3

    async def test_a_call_is_cancelled_during_interceptors_and_after_them(self) -> None:
        class Waiting(aio.UnaryUnaryClientInterceptor):  # type: ignore[misc]
            async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
                await asyncio.Event().wait()

        async def get(request: Any, context: Any) -> Any:
            await asyncio.Event().wait()

        for one in (Waiting(), Doubling()):
            async with aio_calling(servicer_with(Get=get), channel={"interceptors": [one]}) as (stub, _):
                seen: list[Any] = []
                call = stub.Get(item())
                call.add_done_callback(seen.append)
                for _ in range(3):
                    await asyncio.sleep(0)
                assert call.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await call
                assert call.cancelled()
                assert call.done()
                assert await call.code() is grpc.StatusCode.CANCELLED
                assert await call.details() == "Locally cancelled by application!"
                assert seen == [call]

    def test_other_objects_are_refused(self) -> None:
        with pytest.raises(ValueError, match=r"^object is not an .* such as aio\.Unary"):
            aio.insecure_channel("localhost:1", interceptors=[object()])
