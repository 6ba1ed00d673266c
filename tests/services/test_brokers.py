"""Every broker: the contract, the cells of the table of backends, and each refusal with its way out.

Cells that only one backend has are in its own files: the files and streams of NATS, the settings of Redis.
"""

import asyncio
import gc
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import ConfigError, Server, Topic
from fastrpc.brokers import Broker, open_broker
from fastrpc.brokers.base import BrokerBackend, Delivery, GroupSettings, OutgoingMessage, TopicSettings
from fastrpc.brokers.broker_urls import open_backend
from fastrpc.brokers.embedded import EmbeddedBroker
from fastrpc.testing.broker_contract import BrokerContract
from tests.support.kept_process import ROOT
from tests.support.messages.kept import kept_broker
from tests.support.messages.places import BROKERS, KEPT, broker_place
from tests.support.messages.stopped import Times, served, stopped_memory, stopped_sqlite

pytestmark = pytest.mark.one_loop

ORDERS = Topic("orders.new", int)


class TestContract(BrokerContract):
    """Order, ids, delays, patterns, queues, bounds, retries, dead letters, messages that are handed back."""

    times: Times | None
    embedded: EmbeddedBroker

    @pytest.fixture(params=BROKERS)
    async def broker(self, request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[BrokerBackend]:
        kind = request.param
        self.times = times = Times()
        self.step = 1.0 if kind == "nats" else 0.0
        if kind == "memory":
            async with stopped_memory(times) as self.embedded:
                yield self.embedded
        elif kind == "sqlite":
            async with stopped_sqlite(tmp_path / "broker", times) as self.embedded:
                yield self.embedded
        elif kind in ("broker-memory", "broker-sqlite"):
            # The server knows its callers by their identities, and here callers have no identity.
            self.kept_publisher = None
            async with served(tmp_path / "broker" if kind == "broker-sqlite" else None, times) as (
                broker,
                service,
            ):
                self.embedded = service.backend
                yield broker
        else:
            self.times = None
            async with broker_place(kind, request, tmp_path) as url, open_backend(url) as other:
                yield other

    async def pass_time(self, broker: BrokerBackend, seconds: float) -> None:
        if self.times is not None:
            self.times.advance(seconds, self.embedded)
        else:
            # A server of NATS looks for old messages once a second.
            await asyncio.sleep(seconds if seconds <= 1 else seconds + self.step)


@pytest.fixture
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """The place of the broker whose kind is the parameter."""
    async with broker_place(request.param, request, tmp_path) as url:
        yield url


def at(*kinds: str) -> pytest.MarkDecorator:
    """Run a test with brokers of these kinds."""
    return pytest.mark.parametrize("url", kinds, indirect=True)


# A kept message survives kill −9 of the broker

#: Keeps a message and says so.
PUBLISHER = """
import asyncio, sys
from fastrpc.brokers import open_broker

async def main():
    async with open_broker(sys.argv[1]) as broker:
        await broker.publish("orders.new", 1, id="1")
        print("kept", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def first_of(broker: Broker) -> tuple[int, str, int]:
    """Return value, id and number of the delivery of the oldest message."""
    async with broker.subscribe(ORDERS, group="audit", start="oldest") as messages:
        message = await anext(messages)
        return message.value, message.id, message.delivery


@pytest.mark.parametrize("kind", KEPT)
async def test_a_kept_message_survives_a_kill_of_the_broker(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    with kept_broker(kind, request, tmp_path).running() as place:
        async with open_broker(place.url) as broker:
            await broker.publish(ORDERS, 1, id="1")
        place.kill()
        place.start()
        async with open_broker(place.url) as broker:
            assert await first_of(broker) == (1, "1", 1)


@pytest.mark.parametrize("sync", ["full", "normal"])
async def test_a_kept_message_survives_a_kill_of_the_process_with_sqlite(tmp_path: Path, sync: str) -> None:
    url = f"sqlite://{tmp_path}/broker?sync={sync}"
    command = [sys.executable, "-c", PUBLISHER, url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        told = process.stdout.readline()
        process.kill()
    assert told == b"kept\n"
    async with open_broker(url) as broker:
        assert await first_of(broker) == (1, "1", 1)


async def test_a_message_in_memory_ends_with_its_last_broker() -> None:
    for _ in range(2):
        async with open_broker("memory://ended") as broker:
            assert list(await broker.groups()) == []
            async with broker.subscribe(ORDERS, group="audit"):
                assert not (await broker.publish(ORDERS, 1, id="1")).is_duplicate


# sync=full: survives a power cut (tests/unit/brokers/test_power_cut.py)


def test_sync_full_is_the_default_of_sqlite(tmp_path: Path) -> None:
    for options, sync in (("", "full"), ("?sync=full", "full"), ("?sync=normal", "normal")):
        broker = open_backend(f"sqlite://{tmp_path}/broker{options}")
        assert broker._journal.folder._sync == sync  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("memory", "memory://.* keeps nothing on a disk, so sync=full is refused.*leave the option sync out"),
        ("broker-memory", "broker://.* no option sync"),
        ("broker-sqlite", "broker://.* no option sync"),
        ("nats", "nats://.*sync=full needs the option monitor.*monitor=http://host:8222"),
        ("redis", "redis://.* appendfsync everysec: with sync=full.*appendfsync always"),
    ],
)
async def test_sync_full_is_refused_where_a_backend_cannot_keep_it(
    kind: str, words: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    async with broker_place(kind, request, tmp_path) as url:
        with pytest.raises(ConfigError) as caught:
            async with open_broker(f"{url}{'&' if '?' in url else '?'}sync=full"):
                pass
    assert re.search(words, shown(caught.value))


# A machine is lost


@at("memory", "sqlite", "broker-memory", "redis")
async def test_copies_of_messages_are_refused_by_backends_without_copies(url: str) -> None:
    with pytest.raises(ConfigError, match=f"{url.partition(':')[0]}://.*has no option replicas"):
        open_broker(f"{url}{'&' if '?' in url else '?'}replicas=3")


# Refusals at start-up

JOBS = Topic("jobs", int, keep_seconds=None, groups=("billing", "audit"))
SMALL = Topic("small", int, max_bytes=100_000)


def subscribed(topic: Any, **options: Any) -> type[Any]:
    """Return a service with one subscriber."""

    @fastrpc.service("billing")
    class Billing:
        @fastrpc.subscriber(topic, **options)
        async def bill(self, number: int) -> None: ...

    return Billing


@pytest.mark.parametrize(
    ("kind", "service", "words"),
    [
        (
            "redis",
            subscribed(ORDERS, ordered=True),
            "ordered=True is not supported by redis://.*leave ordered out, or use another broker",
        ),
        (
            "nats",
            subscribed(ORDERS, ordered=True),
            "billing.bill has ordered=True and concurrency=10.*nats:// .*concurrency=1",
        ),
        ("redis", subscribed(Topic("orders.*", int)), r"'orders.\*'.*redis://.*name each topic"),
        ("redis", subscribed(JOBS), "'jobs' has 2 groups.*redis://.*topic for each group, or keep a log"),
        ("redis", subscribed(SMALL), "max_bytes, which redis://.*leave max_bytes out"),
    ],
    ids=["ordered-redis", "ordered-nats", "pattern-redis", "queues-redis", "max_bytes-redis"],
)
async def test_a_server_refuses_at_start_up_features_that_its_broker_lacks(
    kind: str, service: type[Any], words: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    async with broker_place(kind, request, tmp_path) as url:
        server = Server(service, broker=url)
        with pytest.raises(ConfigError) as caught:
            await server.start()
        await server.close()
    assert re.search(words, shown(caught.value))


@at(*(kind for kind in BROKERS if kind != "redis"))
async def test_order_patterns_queues_and_bounds_exist_in_other_backends(url: str) -> None:
    for service in (
        subscribed(ORDERS, group="ordered", ordered=True, concurrency=1),
        subscribed(Topic("parcels.*", int), group="pattern"),
        subscribed(JOBS, group="audit"),
        subscribed(SMALL, group="bounded"),
    ):
        async with Server(service, broker=url):
            pass


@at("memory", "sqlite", "broker-memory", "broker-sqlite")
async def test_order_by_key_starts_as_many_messages_as_are_asked_for(url: str) -> None:
    async with Server(subscribed(ORDERS, ordered=True, concurrency=10), broker=url):
        pass


@at("redis")
async def test_a_delay_is_refused_by_backends_without_delays(url: str) -> None:
    async with open_broker(url) as broker:
        with pytest.raises(ConfigError, match=r"delay is 1, redis:// has no delays.*when it is due"):
            await broker.publish(ORDERS, 1, delay=1)


def shown(error: ConfigError) -> str:
    """Return the text of an error with its hint, which each refusal has."""
    assert error.hint
    return " ".join(str(error).split())


# Memory


def tracked(kind: type[Any]) -> int:
    """Return the number of objects of a class that the collector of cycles knows and cannot free."""
    gc.collect()
    return sum(type(one) is kind for one in gc.get_objects())


@at(*BROKERS)
async def test_deliveries_and_their_tokens_are_freed_once_they_are_settled(url: str) -> None:
    async with open_backend(url) as broker:
        await broker.declare(TopicSettings("orders.new"))
        member = await broker.join(GroupSettings("audit", "orders.new"))

        async def settle(count: int) -> type[Any]:
            """Publish and settle messages; return the class of their tokens."""
            await broker.publish([OutgoingMessage("orders.new", b"%d" % number) for number in range(count)])
            found: list[Delivery] = []
            while len(found) < count:
                found += await member.take(count)
            assert all(await member.ack_many([one.token for one in found]))
            return type(found[0].token)

        kind = await settle(1)
        before = tracked(kind)
        await settle(20)
        assert tracked(kind) <= before
        await member.close()
