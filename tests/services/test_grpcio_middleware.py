"""Much-used middleware of grpcio on our servers and channels: exceptions as statuses, metrics, traces."""

import importlib
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from prometheus_client import CollectorRegistry

import fastrpc.grpc
from fastrpc.grpc import aio, instrumentation
from tests.support.generated import generated
from tests.support.orders import AsyncOrders, ThreadOrders, item, order

pytestmark = pytest.mark.one_loop


def package(name: str, distribution: str) -> Any:
    """Return a module of a package; skips the test without it."""
    pytest.importorskip(
        name.partition(".")[0], reason=f"{distribution} is not installed; `make services` does it"
    )
    return importlib.import_module(name)


@contextmanager
def serving(servicer: Any, *interceptors: Any) -> Iterator[str]:
    """Serve a servicer by the server for threads; yield the target."""
    server = fastrpc.grpc.server(ThreadPoolExecutor(4), interceptors=interceptors)
    generated().pb2_grpc.add_OrdersServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait(20)


def stub_of(channel: Any) -> Any:
    return generated().pb2_grpc.OrdersStub(channel)


class TestGrpcInterceptor:
    def test_exceptions_are_statuses_in_threads(self) -> None:
        library = package("grpc_interceptor", "grpc-interceptor")
        errors = package("grpc_interceptor.exceptions", "grpc-interceptor")

        class Orders(ThreadOrders):
            def Get(self, request: Any, context: Any) -> Any:
                raise errors.NotFound("no such order")

            def Follow(self, request: Any, context: Any) -> Any:
                yield order("first")
                raise errors.Aborted("changed meanwhile")

        with serving(Orders(), library.ExceptionToStatusInterceptor()) as target:
            with fastrpc.grpc.insecure_channel(target) as channel:
                with pytest.raises(grpc.RpcError) as caught:
                    stub_of(channel).Get(item(), timeout=20)
                assert (caught.value.code(), caught.value.details()) == (
                    grpc.StatusCode.NOT_FOUND,
                    "no such order",
                )
                followed = stub_of(channel).Follow(item(), timeout=20)
                assert next(followed).text == "first"
                with pytest.raises(grpc.RpcError) as caught:
                    next(followed)
                assert caught.value.code() is grpc.StatusCode.ABORTED

    async def test_exceptions_are_statuses_on_the_loop(self) -> None:
        library = package("grpc_interceptor", "grpc-interceptor")
        errors = package("grpc_interceptor.exceptions", "grpc-interceptor")

        class Orders(AsyncOrders):
            async def Get(self, request: Any, context: Any) -> Any:
                raise errors.NotFound("no such order")

        server = aio.server(interceptors=[library.AsyncExceptionToStatusInterceptor()])
        generated().pb2_grpc.add_OrdersServicer_to_server(Orders(), server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            with pytest.raises(grpc.RpcError) as caught:
                await stub_of(channel).Get(item(), timeout=20)
            assert (caught.value.code(), caught.value.details()) == (
                grpc.StatusCode.NOT_FOUND,
                "no such order",
            )
            assert [one.total async for one in stub_of(channel).Follow(item(count=2))] == [0, 1]
        await server.stop(None)


def test_py_grpc_prometheus_counts_calls_of_both_sides() -> None:
    servers = package("py_grpc_prometheus.prometheus_server_interceptor", "py-grpc-prometheus")
    clients = package("py_grpc_prometheus.prometheus_client_interceptor", "py-grpc-prometheus")

    class Orders(ThreadOrders):
        def Get(self, request: Any, context: Any) -> Any:
            if request.name == "none":
                context.set_code(grpc.StatusCode.NOT_FOUND)
            return order()

    here, there = CollectorRegistry(), CollectorRegistry()
    with serving(Orders(), servers.PromServerInterceptor(registry=there)) as target:
        with fastrpc.grpc.insecure_channel(target) as made:
            channel = grpc.intercept_channel(made, clients.PromClientInterceptor(registry=here))
            stub_of(channel).Get(item("tea"), timeout=20)
            with pytest.raises(grpc.RpcError):
                stub_of(channel).Get(item("none"), timeout=20)
            assert len(list(stub_of(channel).Follow(item(count=3), timeout=20))) == 3
    labels = {"grpc_type": "UNARY", "grpc_service": "shop.v1.Orders", "grpc_method": "Get"}
    for code in ("OK", "NOT_FOUND"):
        assert there.get_sample_value("grpc_server_handled_total", {**labels, "grpc_code": code}) == 1
    assert here.get_sample_value("grpc_client_started_total", labels) == 2
    sent = {"grpc_type": "SERVER_STREAMING", "grpc_service": "shop.v1.Orders", "grpc_method": "Follow"}
    assert there.get_sample_value("grpc_server_msg_sent_total", sent) == 3


class Tracing:
    """The tracer of a test, and the spans that it has ended."""

    def __init__(self) -> None:
        sdk = package("opentelemetry.sdk.trace", "opentelemetry-sdk")
        export = package("opentelemetry.sdk.trace.export", "opentelemetry-sdk")
        memory = package("opentelemetry.sdk.trace.export.in_memory_span_exporter", "opentelemetry-sdk")
        self.provider = sdk.TracerProvider()
        self.exporter = memory.InMemorySpanExporter()
        self.provider.add_span_processor(export.SimpleSpanProcessor(self.exporter))

    def traces(self) -> set[int]:
        """Return the traces of all spans."""
        return {span.context.trace_id for span in self.exporter.get_finished_spans()}

    def kinds(self) -> list[str]:
        """Return the kinds of all spans, sorted."""
        return sorted(span.kind.name for span in self.exporter.get_finished_spans())


@pytest.fixture
def tracing(monkeypatch: pytest.MonkeyPatch) -> Tracing:
    package("opentelemetry.instrumentation", "opentelemetry-instrumentation-grpc")
    monkeypatch.setattr(instrumentation, "_told", set())
    return Tracing()


class TestOpenTelemetry:
    def test_its_instrumentors_are_warned_of_and_its_interceptors_carry_the_trace(
        self, tracing: Tracing, caplog: pytest.LogCaptureFixture
    ) -> None:
        library = package("opentelemetry.instrumentation.grpc", "opentelemetry-instrumentation-grpc")
        seen: list[Any] = []

        class Orders(ThreadOrders):
            def Get(self, request: Any, context: Any) -> Any:
                seen.append(dict(context.invocation_metadata()).get("traceparent"))
                return order()

        parts = library.GrpcInstrumentorServer(), library.GrpcInstrumentorClient()
        for one in parts:
            one.instrument(tracer_provider=tracing.provider)
        try:
            with caplog.at_level(logging.WARNING, "fastrpc.grpc"), serving(Orders()) as target:
                fastrpc.grpc.insecure_channel(target).close()
        finally:
            for one in parts:
                one.uninstrument()
        texts = [record.getMessage() for record in caplog.records]
        assert any("server_interceptor()" in text for text in texts)
        assert any("client_interceptor()" in text for text in texts)

        interceptor = library.server_interceptor(tracer_provider=tracing.provider)
        with serving(Orders(), interceptor) as target, fastrpc.grpc.insecure_channel(target) as made:
            traced = library.client_interceptor(tracer_provider=tracing.provider)
            channel = library.grpcext.intercept_channel(made, traced)
            stub_of(channel).Get(item(), timeout=20)
        assert tracing.kinds() == ["CLIENT", "SERVER"]
        assert len(tracing.traces()) == 1
        assert seen[-1].split("-")[1] == f"{tracing.traces().pop():032x}"

    async def test_interceptors_of_the_loop_likewise(
        self, tracing: Tracing, caplog: pytest.LogCaptureFixture
    ) -> None:
        library = package("opentelemetry.instrumentation.grpc", "opentelemetry-instrumentation-grpc")
        parts = library.GrpcAioInstrumentorServer(), library.GrpcAioInstrumentorClient()
        for one in parts:
            one.instrument(tracer_provider=tracing.provider)
        try:
            with caplog.at_level(logging.WARNING, "fastrpc.grpc"):
                aio.server()
                await aio.insecure_channel("127.0.0.1:1").close()
        finally:
            for one in parts:
                one.uninstrument()
        texts = [record.getMessage() for record in caplog.records]
        assert any("aio_server_interceptor()" in text for text in texts)
        assert any("aio_client_interceptors()" in text for text in texts)

        server = aio.server(interceptors=[library.aio_server_interceptor(tracer_provider=tracing.provider)])
        generated().pb2_grpc.add_OrdersServicer_to_server(AsyncOrders(), server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        interceptors = library.aio_client_interceptors(tracer_provider=tracing.provider)
        async with aio.insecure_channel(f"127.0.0.1:{port}", interceptors=interceptors) as channel:
            assert await stub_of(channel).Get(item("tea", 1)) == order("tea", 1)
            assert len([one async for one in stub_of(channel).Follow(item(count=2))]) == 2
        await server.stop(None)
        assert tracing.kinds() == ["CLIENT", "CLIENT", "SERVER", "SERVER"]
        assert len(tracing.traces()) == 2
