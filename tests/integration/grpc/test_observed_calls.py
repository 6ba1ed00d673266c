"""Calls by gRPC in metrics, logs, traces and the state of a server."""

import logging

import pytest

import fastrpc.interceptors
import fastrpc.metrics
from fastrpc import Server, ServerConfig
from fastrpc.interceptors import AccessLog
from tests.integration.grpc.test_unary_calls import ECHO, channel
from tests.support.grpc_peer import grpc_peer
from tests.support.raw_methods import Raw
from tests.support.scrapes import scraped
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

CONFIG = ServerConfig(protocols=("native", "grpc"))


async def test_metrics_have_the_label_of_the_protocol() -> None:
    prometheus = pytest.importorskip("prometheus_client")
    registry = prometheus.CollectorRegistry()
    registry.register(fastrpc.metrics.collector())
    async with Server(Raw(), config=CONFIG) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        async with grpc_peer(address) as peer:
            await peer.call(ECHO, b"x")
            await peer.call("/test.v1.Raw/nope", b"x")
            text = prometheus.generate_latest(registry).decode()
            labels = 'method="echo",protocol="grpc",service="test.v1.Raw",status="OK"'
            assert f"fastrpc_server_calls_total{{{labels}}}" in text
            assert 'method="_other",protocol="grpc",service="_other",status="UNIMPLEMENTED"' in text
            assert 'fastrpc_server_connections{protocol="grpc",transport="tcp"} 1' in text


async def test_fields_that_are_no_metadata_are_counted() -> None:
    pytest.importorskip("prometheus_client")
    async with Server(Raw(), config=CONFIG) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        before = scraped("fastrpc_dropped_metadata_total", protocol="grpc") or 0.0
        async with grpc_peer(address) as peer:
            assert (
                await peer.call(ECHO, b"x", [("a!b", "1"), ("x-bad-bin", "%"), ("kept", "1")])
            ).status == 0
        assert scraped("fastrpc_dropped_metadata_total", protocol="grpc") == before + 2


async def test_the_access_log_has_the_protocol_and_the_id_of_the_caller(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "fastrpc.access")
    async with Server(Raw(), config=CONFIG, interceptors=[AccessLog()]) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        async with grpc_peer(address) as peer:
            await peer.call(ECHO, b"x", [("frpc-request-id", "one-2")])
            await eventually(lambda: caplog.records)
    [record] = [record for record in caplog.records if record.name == "fastrpc.access"]
    assert (record.method, record.request_id) == ("test.v1.Raw.echo", "one-2")  # type: ignore[attr-defined]


async def test_spans_follow_the_conventions_of_grpc() -> None:
    pytest.importorskip("opentelemetry.sdk")
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    spans = fastrpc.interceptors.OpenTelemetry(tracer_provider=tracers)
    async with Server(Raw(), config=CONFIG, interceptors=[spans]) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        async with channel(address) as client, fastrpc.Client(address) as native:
            parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
            await client.unary_unary(ECHO)(b"x", metadata=(("traceparent", parent),))
            await native.call(Raw.echo, b"x")
            await eventually(lambda: len(exporter.get_finished_spans()) == 2)
    tracers.shutdown()
    found, other = exporter.get_finished_spans()
    assert found.attributes == {
        "rpc.system.name": "grpc",
        "rpc.method": "test.v1.Raw/echo",
        "rpc.status_code": "OK",
    }
    assert found.context is not None
    assert f"{found.context.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"
    assert other.attributes is not None
    assert other.attributes["rpc.system.name"] == "fastrpc"
