"""Refusals by reason, as Prometheus reads them."""

import asyncio
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry

import fastrpc
from fastrpc import Client
from fastrpc._core.base.histogram import REFUSALS
from fastrpc.limits import ConcurrencyLimit, RateLimit
from fastrpc.metrics import collector
from tests.support.kept_connection import KeptConnection, gate_for
from tests.support.served import served
from tests.support.shop import Shop
from tests.support.waiting import eventually

#: So few calls that no test sees another one become free.
RARE = 0.001


@pytest.fixture(autouse=True)
def nothing_counted() -> Iterator[None]:
    REFUSALS.update(dict.fromkeys(REFUSALS, 0))
    yield
    REFUSALS.update(dict.fromkeys(REFUSALS, 0))


def counted() -> dict[str, float]:
    """Return the reasons that a scrape of the whole process shows."""
    registry = CollectorRegistry()
    registry.register(collector())
    return {
        sample.labels["reason"]: sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == "fastrpc_server_refused_total" and sample.value
    }


async def test_limits_count_by_their_kind() -> None:
    limits = [RateLimit(RARE, 1, methods="shop.price"), ConcurrencyLimit(1, methods="shop.pack")]
    shop = Shop()
    async with served(shop, limits=limits) as target, Client(target) as client:
        view = client.with_options(fail_mode="failfast")
        calls = [view.call(name, "tea") for name in ["shop.price"] * 3 + ["shop.pack"] * 2]
        waiting = asyncio.ensure_future(asyncio.gather(*calls, return_exceptions=True))
        await eventually(lambda: (REFUSALS["rate"], REFUSALS["concurrency"]) == (2, 1))
        shop.go_on.set()
        found = await waiting
    assert sum(isinstance(one, fastrpc.OverloadedError) for one in found) == 3
    assert counted() == {"rate": 2, "concurrency": 1}


async def test_arguments_queue_and_drain_have_separate_reasons() -> None:
    config = fastrpc.ServerConfig(admission=fastrpc.Admission(queue_length=1))
    async with gate_for(Shop, config=config) as gate:
        connection = KeptConnection(gate)
        connection.call("shop.price", 7)
        gate.weigh_output(connection, 64 << 20)
        connection.call("shop.price", "tea")
        connection.call("shop.price", "tea")
        connection.note_drain()
        connection.call("shop.price", "tea")
        assert counted() == {"decode": 1, "queue": 1, "drain": 1}
        gate.connection_lost(connection)
