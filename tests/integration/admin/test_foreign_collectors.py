"""Collectors of the program that fail, raise what ends threads, or hang: the other metrics and pages stay."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import prometheus_client
import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

import fastrpc
from fastrpc.server.admin import pages
from tests.support.admin_pages import page, server_with_pages

pytestmark = pytest.mark.one_loop

#: The pages besides the metrics.
OTHERS = (
    *("/", "/calls", "/connections", "/services", "/config", "/store"),
    *("/endpoints", "/ended", "/logs", "/figures", "/stacks"),
)


@fastrpc.service("paged")
class Paged:
    @fastrpc.method
    async def find(self, number: int) -> int:
        return number


class Failing(Collector):
    """A collector of the program that raises in the middle."""

    def collect(self) -> Iterator[Metric]:
        yield Metric("shown_before", "Of a test.", "gauge")
        raise LookupError("no database")


class Unwritable(Collector):
    """A collector whose metric has a value that is not a number."""

    def collect(self) -> Iterator[Metric]:
        metric = Metric("unwritable", "Of a test.", "gauge")
        metric.add_sample("unwritable", {}, "many")  # type: ignore[arg-type]
        yield metric


@contextmanager
def noted(collector: Collector) -> Iterator[None]:
    """Register a collector that fails: unlike `register`, this does not ask it for the names of its metrics."""
    registry = prometheus_client.REGISTRY
    registry._collector_to_names.update({collector: []})
    try:
        yield
    finally:
        registry.unregister(collector)


@pytest.mark.parametrize("failing", [Failing(), Unwritable()])
async def test_a_collector_that_fails_leaves_the_other_collectors_complete(
    failing: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    own = prometheus_client.Counter("orders_kept", "Of the program itself.")
    try:
        with noted(failing):
            async with server_with_pages(Paged()) as server:
                for _ in range(3):
                    answer = await page(server, "/metrics")
                    assert answer.status == 200
                    assert "orders_kept_total 0.0" in answer.text
                    assert "fastrpc_loop_lag_seconds" in answer.text
        assert sum("missing" in record.message for record in caplog.records) == 1
    finally:
        prometheus_client.REGISTRY.unregister(own)


class Raising(Collector):
    """A collector that raises an exception with a meaning for loops, threads or generators."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def collect(self) -> Iterator[Metric]:
        raise self._error


@pytest.mark.parametrize(
    "error",
    [
        SystemExit(3),
        KeyboardInterrupt(),
        asyncio.CancelledError(),
        GeneratorExit(),
        StopIteration(),
        BaseException(),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_collector_that_ends_its_thread_leaves_the_other_collectors_complete(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    with noted(Raising(error)):
        async with server_with_pages(Paged()) as server:
            for _ in range(2):
                answer = await page(server, "/metrics")
                assert answer.status == 200
                assert "fastrpc_loop_lag_seconds" in answer.text
        assert sum("the collector Raising fails" in record.message for record in caplog.records) == 1


class Hanging(Collector):
    """A collector that waits until a test releases it."""

    def __init__(self) -> None:
        self.has_begun, self.may_end = threading.Event(), threading.Event()

    def describe(self) -> Iterator[Metric]:
        return iter(())

    def collect(self) -> Iterator[Metric]:
        self.has_begun.set()
        self.may_end.wait(60)
        return iter(())


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    collector = Hanging()
    prometheus_client.REGISTRY.register(collector)
    try:
        yield collector
    finally:
        collector.may_end.set()
        prometheus_client.REGISTRY.unregister(collector)


async def test_a_collector_that_hangs_holds_up_no_other_page(hanging: Hanging) -> None:
    async with server_with_pages(Paged()) as server:
        metrics = asyncio.ensure_future(page(server, "/metrics"))
        await asyncio.to_thread(hanging.has_begun.wait, 20)
        for path in OTHERS:
            for kind in ("text/html", "application/json"):
                assert (await page(server, path, Accept=kind)).status == 200
        stacks = (await page(server, "/stacks", Accept="application/json")).json["threads"]
        [thread] = [one for one in stacks if one["name"].startswith("fastrpc-metrics")]
        assert any("collect" in frame for frame in thread["frames"])
        hanging.may_end.set()
        assert (await metrics).status == 200


async def test_metrics_that_take_too_long_tell_where_to_look(
    hanging: Hanging, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pages, "PAGE_SECONDS", 0.05)
    async with server_with_pages(Paged()) as server:
        answer = await page(server, "/metrics")
        assert answer.status == 503
        assert answer.text == "the page takes longer than 0.05 s; /stacks shows the collector that runs\n"
        assert "the page /metrics takes longer" in caplog.text
        hanging.may_end.set()
