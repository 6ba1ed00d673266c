"""Servicers of generated services as sources of a server: four kinds, two styles, their context and their ends."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest

import fastrpc
from fastrpc import CallError, ConfigError, EncodeError, Status, current_call
from tests.support.generated import generated
from tests.support.orders import (
    STYLES,
    AsyncOrders,
    ThreadOrders,
    calling,
    item,
    order,
    servicer_with,
    source_of,
)
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop


class TestKinds:
    @pytest.mark.parametrize("way", ["service", "handlers"])
    @pytest.mark.parametrize("style", STYLES)
    async def test_each_kind_is_served(self, wire: str, way: str, style: str) -> None:
        async with calling(wire, source_of(way, STYLES[style]())) as (stub, _):
            assert await stub.Get(item("tea", 3)) == order("tea", 3)
            async with stub.Follow(item("tea", 3)) as orders:
                assert [one async for one in orders] == [order("tea", number) for number in range(3)]
            assert await stub.Total(iter([item(count=3), item(count=4)])) == order("total", 7)
            async with stub.Talk(iter([item("a", 1), item("b", 2)])) as orders:
                assert [one async for one in orders] == [order("a", 1), order("b", 2)]

    @pytest.mark.parametrize("style", STYLES)
    async def test_streams_are_sent_by_hand(self, wire: str, style: str) -> None:
        async with calling(wire, source_of("service", STYLES[style]())) as (stub, _):
            async with stub.Total() as numbers:
                await numbers.send(item(count=3))
                await numbers.send(item(count=4))
                await numbers.end()
                assert await numbers.receive() == order("total", 7)
            async with stub.Talk() as talk:
                for name in ("a", "b"):
                    await talk.send(item(name))
                    assert await talk.receive() == order(name)

    async def test_plain_functions_run_in_threads_of_the_server(self, wire: str) -> None:
        servicer = ThreadOrders()
        async with calling(wire, source_of("handlers", servicer)) as (stub, _):
            await stub.Get(item())
            await stub.Total(iter([item()]))
        assert servicer.threads
        assert threading.current_thread().name not in servicer.threads

    async def test_longer_streams_of_threads_keep_their_order(self, wire: str) -> None:
        async with calling(wire, source_of("service", ThreadOrders())) as (stub, _):
            async with stub.Talk(item(count=number) for number in range(500)) as orders:
                assert [one.total async for one in orders] == list(range(500))

    async def test_functions_of_the_request_alone_are_called_without_a_context(self, wire: str) -> None:
        class Short(AsyncOrders):
            async def Get(self, request: Any) -> Any:  # type: ignore[override]
                return order(request.name)

            def Follow(self, request: Any) -> Iterator[Any]:  # type: ignore[override]
                yield order(request.name)

        async with calling(wire, source_of("service", Short())) as (stub, _):
            assert await stub.Get(item("tea")) == order("tea")
            async with stub.Follow(item("tea")) as orders:
                assert [one async for one in orders] == [order("tea")]

    async def test_a_servicer_that_is_a_context_manager_is_entered_and_left(self, wire: str) -> None:
        seen: list[str] = []

        class Opened(AsyncOrders):
            async def __aenter__(self) -> None:
                seen.append("entered")

            async def __aexit__(self, *failure: object) -> None:
                seen.append("left")

        async with calling(wire, source_of("service", Opened())) as (stub, _):
            await stub.Get(item())
            assert seen == ["entered"]
        assert seen == ["entered", "left"]

    async def test_current_call_and_interceptors_know_the_call(self, wire: str) -> None:
        seen: list[Any] = []

        class Noting(AsyncOrders):
            async def Get(self, request: Any, context: Any) -> Any:
                seen.append(current_call().method)
                return order()

        async def watch(call: Any, proceed: Any) -> Any:
            seen.append(call.arguments)
            return await proceed(call)

        async with calling(wire, source_of("handlers", Noting()), interceptors=[watch]) as (stub, _):
            await stub.Get(item("tea"))
        assert seen == [(item("tea"),), "shop.v1.Orders.Get"]


def test_a_servicer_without_a_method_is_refused() -> None:
    class Empty:
        pass

    with pytest.raises(ConfigError, match=r"Empty has no method Get, which shop\.v1\.Orders has"):
        fastrpc.grpc.service(generated().orders, Empty())


def test_a_method_of_another_form_is_refused() -> None:
    class Wide(AsyncOrders):
        async def Get(self, request: Any, context: Any, more: Any) -> Any:  # type: ignore[override]
            return order()

    with pytest.raises(
        ConfigError, match=r"Wide\.Get\(request.*\) .*takes no request.*\(self, request, context\)"
    ):
        fastrpc.grpc.service(generated().orders, Wide())


def test_a_generic_handler_that_does_not_list_its_methods_is_refused() -> None:
    class Hidden(grpc.GenericRpcHandler):  # type: ignore[misc]
        def service(self, handler_call_details: Any) -> None:
            return None

    with pytest.raises(ConfigError, match="does not say which methods it has"):
        fastrpc.grpc.Handlers().add_generic_rpc_handlers([Hidden()])


class TestEnds:
    @pytest.mark.parametrize("style", STYLES)
    @pytest.mark.parametrize("code", [Status.NOT_FOUND, grpc.StatusCode.NOT_FOUND])
    async def test_abort_ends_the_call_with_status_and_text(self, wire: str, style: str, code: Any) -> None:
        async def get(request: Any, context: Any) -> Any:
            await context.abort(code, "no such item")

        def get_in_thread(request: Any, context: Any) -> Any:
            context.abort(code, "no such item")

        servicer = servicer_with(Get=get if style == "async" else get_in_thread)
        async with calling(wire, source_of("service", servicer)) as (stub, _):
            with pytest.raises(CallError) as caught:
                await stub.Get(item())
        assert (caught.value.status, caught.value.message) == (Status.NOT_FOUND, "no such item")

    async def test_abort_holds_even_if_the_servicer_swallows_it(self, wire: str) -> None:
        class Stubborn(AsyncOrders):
            async def Get(self, request: Any, context: Any) -> Any:
                try:
                    await context.abort(Status.NOT_FOUND, "no such item")
                except Exception:
                    return order()

        async with calling(wire, source_of("service", Stubborn())) as (stub, _):
            with pytest.raises(CallError, match="no such item"):
                await stub.Get(item())

    async def test_interceptors_written_for_grpcio_know_the_error_of_abort(self, wire: str) -> None:
        seen: list[type[BaseException]] = []

        class Aborting(AsyncOrders):
            async def Get(self, request: Any, context: Any) -> Any:
                try:
                    await context.abort(grpc.StatusCode.ABORTED)
                except grpc.aio.AbortError as error:
                    seen.append(type(error))
                    raise

        async with calling(wire, source_of("handlers", Aborting())) as (stub, _):
            with pytest.raises(CallError) as caught:
                await stub.Get(item())
        assert caught.value.status is Status.ABORTED
        assert len(seen) == 1

    @pytest.mark.parametrize("style", STYLES)
    async def test_a_code_that_was_set_is_the_status_of_the_end(self, wire: str, style: str) -> None:
        def get_in_thread(request: Any, context: Any) -> Any:
            context.set_code(grpc.StatusCode.OUT_OF_RANGE)
            context.set_details("too far")
            assert (context.code(), context.details()) == (grpc.StatusCode.OUT_OF_RANGE, "too far")
            return order()

        def follow_in_thread(request: Any, context: Any) -> Iterator[Any]:
            yield order()
            context.set_code(11)

        async def get(request: Any, context: Any) -> Any:
            return get_in_thread(request, context)

        async def follow(request: Any, context: Any) -> AsyncIterator[Any]:
            for one in follow_in_thread(request, context):
                yield one

        servicer = servicer_with(Get=get, Follow=follow)
        if style == "thread":
            servicer = servicer_with(Get=get_in_thread, Follow=follow_in_thread)
        async with calling(wire, source_of("handlers", servicer)) as (stub, _):
            with pytest.raises(CallError, match="too far") as caught:
                await stub.Get(item())
            assert caught.value.status is Status.OUT_OF_RANGE
            async with stub.Follow(item()) as orders:
                assert await orders.receive() == order()
                with pytest.raises(CallError) as caught:
                    await orders.receive()
            assert caught.value.status is Status.OUT_OF_RANGE

    @pytest.mark.parametrize("style", STYLES)
    async def test_an_uncaught_exception_is_unknown_with_an_id(
        self, wire: str, style: str, caplog: Any
    ) -> None:
        async def get(request: Any, context: Any) -> Any:
            raise KeyError("secret")

        def get_in_thread(request: Any, context: Any) -> Any:
            raise KeyError("secret")

        servicer = servicer_with(Get=get if style == "async" else get_in_thread)
        async with calling(wire, source_of("service", servicer)) as (stub, _):
            with pytest.raises(
                CallError, match=r"shop\.v1\.Orders\.Get failed; .* under id [0-9a-f]{8}"
            ) as caught:
                await stub.Get(item())
        assert caught.value.status is Status.UNKNOWN
        [record] = [record for record in caplog.records if hasattr(record, "error_id")]
        assert record.status == "UNKNOWN"

    async def test_a_method_that_generated_code_left_out_is_unimplemented(self, wire: str) -> None:
        servicer = generated().pb2_grpc.OrdersServicer()
        async with calling(wire, source_of("handlers", servicer)) as (stub, _):
            with pytest.raises(CallError, match="Method not implemented!") as caught:
                await stub.Get(item())
            assert caught.value.status is Status.UNIMPLEMENTED
            with pytest.raises(CallError) as caught:
                async with stub.Talk(iter([])) as orders:
                    await orders.receive()
            assert caught.value.status is Status.UNIMPLEMENTED

    async def test_an_answer_of_none_is_a_mistake_of_the_servicer(self, wire: str) -> None:
        class Silent(AsyncOrders):
            async def Get(self, request: Any, context: Any) -> Any:
                return None

        async with calling(wire, source_of("service", Silent())) as (stub, _):
            with pytest.raises(CallError, match="returned None, it must return its message") as caught:
                await stub.Get(item())
        assert caught.value.status is Status.UNKNOWN

    @pytest.mark.parametrize("style", ["yields", "writes", "yields in a thread"])
    async def test_none_in_a_stream_is_a_mistake_of_the_servicer(self, wire: str, style: str) -> None:
        async def yielding(request: Any, context: Any) -> AsyncIterator[Any]:
            yield order()
            yield None

        async def writing(request: Any, context: Any) -> None:
            await context.write(order())
            await context.write(None)

        def in_thread(request: Any, context: Any) -> Iterator[Any]:
            yield order()
            yield None

        follow = {"yields": yielding, "writes": writing, "yields in a thread": in_thread}[style]
        async with calling(wire, source_of("handlers", servicer_with(Follow=follow))) as (stub, _):
            async with stub.Follow(item()) as orders:
                assert await orders.receive() == order()
                with pytest.raises(CallError, match=r"(yielded|wrote) None, it must") as caught:
                    await orders.receive()
        assert caught.value.status is Status.UNKNOWN

    async def test_none_as_a_request_is_refused(self, wire: str) -> None:
        async with calling(wire, source_of("handlers", AsyncOrders())) as (stub, _):
            with pytest.raises(EncodeError, match="of type NoneType, cannot be encoded as protobuf"):
                await stub.Get(None)


class TestContext:
    async def test_messages_are_read_and_written_by_hand(self, wire: str) -> None:
        class Handwritten(AsyncOrders):
            async def Total(self, requests: Any, context: Any) -> Any:
                total = 0
                while (request := await context.read()) is not grpc.aio.EOF:
                    total += request.count
                return order("total", total)

            async def Talk(self, requests: Any, context: Any) -> None:  # type: ignore[override]
                while (request := await context.read()) is not grpc.aio.EOF:
                    await context.write(order(request.name))

        async with calling(wire, source_of("handlers", Handwritten())) as (stub, _):
            assert await stub.Total(iter([item(count=3), item(count=4)])) == order("total", 7)
            async with stub.Talk(iter([item("a"), item("b")])) as orders:
                assert [one async for one in orders] == [order("a"), order("b")]

    @pytest.mark.parametrize("style", STYLES)
    async def test_metadata_comes_and_goes(self, wire: str, style: str) -> None:
        seen: list[Any] = []

        async def follow(request: Any, context: Any) -> AsyncIterator[Any]:
            seen.append(dict(context.invocation_metadata()))
            await context.send_initial_metadata((("shelf", "9"),))
            context.set_trailing_metadata([("room", "hall"), ("seat-bin", b"\x01")])
            yield order()

        def follow_in_thread(request: Any, context: Any) -> Iterator[Any]:
            seen.append(dict(context.invocation_metadata()))
            context.send_initial_metadata((("shelf", "9"),))
            context.set_trailing_metadata([("room", "hall"), ("seat-bin", b"\x01")])
            yield order()

        servicer = servicer_with(Follow=follow if style == "async" else follow_in_thread)
        async with (
            calling(wire, source_of("handlers", servicer)) as (stub, _),
            stub.Follow(item(), metadata={"k": "v", "k-bin": b"\x02"}) as orders,
        ):
            assert dict(await orders.headers()) == {"shelf": "9"}
            assert [one async for one in orders] == [order()]
            assert orders.reply.metadata.entries == {"room": "hall", "seat-bin": b"\x01"}
        [sent] = seen
        assert sent["k"] == "v"
        assert sent["k-bin"] == b"\x02"

    async def test_metadata_of_a_refusal_is_sent_with_it(self, wire: str) -> None:
        class Refusing(AsyncOrders):
            async def Get(self, request: Any, context: Any) -> Any:
                await context.abort(Status.ABORTED, "later", (("room", "hall"),))

        seen: list[Any] = []

        async def watch(call: Any, proceed: Any) -> Any:
            try:
                return await proceed(call)
            finally:
                seen.append(dict(call.reply_metadata))

        options = {"client_interceptors": [watch]}
        async with calling(wire, source_of("service", Refusing()), **options) as (stub, _):
            with pytest.raises(CallError):
                await stub.Get(item())
        assert seen == [{"room": "hall"}]

    async def test_it_knows_deadline_and_caller(self, wire: str) -> None:
        seen: list[Any] = []

        class Noting(AsyncOrders):
            async def Get(self, request: Any, context: Any) -> Any:
                seen.extend([context.time_remaining(), context.peer(), context.cancelled(), context.done()])
                seen.extend([context.auth_context(), context.peer_identities(), context.peer_identity_key()])
                seen.append(isinstance(context, grpc.aio.ServicerContext))
                return order()

        async with calling(wire, source_of("handlers", Noting())) as (stub, _):
            await stub.Get(item(), timeout=60)
        remaining, peer, *rest = seen
        assert 50 < remaining <= 60
        assert peer.startswith("memory:")
        assert rest == [False, False, {}, None, None, True]

    async def test_callbacks_run_at_the_end(self, wire: str) -> None:
        seen: list[Any] = []

        class Noting(AsyncOrders):
            async def Get(self, request: Any, context: Any) -> Any:
                context.add_done_callback(lambda of: seen.append(of is context and of.done()))
                return order()

            async def Follow(self, request: Any, context: Any) -> AsyncIterator[Any]:
                context.add_done_callback(lambda of: seen.append(of.cancelled()))
                yield order()
                await asyncio.Event().wait()

        async with calling(wire, source_of("handlers", Noting())) as (stub, _):
            await stub.Get(item())
            assert seen == [True]
            async with stub.Follow(item()) as orders:
                await orders.receive()
            await eventually(lambda: seen == [True, True])

    async def test_a_thread_learns_by_a_callback_that_its_caller_left(self, wire: str) -> None:
        begun, left, ended = threading.Event(), threading.Event(), threading.Event()

        class Waiting(ThreadOrders):
            def Get(self, request: Any, context: Any) -> Any:
                assert context.is_active()
                assert context.add_callback(left.set)
                begun.set()
                assert left.wait(20)
                assert not context.is_active()
                assert not context.add_callback(left.set)
                ended.set()
                return order()

        async with calling(wire, source_of("handlers", Waiting())) as (stub, _):
            calls = asyncio.ensure_future(stub.Get(item()))
            await eventually(begun.is_set)
            calls.cancel()
            with pytest.raises(asyncio.CancelledError):
                await calls
            await eventually(ended.is_set)

    async def test_a_thread_cancels_its_call(self, wire: str) -> None:
        class Leaving(ThreadOrders):
            def Get(self, request: Any, context: Any) -> Any:
                left = threading.Event()
                context.add_callback(left.set)
                assert context.cancel()
                assert left.wait(20)
                return order()

        async with calling(wire, source_of("handlers", Leaving())) as (stub, _):
            with pytest.raises(CallError) as caught:
                await stub.Get(item())
        assert caught.value.status is Status.CANCELLED

    async def test_a_generator_in_a_thread_ends_when_its_caller_leaves(self, wire: str) -> None:
        ended = threading.Event()

        class Endless(ThreadOrders):
            def Follow(self, request: Any, context: Any) -> Iterator[Any]:
                try:
                    while True:
                        yield order("x" * 10_000)
                finally:
                    ended.set()

        async with calling(wire, source_of("handlers", Endless())) as (stub, _):
            async with stub.Follow(item()) as orders:
                await orders.receive()
            await eventually(ended.is_set)
