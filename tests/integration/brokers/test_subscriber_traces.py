"""Publisher and handler are one trace, and deliveries are in metrics and the access log."""

import logging
from typing import Any

import pytest

import fastrpc
from fastrpc import Client, Server, Topic, current_call
from fastrpc.brokers import current_broker
from fastrpc.interceptors import AccessLog, OpenTelemetry
from fastrpc.testing import broker

pytest.importorskip("opentelemetry.sdk")

from opentelemetry import baggage, context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

pytestmark = pytest.mark.one_loop

ORDERS = Topic("orders.new", dict[str, int])


@fastrpc.service("shop")
class Shop:
    def __init__(self) -> None:
        self.seen: list[Any] = []

    @fastrpc.method
    async def order(self, price: int) -> bool:
        await current_broker().publish(ORDERS, {"price": price})
        return True

    @fastrpc.subscriber(ORDERS)
    async def bill(self, message: fastrpc.Message[dict[str, int]]) -> None:
        self.seen.append(
            (dict(message.headers), dict(current_call().metadata), baggage.get_baggage("tenant"))
        )


async def test_publisher_and_handler_are_one_trace() -> None:
    exporter, tracers = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    around = OpenTelemetry(tracer_provider=tracers)
    shop = Shop()
    async with (
        broker() as steered,
        Server(shop, broker=steered, interceptors=[around]) as server,
        Client(str(await server.listen("memory://traced")), interceptors=[around]) as client,
    ):
        token = context.attach(baggage.set_baggage("tenant", "acme"))
        try:
            assert await client.call(Shop.order, 40)
        finally:
            context.detach(token)
        await steered.settled()
    tracers.shutdown()
    spans = {(span.name, span.kind.name): span for span in exporter.get_finished_spans()}
    published, handled = spans["shop/order", "SERVER"], spans["shop/bill", "SERVER"]
    assert published.context is not None
    assert handled.context is not None
    assert handled.parent is not None
    assert handled.context.trace_id == published.context.trace_id
    assert handled.parent.span_id == published.context.span_id
    [(headers, metadata, tenant)] = shop.seen
    # Headers of our own stay hidden from subscribers.
    assert headers == {"content-type": "application/json"}
    assert "traceparent" in metadata
    assert tenant == "acme"


async def test_message_without_a_trace_has_no_further_header() -> None:
    shop = Shop()
    async with broker() as steered, Server(shop, broker=steered):
        await steered.publish(ORDERS, {"price": 1}, headers={"tenant": "acme"})
        await steered.settled()
    [(headers, metadata, _)] = shop.seen
    assert headers == metadata == {"content-type": "application/json", "tenant": "acme"}


async def test_delivery_is_in_the_access_log_and_the_counters(caplog: pytest.LogCaptureFixture) -> None:
    from fastrpc._core.base.histogram import default_registry

    caplog.set_level(logging.INFO, "fastrpc.access")
    counters = default_registry.counters("shop.bill", "server", "messages")
    before = counters.ended_calls
    async with broker() as steered, Server(Shop(), broker=steered, interceptors=[AccessLog()]):
        await steered.publish(ORDERS, {"price": 1})
        await steered.settled()
    assert counters.ended_calls == before + 1
    assert any("shop.bill" in record.getMessage() for record in caplog.records)
