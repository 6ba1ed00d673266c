"""Spans and durations of calls, with the SDK of OpenTelemetry and its exporters in memory."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import fastrpc
from fastrpc import CallError, Client, Server, Status, SyncClient, UnavailableError, current_call
from fastrpc.interceptors import AccessLog, OpenTelemetry
from fastrpc.registries import StaticRegistry
from tests.support.either_client import CLIENTS, connected, either, taken
from tests.support.served import SCHEMES, served
from tests.support.waiting import eventually
from tests.test_import import report_of_an_import

pytest.importorskip("opentelemetry.sdk")

from opentelemetry import baggage, context, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

pytestmark = pytest.mark.one_loop


@fastrpc.service("shop.v1")
class Shop:
    def __init__(self, behind: Any = None) -> None:
        self._behind = behind
        self.refusals = 0

    @fastrpc.method
    async def same(self, text: str) -> str:
        return text

    @fastrpc.method
    async def nested(self) -> str:
        async with fastrpc.timeout(10):
            return str(await self._behind.call(Shop.same, "deep"))

    @fastrpc.method
    def nested_in_a_thread(self) -> str:
        return str(self._behind.call(Shop.same, "deep"))

    @fastrpc.method
    async def fail(self, status: str) -> None:
        raise CallError(Status[status], "it fails")

    @fastrpc.method(idempotent=True)
    async def unsure(self) -> int:
        self.refusals += 1
        if self.refusals < 3:
            raise CallError(Status.UNAVAILABLE, "not yet", retry_after=0.001)
        return self.refusals

    @fastrpc.method
    async def count(self, to: int) -> AsyncIterator[int]:
        for number in range(to):
            yield number

    @fastrpc.method
    async def gather(self, numbers: AsyncIterator[int]) -> int:
        return sum([number async for number in numbers])

    @fastrpc.method
    async def carried(self) -> dict[str, str]:
        return {**current_call().metadata, "tenant": str(baggage.get_baggage("tenant"))}


class Recorded:
    """The records of the SDK, and an interceptor for both sides that makes it record."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.reader = InMemoryMetricReader()
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.meters = MeterProvider([self.reader], shutdown_on_exit=False)
        self.interceptor = OpenTelemetry(tracer_provider=self.tracers, meter_provider=self.meters)

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self.exporter.get_finished_spans()

    async def ended(self, count: int) -> tuple[ReadableSpan, ...]:
        """Return the spans once there are `count` of them: a server may end its own after the answer."""
        await eventually(lambda: len(self.spans) >= count)
        assert len(self.spans) == count
        return self.spans

    def points(self) -> dict[str, list[Any]]:
        """Return the points of each metric."""
        data = self.reader.get_metrics_data()
        return {
            metric.name: list(metric.data.data_points)
            for resource in (data.resource_metrics if data else [])
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    found = Recorded()
    yield found
    found.tracers.shutdown()
    found.meters.shutdown()


def of(spans: tuple[ReadableSpan, ...], kind: SpanKind) -> ReadableSpan:
    (found,) = [span for span in spans if span.kind is kind]
    return found


def id_of(span: ReadableSpan) -> int:
    assert span.context is not None
    return span.context.span_id


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_client_and_server_are_one_trace(scheme: str, recorded: Recorded) -> None:
    async with (
        served(Shop, scheme=scheme, interceptors=[recorded.interceptor]) as target,
        Client(target, interceptors=[recorded.interceptor]) as client,
    ):
        await client.call(Shop.same, "x")
        spans = await recorded.ended(2)
    caller, server = of(spans, SpanKind.CLIENT), of(spans, SpanKind.SERVER)
    assert {span.name for span in spans} == {"shop.v1/same"}
    assert caller.parent is None
    assert server.parent is not None
    assert server.parent.span_id == id_of(caller)
    assert server.parent.is_remote
    assert caller.context is not None
    assert server.context is not None
    assert caller.context.trace_id == server.context.trace_id
    usual = {"rpc.system.name": "fastrpc", "rpc.method": "shop.v1/same", "rpc.status_code": "OK"}
    assert server.attributes == usual
    address = fastrpc.Address.parse(target)
    place = {"address": "127.0.0.1", "port": address.port} if scheme == "tcp" else {"address": address.path}
    assert caller.attributes == usual | {
        f"{group}.{name}": value for group in ("server", "network.peer") for name, value in place.items()
    }
    assert [span.status.status_code for span in spans] == [StatusCode.UNSET] * 2
    assert {scope.schema_url for span in spans if (scope := span.instrumentation_scope)} == {
        "https://opentelemetry.io/schemas/1.45.0"
    }


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize("way", ["nested", "nested_in_a_thread"])
async def test_a_nested_call_is_part_of_the_trace(kind: str, way: str, recorded: Recorded) -> None:
    one = recorded.interceptor
    async with served(Shop, scheme="tcp", interceptors=[one]) as behind:
        async with Client(behind, interceptors=[one]) as to_behind:
            with SyncClient(behind, interceptors=[one]) as blocking:
                shop = Shop(to_behind if way == "nested" else blocking)
                async with either(kind, shop, server_interceptors=[one], interceptors=[one]) as client:
                    assert await client.call(f"shop.v1.{way}") == "deep"
                    spans = await recorded.ended(4)
    by_id = {id_of(span): span for span in spans}
    (leaf,) = [span for span in spans if span.kind is SpanKind.SERVER and span.name == "shop.v1/same"]
    chain = []
    span: ReadableSpan | None = leaf
    while span is not None:
        chain.append((span.kind, span.name))
        span = by_id[span.parent.span_id] if span.parent is not None else None
    assert chain == [
        (SpanKind.SERVER, "shop.v1/same"),
        (SpanKind.CLIENT, "shop.v1/same"),
        (SpanKind.SERVER, f"shop.v1/{way}"),
        (SpanKind.CLIENT, f"shop.v1/{way}"),
    ]
    assert len({one.context.trace_id for one in spans if one.context}) == 1


async def test_a_call_belongs_to_the_span_around_it(recorded: Recorded) -> None:
    tracer = recorded.tracers.get_tracer("test")
    async with served(Shop) as target, Client(target, interceptors=[recorded.interceptor]) as client:
        with tracer.start_as_current_span("outer") as outer:
            metadata = await client.call(Shop.carried)
            await client.call_many(Shop.same, [("a",), ("b",)])
        assert trace.get_current_span() is trace.INVALID_SPAN
    calls = [span for span in recorded.spans if span.kind is SpanKind.CLIENT]
    assert len(calls) == 3
    assert {span.parent.span_id for span in calls if span.parent} == {outer.get_span_context().span_id}
    assert re.fullmatch(
        f"00-{outer.get_span_context().trace_id:032x}-{id_of(calls[0]):016x}-0[13]", metadata["traceparent"]
    )


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize(
    ("status", "is_servers"),
    [("NOT_FOUND", False), ("PERMISSION_DENIED", False), ("INTERNAL", True), ("DATA_LOSS", True)],
)
async def test_a_failure_is_an_error_on_the_client_and_on_the_server_only_if_the_server_failed(
    kind: str, status: str, is_servers: bool, recorded: Recorded
) -> None:
    one = recorded.interceptor
    async with either(kind, Shop, server_interceptors=[one], interceptors=[one]) as client:
        with pytest.raises(CallError):
            await client.call(Shop.fail, status)
        spans = await recorded.ended(2)
    for span, is_error in ((of(spans, SpanKind.CLIENT), True), (of(spans, SpanKind.SERVER), is_servers)):
        assert span.attributes is not None
        assert span.attributes["rpc.status_code"] == status
        assert span.attributes.get("error.type") == (status if is_error else None)
        assert (span.status.status_code is StatusCode.ERROR) is is_error


@pytest.mark.parametrize("kind", CLIENTS)
async def test_attempts_are_events_of_one_span(kind: str, recorded: Recorded) -> None:
    async with either(kind, Shop, interceptors=[recorded.interceptor]) as client:
        assert await client.call(Shop.unsure) == 3
    (span,) = recorded.spans
    assert [event.name for event in span.events] == ["fastrpc.attempt"] * 3
    found = [dict(event.attributes or {}) for event in span.events]
    assert [one["fastrpc.attempt.number"] for one in found] == [0, 1, 2]
    assert {one["network.peer.address"] for one in found} == {"127.0.0.1"}


async def test_a_call_that_reaches_nobody_has_no_attempt(recorded: Recorded) -> None:
    async with Client("memory://nobody", interceptors=[recorded.interceptor]) as client:
        with pytest.raises(UnavailableError):
            await client.call(Shop.same, "x")
    (span,) = recorded.spans
    assert list(span.events) == []
    assert (span.attributes or {})["error.type"] == "UNAVAILABLE"


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_stream_is_one_span_on_each_side_until_its_end(kind: str, recorded: Recorded) -> None:
    one = recorded.interceptor
    async with either(kind, Shop, server_interceptors=[one], interceptors=[one]) as client:
        async with client.stream(Shop.count, 5) as stream:
            assert await stream.receive() == 0
            assert recorded.spans == () or {span.kind for span in recorded.spans} == {SpanKind.SERVER}
            await taken(stream)
        spans = await recorded.ended(2)
    caller, server = of(spans, SpanKind.CLIENT), of(spans, SpanKind.SERVER)
    assert server.parent is not None
    assert server.parent.span_id == id_of(caller)
    assert len(caller.events) == 1


async def test_a_stream_of_the_caller_and_one_way_calls_are_spans(recorded: Recorded) -> None:
    async def numbers() -> AsyncIterator[int]:
        yield 1
        yield 2

    one = recorded.interceptor
    async with served(Shop, interceptors=[one]) as target, Client(target, interceptors=[one]) as client:
        assert await client.call(Shop.gather, numbers()) == 3
        await client.notify(Shop.same, "x")
        spans = await recorded.ended(4)
    assert sorted((span.kind.name, span.name) for span in spans) == [
        ("CLIENT", "shop.v1/gather"),
        ("CLIENT", "shop.v1/same"),
        ("SERVER", "shop.v1/gather"),
        ("SERVER", "shop.v1/same"),
    ]


async def test_durations_are_histograms_of_seconds(recorded: Recorded) -> None:
    one = recorded.interceptor
    async with served(Shop, interceptors=[one]) as target, Client(target, interceptors=[one]) as client:
        for _ in range(3):
            await client.call(Shop.same, "x")
        await recorded.ended(6)
    points = recorded.points()
    assert set(points) == {"rpc.client.call.duration", "rpc.server.call.duration"}
    for found in points.values():
        (point,) = found
        assert point.count == 3
        assert point.explicit_bounds[0] == 0.005
        assert point.attributes["rpc.method"] == "shop.v1/same"
        assert point.attributes["rpc.status_code"] == "OK"


async def test_names_that_a_client_makes_up_are_a_bounded_number_of_series(recorded: Recorded) -> None:
    async with served(Shop) as target, Client(target, interceptors=[recorded.interceptor]) as client:
        for start in range(0, 1_100, 100):
            calls = [client.call(f"shop.v1.none{number}") for number in range(start, start + 100)]
            await asyncio.gather(*calls, return_exceptions=True)
    (points,) = recorded.points().values()
    assert len(points) == 1_001
    assert "_OTHER" in {point.attributes["rpc.method"] for point in points}
    assert not any("rpc.method_original" in point.attributes for point in points)
    others = [span for span in recorded.spans if (span.attributes or {})["rpc.method"] == "_OTHER"]
    assert {span.name for span in others} == {"fastrpc"}
    originals = [str((span.attributes or {})["rpc.method_original"]) for span in others]
    assert len(set(originals)) == len(others) == 100
    assert all(re.fullmatch(r"shop\.v1/none\d+", one) for one in originals)


@pytest.mark.parametrize("kind", CLIENTS)
async def test_metrics_name_the_target_and_spans_the_server_of_the_last_attempt(
    kind: str, recorded: Recorded
) -> None:
    async with served(Shop, scheme="tcp") as first, served(Shop, scheme="tcp") as second:
        ports = {fastrpc.Address.parse(one).port for one in (first, second)}
        registry = StaticRegistry({"shop": [first, second]})
        for target, options, name in (
            ("shop", {"registry": registry}, "shop"),
            ([first, second], {}, f"{first}, {second}"),
        ):
            recorded.exporter.clear()
            async with connected(kind, target, interceptors=[recorded.interceptor], **options) as client:
                for _ in range(4):
                    await client.call(Shop.same, "x")
            found = [dict(span.attributes or {}) for span in recorded.spans]
            assert {one["server.address"] for one in found} == {name}
            assert not any("server.port" in one for one in found)
            assert {one["network.peer.address"] for one in found} == {"127.0.0.1"}
            assert {one["network.peer.port"] for one in found} == ports
    points = recorded.points()["rpc.client.call.duration"]
    assert sorted(point.count for point in points) == [4, 4]
    assert not any("network.peer.address" in point.attributes for point in points)


@pytest.mark.parametrize("kind", CLIENTS)
async def test_calls_by_grpc_are_of_its_system_on_both_sides(kind: str, recorded: Recorded) -> None:
    one = recorded.interceptor
    config = fastrpc.ServerConfig(protocols=("native", "grpc"))
    async with served(Shop, scheme="tcp", config=config, interceptors=[one]) as target:
        async with connected(kind, target.replace("tcp://", "grpc://"), interceptors=[one]) as client:
            await client.call(Shop.same, "x")
            spans = await recorded.ended(2)
    assert {(span.attributes or {})["rpc.system.name"] for span in spans} == {"grpc"}


async def test_baggage_travels(recorded: Recorded) -> None:
    one = recorded.interceptor
    async with served(Shop, interceptors=[one]) as target, Client(target, interceptors=[one]) as client:
        token = context.attach(baggage.set_baggage("tenant", "acme"))
        try:
            assert (await client.call(Shop.carried))["tenant"] == "acme"
        finally:
            context.detach(token)
        assert (await client.call(Shop.carried))["tenant"] == "None"


async def test_without_an_sdk_a_trace_passes_through() -> None:
    """The API alone records nothing, and passes the trace on."""
    one = OpenTelemetry(tracer_provider=trace.NoOpTracerProvider())

    @fastrpc.service("front")
    class Front:
        @fastrpc.method
        async def carried(self) -> dict[str, str]:
            found = await to_last.call(Shop.carried)
            return dict(found)

    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with (
        served(Shop) as last,
        Client(last, interceptors=[one]) as to_last,
        served(Front, interceptors=[one]) as first,
        Client(first) as client,
    ):
        assert "traceparent" not in await client.call(Front.carried)
        traced = client.with_options(metadata={"traceparent": parent})
        assert (await traced.call(Front.carried))["traceparent"] == parent


async def test_a_broken_trace_context_of_a_caller_begins_a_new_trace(recorded: Recorded) -> None:
    async with served(Shop, interceptors=[recorded.interceptor]) as target, Client(target) as client:
        for broken in ("", "nonsense", "00-" + "0" * 32 + "-b7ad6b7169203331-01", "x" * 5_000):
            await client.with_options(metadata={"traceparent": broken}).call(Shop.same, "x")
        spans = await recorded.ended(4)
    assert [span.parent for span in spans] == [None] * 4


async def test_the_access_log_names_the_trace(recorded: Recorded, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "fastrpc.access")
    interceptors = [AccessLog(), recorded.interceptor]
    async with served(Shop, interceptors=interceptors) as target, Client(target) as client:
        await client.call(Shop.same, "x")
        (span,) = await recorded.ended(1)
        await eventually(lambda: caplog.records)
    assert span.context is not None
    assert [vars(record)["trace_id"] for record in caplog.records] == [f"{span.context.trace_id:032x}"]


async def test_calls_of_a_server_to_its_client_are_part_of_the_trace(recorded: Recorded) -> None:
    @fastrpc.service("desk")
    class Desk:
        @fastrpc.method
        async def ask(self) -> str:
            client = current_call().peer.client
            assert client is not None
            return str(await client.call(Shop.same, "back"))

    one = recorded.interceptor
    async with Server(Desk, interceptors=[one]) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        async with Client(str(address), services=[Shop()], interceptors=[one]) as client:
            assert await client.call("desk.ask") == "back"
            await eventually(lambda: len(recorded.spans) >= 3)
    kinds = sorted((span.kind.name, span.name) for span in recorded.spans)
    assert kinds == [("CLIENT", "desk/ask"), ("SERVER", "desk/ask"), ("SERVER", "shop.v1/same")]


# Imported modules


def test_open_telemetry_is_imported_only_if_it_is_used() -> None:
    report = report_of_an_import("from fastrpc.interceptors import AccessLog, OpenTelemetry; AccessLog()")
    assert not any(name.partition(".")[0] == "opentelemetry" for name in report["modules"])
    report = report_of_an_import("from fastrpc.interceptors import OpenTelemetry; OpenTelemetry()")
    assert "opentelemetry.trace" in report["modules"]
    assert not any(name.startswith("opentelemetry.sdk") for name in report["modules"])


def test_a_missing_package_is_named_with_its_extra() -> None:
    before = "import sys; sys.modules['opentelemetry'] = None"
    statement = (
        "import fastrpc.interceptors as i\n"
        "try: i.OpenTelemetry()\n"
        "except Exception as error: found = f'{type(error).__name__} {error}'\n"
        "assert found.startswith('ConfigError') and 'fastrpc[otel]' in found, found"
    )
    report_of_an_import(statement, before)
