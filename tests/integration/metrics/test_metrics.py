"""The metrics of a scrape after a run: exactly the calls that were made, as both sides saw them."""

import asyncio
from collections.abc import Iterator, Mapping

import pytest
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

import fastrpc
import fastrpc.testing
from fastrpc import CallError, Client, DeadlineExceededError, Limits, Server, ServerConfig, Status
from fastrpc.metrics import collector
from tests.support.raw_peer import raw_client
from tests.support.wire_frames import Cancel, Request, Response, SettingsFrame
from tests.support.wire_parser import Preface

pytestmark = pytest.mark.one_loop


@fastrpc.service("metered")
class Metered:
    def __init__(self) -> None:
        self.is_waiting = asyncio.Event()

    @fastrpc.method(codec="raw")
    async def echo(self, payload: bytes) -> bytes:
        return payload

    @fastrpc.method
    async def find(self, number: int) -> int:
        if number < 0:
            raise CallError(Status.NOT_FOUND, "no such number")
        return 1 // number

    @fastrpc.method
    async def wait(self) -> None:
        self.is_waiting.set()
        await asyncio.Event().wait()


class Metrics(Collector):
    """The metrics of this process without the methods of other tests, of which there are thousands."""

    def collect(self) -> Iterator[Metric]:
        for family in collector().collect():
            family.samples = [
                sample for sample in family.samples if sample.labels.get("service") in ("metered", "_other")
            ]
            yield family


class Scrape:
    """The samples of one exposition, as text that a Prometheus server would read."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        registry.register(Metrics())
        text = generate_latest(registry).decode()
        self._samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def value(self, name: str, *, side: str, service: str = "metered", **labels: str) -> float:
        labels |= {"service": service, "protocol": "native"}
        return self._samples.get((f"fastrpc_{side}_{name}", frozenset(labels.items())), 0.0)

    def keys_seen(self) -> Iterator[tuple[str, Mapping[str, str]]]:
        return ((name, dict(labels)) for name, labels in self._samples)


class Change:
    """The counts that a run added to the counters, which count for as long as the process lives."""

    def __init__(self) -> None:
        self._before = Scrape()
        self._after = self._before

    def look(self) -> None:
        self._after = Scrape()

    def value(self, name: str, **labels: str) -> float:
        return self._after.value(name, **labels) - self._before.value(name, **labels)

    def calls(self, side: str) -> dict[tuple[str, str], float]:
        """Return the calls that ended, by method and status; only those that there are."""
        found = {
            (f"{labels['service']}.{labels['method']}", labels["status"]): self.value(
                "calls_total",
                side=side,
                **{name: labels[name] for name in ("service", "method", "status")},
            )
            for name, labels in self._after.keys_seen()
            if name == f"fastrpc_{side}_calls_total"
        }
        return {key: count for key, count in found.items() if count}

    def in_histogram(self, side: str, method: str) -> list[float]:
        """Return how many calls the histogram has: by its count and by its last bucket."""
        return [
            self.value("call_seconds_count", method=method, side=side),
            self.value("call_seconds_bucket", method=method, side=side, le="+Inf"),
        ]


MADE = {
    ("metered.echo", "OK"): 25,
    ("metered.find", "OK"): 7,
    ("metered.find", "NOT_FOUND"): 3,
    ("metered.find", "INTERNAL"): 2,
}


async def make_calls(client: Client) -> None:
    for _ in range(25):
        await client.call(Metered.echo, b"x" * 100)
    for number in [1] * 7 + [-1] * 3 + [0] * 2:
        await asyncio.gather(client.call(Metered.find, number), return_exceptions=True)


@pytest.mark.parametrize("side", ["client", "server"])
async def test_scrape_shows_exactly_the_calls_made(side: str) -> None:
    change = Change()
    async with Server(Metered()) as server, Client(str(await server.listen("tcp://127.0.0.1:0"))) as client:
        await make_calls(client)
        change.look()
    assert change.calls(side) == MADE
    assert change.in_histogram(side, "echo") == [25, 25]
    assert change.in_histogram(side, "find") == [12, 12]
    # Payloads alone, as this side saw them: 25 times 100 bytes each way.
    for name in ("received_bytes_total", "sent_bytes_total"):
        assert change.value(name, method="echo", side=side) == 2_500
    assert change.value("calls_in_flight", method="echo", side=side) == 0


async def test_batch_and_one_way_calls_count_one_by_one() -> None:
    change = Change()
    async with Server(Metered()) as server, Client(str(await server.listen("tcp://127.0.0.1:0"))) as client:
        await client.call_many(Metered.echo, [(b"x",)] * 40)
        await client.notify(Metered.echo, b"x")
        # Answered after the one-way call was started.
        await client.call(Metered.echo, b"x")
        change.look()
    assert change.calls("server") == change.calls("client") == {("metered.echo", "OK"): 42}


async def test_call_is_in_flight_until_its_deadline_ends_it() -> None:
    change, service = Change(), Metered()
    async with Server(service) as server, Client(str(await server.listen("tcp://127.0.0.1:0"))) as client:
        call = asyncio.ensure_future(client.with_options(timeout=1.0).call(Metered.wait))
        await service.is_waiting.wait()
        change.look()
        for side in ("client", "server"):
            assert change.value("calls_in_flight", method="wait", side=side) == 1
            assert change.calls(side) == {}
        with pytest.raises(DeadlineExceededError):
            await call
    change.look()
    for side in ("client", "server"):
        assert change.value("calls_in_flight", method="wait", side=side) == 0
        assert change.calls(side) == {("metered.wait", "DEADLINE_EXCEEDED"): 1}


def test_blocking_client_is_counted_too() -> None:
    change = Change()
    with fastrpc.testing.serving(Metered) as address, fastrpc.SyncClient(str(address)) as client:
        for _ in range(5):
            client.call(Metered.echo, b"x")
        change.look()
    assert change.calls("client") == change.calls("server") == {("metered.echo", "OK"): 5}
    assert change.in_histogram("client", "echo") == [5, 5]


async def test_refused_calls_are_counted_as_their_callers_count_them() -> None:
    change = Change()
    config = ServerConfig(codecs=("msgpack", "raw"))
    async with (
        Server(Metered(), config=config) as server,
        Client(str(await server.listen("tcp://127.0.0.1:0"))) as client,
    ):
        for _ in range(10):
            with pytest.raises(CallError, match="number: expected"):
                await client.call("metered.find", "one")
        with pytest.raises(CallError, match="codec 'json' is not accepted"):
            await client.with_options(codec="json").call(Metered.find, 1)
        change.look()
    refused = {("metered.find", "INVALID_ARGUMENT"): 10, ("metered.find", "UNIMPLEMENTED"): 1}
    assert change.calls("server") == change.calls("client") == refused
    assert change.in_histogram("server", "find") == [11, 11]
    assert change.value("calls_in_flight", method="find", side="server") == 0
    sent = change.value("sent_bytes_total", method="find", side="client")
    assert change.value("received_bytes_total", method="find", side="server") == sent > 0


async def test_a_peer_cannot_add_method_names_on_the_server() -> None:
    change = Change()
    async with Server(Metered()) as server, Client(str(await server.listen("tcp://127.0.0.1:0"))) as client:
        for number in range(5):
            with pytest.raises(CallError, match="no method"):
                await client.call(f"metered.made_up_{number}", "x" * 10)
        change.look()
    assert change.calls("server") == {("_other._other", "UNIMPLEMENTED"): 5}
    assert change.value("received_bytes_total", service="_other", method="_other", side="server") >= 50
    assert change.value("calls_in_flight", service="_other", method="_other", side="server") == 0


async def test_incomplete_calls_that_are_refused_are_counted_with_their_method() -> None:
    change = Change()
    config = ServerConfig(limits=Limits(concurrent_calls=1))
    async with Server(Metered(), config=config) as server:
        address = str(await server.listen("tcp://127.0.0.1:0"))
        async with raw_client(address) as peer:
            peer.send(Preface(1, 1).encode(), SettingsFrame().encode())
            peer.send(Request(1, b"metered.echo", b"x", total=100).encode())
            peer.send(Request(3, b"metered.echo", b"x").encode())
            peer.send(Request(5, b"made.up", b"x").encode())
            peer.send(Cancel(1).encode())
            answers = [(await peer.next(Response)).id for _ in range(3)]
            change.look()
    assert answers == [3, 5, 1]
    assert change.calls("server") == {
        ("metered.echo", "RESOURCE_EXHAUSTED"): 1,
        ("_other._other", "RESOURCE_EXHAUSTED"): 1,
        ("metered.echo", "CANCELLED"): 1,
    }


async def test_calls_that_a_drain_cut_off_are_counted_by_the_status_of_each_side() -> None:
    change = Change()
    metered = Metered()
    async with Server(metered) as server, Client(str(await server.listen("tcp://127.0.0.1:0"))) as client:
        calling = asyncio.create_task(client.call(Metered.wait))
        await metered.is_waiting.wait()
        assert await server.drain(0) is False
        with pytest.raises(CallError):
            await calling
        change.look()
    assert change.calls("client") == change.calls("server") == {("metered.wait", "UNAVAILABLE"): 1}
