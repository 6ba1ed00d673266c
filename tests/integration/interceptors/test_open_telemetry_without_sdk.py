"""OpenTelemetry's API without an SDK: calls take the path of calls without interceptors unless they carry a trace."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

import fastrpc
from fastrpc import Call, Client, Proceed, SyncClient, current_call
from fastrpc.interceptors import AccessLog, OpenTelemetry
from tests.support.served import SCHEMES, served

pytest.importorskip("opentelemetry.trace")

from opentelemetry import baggage, context, metrics, trace

pytestmark = pytest.mark.one_loop

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Counted(OpenTelemetry):
    """Counts the calls that it runs around."""

    def __init__(self, **providers: Any) -> None:
        super().__init__(**providers)
        self.runs = 0

    async def __call__(self, call: Call, proceed: Proceed) -> Any:
        self.runs += 1
        return await super().__call__(call, proceed)


@fastrpc.service("shop")
class Shop:
    def __init__(self, behind: Any = None) -> None:
        self._behind = behind

    @fastrpc.method
    async def same(self, text: str) -> str:
        return text

    @fastrpc.method
    async def count(self, to: int) -> AsyncIterator[int]:
        for number in range(to):
            yield number

    @fastrpc.method
    async def carried(self) -> dict[str, str]:
        seen = f"{trace.get_current_span().get_span_context().trace_id:032x}"
        return {**current_call().metadata, "seen": seen, "tenant": str(baggage.get_baggage("tenant"))}

    @fastrpc.method
    async def nested(self) -> dict[str, str]:
        return dict(await self._behind.call(Shop.carried))

    @fastrpc.method
    def nested_in_a_thread(self) -> dict[str, str]:
        return dict(self._behind.call(Shop.carried))


@pytest.mark.parametrize(
    "providers",
    [
        {},
        {"tracer_provider": trace.NoOpTracerProvider(), "meter_provider": metrics.NoOpMeterProvider()},
    ],
    ids=["no provider", "providers that do nothing"],
)
@pytest.mark.parametrize("scheme", SCHEMES)
async def test_calls_without_a_trace_run_no_interceptor(scheme: str, providers: dict[str, Any]) -> None:
    own, theirs = Counted(**providers), Counted(**providers)

    def block(target: str) -> None:
        with SyncClient(target, interceptors=[own]) as client:
            client.ready(timeout=10)
            assert client.call(Shop.same, "x") == "x"
            assert client.call_many(Shop.same, [("x",), ("y",)]) == ["x", "y"]
            client.notify(Shop.same, "x")

    async with served(Shop, scheme=scheme, interceptors=[theirs]) as target:
        async with Client(target, interceptors=[own]) as client:
            await client.ready(timeout=10)
            assert await client.call(Shop.same, "x") == "x"
            assert (await client.request("shop.same", "x")).value == "x"
            assert await client.call_many(Shop.same, [("x",), ("y",)]) == ["x", "y"]
            await client.notify(Shop.same, "x")
            assert await client.with_options(metadata={"own": "y"}).call(Shop.same, "x") == "x"
            async with client.stream(Shop.count, 3) as numbers:
                assert [number async for number in numbers] == [0, 1, 2]
        ran_before = own.runs
        if scheme != "memory":
            await asyncio.to_thread(block, target)
    # Only the stream of the asynchronous client: streams go through Python in any case.
    assert (ran_before, own.runs, theirs.runs) == (1, 1, 0)


@pytest.mark.parametrize("way", ["nested", "nested_in_a_thread"])
async def test_a_trace_of_the_caller_is_seen_and_carried_on(way: str) -> None:
    own, theirs = Counted(), Counted()
    async with served(Shop, scheme="tcp", interceptors=[theirs]) as last:
        async with Client(last, interceptors=[own]) as to_last:
            with SyncClient(last, interceptors=[own]) as blocking:
                # Calls that wait for a connection run it in any case.
                await to_last.ready(timeout=10)
                await asyncio.to_thread(blocking.ready, 10)
                behind = to_last if way == "nested" else blocking
                async with (
                    served(Shop(behind), scheme="tcp", interceptors=[theirs]) as first,
                    Client(first) as client,
                ):
                    found = await client.call(f"shop.{way}")
                    assert "traceparent" not in found
                    traced = client.with_options(metadata={"traceparent": PARENT, "tracestate": "a=1"})
                    found = await traced.call(f"shop.{way}")
                    assert (found["traceparent"], found["tracestate"]) == (PARENT, "a=1")
                    assert found["seen"] == PARENT.split("-")[1]
                    assert "traceparent" not in await client.call(f"shop.{way}")
    assert (own.runs, theirs.runs) == (1, 2)


async def test_the_context_of_the_caller_is_carried() -> None:
    own = Counted()
    async with served(Shop, interceptors=[OpenTelemetry()]) as target:
        async with Client(target, interceptors=[own]) as client:
            await client.ready(timeout=10)
            token = context.attach(baggage.set_baggage("tenant", "acme"))
            try:
                assert (await client.call(Shop.carried))["tenant"] == "acme"
                assert (await client.call_many(Shop.carried, [()]))[0]["tenant"] == "acme"
            finally:
                context.detach(token)
            assert (await client.call(Shop.carried))["tenant"] == "None"
    assert own.runs == 2


async def test_a_request_id_alone_runs_no_interceptor() -> None:
    second = Counted()
    async with (
        served(Shop, interceptors=[second]) as last,
        Client(last) as to_last,
        served(Shop(to_last), interceptors=[AccessLog()]) as first,
        Client(first) as client,
    ):
        # The key is reserved: a program does not see it.
        assert set(await client.call(Shop.nested)) == {"seen", "tenant"}
    assert second.runs == 0


async def test_other_interceptors_run_next_to_it() -> None:
    seen: list[tuple[str, str | None]] = []

    async def note(call: Call, proceed: Proceed) -> Any:
        try:
            return await proceed(call)
        finally:
            seen.append((call.side, None if call.status is None else call.status.name))

    around = [OpenTelemetry(), note]
    async with served(Shop, interceptors=around) as target, Client(target, interceptors=around) as client:
        assert await client.call(Shop.same, "x") == "x"
        assert await client.call_many(Shop.same, [("y",)]) == ["y"]
    assert sorted(seen) == [("client", "OK")] * 2 + [("server", "OK")] * 2


PROVIDER_LATER = """
import asyncio

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from fastrpc.interceptors import OpenTelemetry
from fastrpc.testing import connected
from tests.integration.interceptors.test_open_telemetry_without_sdk import Shop


async def main():
    spans, reader, both = InMemorySpanExporter(), InMemoryMetricReader(), [OpenTelemetry()]
    async with connected(Shop(), interceptors=both, client_interceptors=both) as client:
        await client.call(Shop.same, "x")
        if "TRACES" in WHAT:
            provider = TracerProvider(shutdown_on_exit=False)
            provider.add_span_processor(SimpleSpanProcessor(spans))
            trace.set_tracer_provider(provider)
        if "METRICS" in WHAT:
            metrics.set_meter_provider(MeterProvider([reader], shutdown_on_exit=False))
        await client.call(Shop.same, "x")
        await client.call_many(Shop.same, [("x",)])
    data = reader.get_metrics_data() if "METRICS" in WHAT else None
    points = [
        point.count
        for resource in (data.resource_metrics if data else [])
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
    ]
    print(sorted(span.kind.name for span in spans.get_finished_spans()), points)


asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("what", "disabled", "printed"),
    [
        ("TRACES", "", "['CLIENT', 'CLIENT', 'SERVER', 'SERVER'] []"),
        ("METRICS", "", "[] [2, 2]"),
        ("TRACES METRICS", "", "['CLIENT', 'CLIENT', 'SERVER', 'SERVER'] [2, 2]"),
        ("TRACES METRICS", "true", "[] []"),
    ],
)
def test_a_provider_that_is_set_later_counts_from_the_next_call_on(
    what: str, disabled: str, printed: str
) -> None:
    pytest.importorskip("opentelemetry.sdk")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run(
        [sys.executable, "-c", f"WHAT = {what!r}\n{PROVIDER_LATER}"],
        capture_output=True,
        text=True,
        check=False,
        env=inherited | {"OTEL_SDK_DISABLED": disabled, "PYTHONPATH": ":".join(filter(None, sys.path))},
    )
    assert (done.stdout.strip(), done.returncode) == (printed, 0), done.stderr
