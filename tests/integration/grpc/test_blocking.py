"""`fastrpc.grpc.server` and channels for programs in threads."""

import gc
import queue
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import pytest

import fastrpc.grpc
from fastrpc.grpc.loop_thread import LoopThread
from tests.support.generated import generated
from tests.support.orders import STYLES, ThreadOrders, item, order, servicer_with

pytestmark = pytest.mark.usefixtures("wire")


@contextmanager
def served(servicer: Any, **options: Any) -> Iterator[str]:
    """Serve a servicer in threads; yield the target of channels."""
    with ThreadPoolExecutor(4, thread_name_prefix="given") as pool:
        server = fastrpc.grpc.server(pool, **options)
        generated().pb2_grpc.add_OrdersServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(5).wait()


@contextmanager
def calling(servicer: Any, *, channel: Any = None, **options: Any) -> Iterator[tuple[Any, Any]]:
    """Serve a servicer in threads; yield a stub of generated code, and its channel."""
    with (
        served(servicer, **options) as target,
        fastrpc.grpc.insecure_channel(target, **(channel or {})) as made,
    ):
        yield generated().pb2_grpc.OrdersStub(made), made


def wait_until(condition: Any) -> None:
    """Wait until something holds that another thread brings about."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


class TestKinds:
    @pytest.mark.parametrize("style", STYLES)
    def test_each_kind_is_called(self, style: str) -> None:
        with calling(STYLES[style]()) as (stub, _):
            assert stub.Get(item("tea", 3)) == order("tea", 3)
            assert [one.total for one in stub.Follow(item(count=3))] == [0, 1, 2]
            assert stub.Total(iter([item(count=3), item(count=4)])) == order("total", 7)
            assert [one.text for one in stub.Talk(iter([item("a"), item("b")]))] == ["a", "b"]

    def test_servicers_run_in_the_given_threads(self) -> None:
        servicer = ThreadOrders()
        with calling(servicer) as (stub, _):
            stub.Get(item())
            list(stub.Follow(item(count=1)))
        assert servicer.threads
        assert all(name.startswith("given") for name in servicer.threads)

    def test_a_call_comes_with_its_answer_or_as_a_future(self) -> None:
        with calling(ThreadOrders()) as (stub, _):
            answer, call = stub.Get.with_call(item("tea"))
            assert (answer, call.code(), call.details()) == (order("tea"), grpc.StatusCode.OK, "")
            future = stub.Get.future(item("tea"))
            ended = threading.Event()
            future.add_done_callback(lambda of: ended.set())
            assert future.result(20) == order("tea")
            assert (future.done(), future.running(), future.cancelled()) == (True, False, False)
            assert future.exception() is None
            assert future.traceback() is None
            assert ended.wait(20)
            assert stub.Total.future(iter([item(count=3)])).result(20) == order("total", 3)
            assert stub.Total.with_call(iter([item(count=3)]))[0] == order("total", 3)

    def test_servers_and_channels_match_grpcio(self) -> None:
        with calling(ThreadOrders()) as (stub, channel):
            assert isinstance(channel, grpc.Channel)
            call = stub.Get.future(item())
            assert isinstance(call, grpc.Call)
            assert isinstance(call, grpc.Future)
            grpc.channel_ready_future(channel).result(20)
        assert isinstance(fastrpc.grpc.server(ThreadPoolExecutor(1)), grpc.Server)


class TestEnds:
    def test_a_refusal_is_an_error_with_code_and_text(self) -> None:
        def get(request: Any, context: Any) -> Any:
            context.set_trailing_metadata((("room", "hall"),))
            context.abort(grpc.StatusCode.NOT_FOUND, "no such item")

        def follow(request: Any, context: Any) -> Iterator[Any]:
            yield order("one")
            context.abort(grpc.StatusCode.ABORTED, "enough")

        with calling(servicer_with(Get=get, Follow=follow)) as (stub, _):
            with pytest.raises(grpc.RpcError) as caught:
                stub.Get(item())
            error: Any = caught.value
            assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, "no such item")
            assert error.trailing_metadata()["room"] == "hall"
            future = stub.Get.future(item())
            assert future.exception(20).code() is grpc.StatusCode.NOT_FOUND
            assert future.code() is grpc.StatusCode.NOT_FOUND
            call = stub.Follow(item())
            assert next(call) == order("one")
            with pytest.raises(grpc.RpcError, match="enough"):
                next(call)
            assert call.code() is grpc.StatusCode.ABORTED
            assert not call.is_active()

    def test_deadlines_and_cancellation_end_calls(self) -> None:
        left = threading.Event()

        def get(request: Any, context: Any) -> Any:
            context.add_callback(left.set)
            left.wait(20)
            return order()

        with calling(servicer_with(Get=get)) as (stub, _):
            with pytest.raises(grpc.RpcError) as caught:
                stub.Get(item(), timeout=0.2)
            error: Any = caught.value
            assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            wait_until(left.is_set)
            left.clear()
            future = stub.Get.future(item())
            with pytest.raises(grpc.FutureTimeoutError):
                future.result(0.05)
            assert future.cancel()
            with pytest.raises(grpc.FutureCancelledError):
                future.result(20)
            assert future.cancelled()

    def test_a_stream_is_cancelled(self) -> None:
        left = threading.Event()

        def talk(requests: Any, context: Any) -> Iterator[Any]:
            context.add_callback(left.set)
            yield order("one")
            left.wait(20)

        def endless() -> Iterator[Any]:
            while not left.wait(0.01):
                yield item()

        with calling(servicer_with(Talk=talk)) as (stub, _):
            call = stub.Talk(endless())
            assert next(call) == order("one")
            assert call.is_active()
            assert call.add_callback(left.set)
            assert call.cancel()
            assert left.wait(20)
            assert call.code() is grpc.StatusCode.CANCELLED


class TestAround:
    def test_interceptors_of_servers_run_in_threads(self) -> None:
        seen: list[Any] = []

        class Noting(grpc.ServerInterceptor):  # type: ignore[misc]
            def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
                seen.append((handler_call_details.method, threading.current_thread().name[:5]))
                return continuation(handler_call_details)

        with calling(ThreadOrders(), interceptors=[Noting()]) as (stub, _):
            assert stub.Get(item("tea")) == order("tea")
            assert [one.text for one in stub.Talk(iter([item("a")]))] == ["a"]
        assert seen == [("/shop.v1.Orders/Get", "given"), ("/shop.v1.Orders/Talk", "given")]

    def test_interceptors_of_channels_are_put_around_by_grpcio(self) -> None:
        seen: list[Any] = []

        class Noting(grpc.UnaryUnaryClientInterceptor):  # type: ignore[misc]
            def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
                seen.append(details.method)
                return continuation(details, request)

        with calling(ThreadOrders()) as (_, channel):
            stub = generated().pb2_grpc.OrdersStub(grpc.intercept_channel(channel, Noting()))
            assert stub.Get(item("tea")) == order("tea")
            assert stub.Get.with_call(item("tea"))[0] == order("tea")
        assert seen == ["/shop.v1.Orders/Get"] * 2

    def test_an_interceptor_of_a_channel_sees_the_error_as_the_call(self) -> None:
        seen: list[Any] = []

        class Noting(grpc.UnaryUnaryClientInterceptor):  # type: ignore[misc]
            def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
                call = continuation(details, request)
                call.add_done_callback(lambda done: seen.append((done.code(), done.exception() is call)))
                return call

        def get(request: Any, context: Any) -> Any:
            context.abort(grpc.StatusCode.NOT_FOUND, "no tea")

        with calling(servicer_with(Get=get)) as (_, channel):
            stub = generated().pb2_grpc.OrdersStub(grpc.intercept_channel(channel, Noting()))
            for call in (stub.Get, stub.Get.with_call):
                with pytest.raises(grpc.RpcError, match="no tea"):
                    call(item("tea"))
        assert seen == [(grpc.StatusCode.NOT_FOUND, True)] * 2

    def test_a_channel_tells_of_its_state(self) -> None:
        states: list[Any] = []
        with calling(ThreadOrders()) as (_, channel):
            channel.subscribe(states.append, try_to_connect=True)
            wait_until(lambda: grpc.ChannelConnectivity.READY in states)
            channel.unsubscribe(states.append)
        assert states[0] is grpc.ChannelConnectivity.IDLE

    def test_a_watch_can_be_ended_before_its_start_has_returned(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with calling(ThreadOrders()) as (stub, channel):
            told: queue.SimpleQueue[Any] = queue.SimpleQueue()

            def tell(state: Any) -> None:
                channel.unsubscribe(tell)
                told.put(state)

            def submitted(thread: LoopThread, work: Any) -> Any:
                future = submit(thread, work)
                told.get(timeout=20)
                return future

            submit = LoopThread.submit
            with monkeypatch.context() as patched:
                patched.setattr(LoopThread, "submit", submitted)
                channel.subscribe(tell)
            stub.Get(item())
        assert told.empty()

    def test_a_callback_closes_its_channel(self) -> None:
        told = threading.Event()

        def get(request: Any, context: Any) -> Any:
            left = threading.Event()
            context.add_callback(left.set)
            left.wait(20)
            return order()

        with calling(servicer_with(Get=get)) as (stub, channel):

            def close(done: Any) -> None:
                channel.close()
                told.set()

            future, other = stub.Get.future(item()), stub.Get.future(item())
            future.add_done_callback(close)
            assert future.cancel()
            assert told.wait(20)
            assert other.code() is grpc.StatusCode.CANCELLED
            with pytest.raises(ValueError, match="closed"):
                stub.Get(item())

    def test_a_coder_does_not_wait_for_its_channel(self) -> None:
        refusals: list[str] = []
        with calling(ThreadOrders()) as (stub, channel):

            def decode(block: bytes) -> Any:
                with pytest.raises(RuntimeError, match="would wait for itself") as caught:
                    stub.Get(item())
                refusals.append(str(caught.value))
                channel.close()
                return generated().pb2.Order.FromString(block)

            get = channel.unary_unary(
                "/shop.v1.Orders/Get",
                request_serializer=generated().pb2.Item.SerializeToString,
                response_deserializer=decode,
            )
            assert get(item("tea")) == order("tea")
            with pytest.raises(ValueError, match="closed"):
                get(item("tea"))
        assert len(refusals) == 1

    def test_a_server_stops_once(self) -> None:
        server = fastrpc.grpc.server(ThreadPoolExecutor(1))
        server.add_insecure_port("127.0.0.1:0")
        server.start()
        assert server.wait_for_termination(0.01)
        assert server.stop(None).wait(20)
        assert server.stop(None).wait(20)
        assert not server.wait_for_termination()


class TestDrops:
    """A channel that is dropped without `close`."""

    @staticmethod
    def threads() -> set[threading.Thread]:
        return {one for one in threading.enumerate() if one.name.startswith("fastrpc grpc channel")}

    @contextmanager
    def ended(self, before: set[threading.Thread]) -> Iterator[None]:
        """Expect the warning, and the end of all threads that a channel has started."""
        started = self.threads() - before
        assert started
        with pytest.warns(ResourceWarning, match=r"unclosed <BlockingChannel of tcp://127\.0\.0\.1"):
            yield
            gc.collect()
            for thread in started:
                thread.join(20)
        assert not any(thread.is_alive() for thread in started)

    def test_its_threads_end_with_the_last_stub(self) -> None:
        before = self.threads()
        states: list[Any] = []
        with served(ThreadOrders()) as target:
            channel = fastrpc.grpc.insecure_channel(target)
            channel.subscribe(states.append, try_to_connect=True)
            wait_until(lambda: grpc.ChannelConnectivity.READY in states)
            stub = generated().pb2_grpc.OrdersStub(channel)
            del channel
            gc.collect()
            assert stub.Get(item("tea")) == order("tea")
            with self.ended(before):
                del stub
        assert grpc.ChannelConnectivity.SHUTDOWN not in states

    def test_a_call_under_way_continues(self) -> None:
        before = self.threads()
        goes_on = threading.Event()

        def get(request: Any, context: Any) -> Any:
            goes_on.wait(20)
            return order("tea")

        with served(servicer_with(Get=get)) as target:
            future = generated().pb2_grpc.OrdersStub(fastrpc.grpc.insecure_channel(target)).Get.future(item())
            gc.collect()
            goes_on.set()
            assert future.result(20) == order("tea")
            with self.ended(before):
                del future

    def test_a_stream_that_is_dropped_with_its_call_is_cancelled(self) -> None:
        before = self.threads()
        left = threading.Event()

        def talk(requests: Any, context: Any) -> Iterator[Any]:
            context.add_callback(left.set)
            yield order("one")
            left.wait(20)

        with served(servicer_with(Talk=talk)) as target:
            call = generated().pb2_grpc.OrdersStub(fastrpc.grpc.insecure_channel(target)).Talk(iter([item()]))
            assert next(call) == order("one")
            with self.ended(before):
                del call
            assert left.wait(20)

    def test_one_that_never_called_has_nothing_to_end(self) -> None:
        before = self.threads()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            fastrpc.grpc.insecure_channel("127.0.0.1:1")
            gc.collect()
        assert self.threads() == before
