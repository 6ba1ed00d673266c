"""Results of `fastrpc.broker` stay below the limit of a message, for messages with any large part."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from fastrpc import Client
from fastrpc.brokers.base import DeadLetter, GroupSettings, OutgoingMessage, TopicSettings
from fastrpc.brokers.broker_urls import open_backend
from fastrpc.brokers.remote.server import BrokerServer
from fastrpc.brokers.remote.service import BrokerService

pytestmark = pytest.mark.one_loop

NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)
LARGE_HEADERS: Final = {"note": "x" * 8_000}

#: The parts that fill a dead letter, and the number of letters: their total exceeds the limit of a message.
LETTERS: Final[dict[str, tuple[dict[str, Any], int]]] = {
    "body": ({"body": bytes(1_000_000)}, 30),
    "headers": ({"headers": LARGE_HEADERS}, 4_000),
    "reason": ({"reason": "x" * 100_000}, 300),
    "error": ({"error": "x" * 100_000}, 300),
    "key and id": ({"key": "x" * 512, "id": "x" * 512}, 30_000),
    "number": ({}, 150_000),
}


@pytest.fixture
async def server() -> AsyncIterator[BrokerServer]:
    async with BrokerServer("tcp://127.0.0.1:0") as server:
        yield server


def service_of(server: BrokerServer) -> BrokerService:
    return dict(server._server._served.instances())["fastrpc.broker"]


def letter(**fields: Any) -> DeadLetter:
    common: dict[str, Any] = {"body": b"", "key": None, "id": "i", "headers": {}, "reason": "no", "error": ""}
    times: dict[str, Any] = {"published_at": NOW, "died_at": NOW}
    return DeadLetter("orders.new", sequence=1, publisher=None, deliveries=1, **times, **(common | fields))


@pytest.mark.parametrize("part", LETTERS)
async def test_dead_letters_are_read_with_any_large_part(
    server: BrokerServer, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    fields, count = LETTERS[part]
    kept = [letter(**fields)] * count

    async def dead_letters(group: str) -> list[DeadLetter]:
        return kept

    monkeypatch.setattr(service_of(server).backend, "dead_letters", dead_letters)
    async with open_backend(server.url) as broker:
        found = await broker.dead_letters("g")
    assert (len(found), found[0], found[-1]) == (count, kept[0], kept[0])


async def test_batches_of_a_consumer_have_about_a_megabyte_of_headers(server: BrokerServer) -> None:
    async with open_backend(server.url) as broker:
        await broker.declare(TopicSettings("orders.new"))
        member = await broker.join(GroupSettings("g", "orders.new"))
        await broker.publish([OutgoingMessage("orders.new", b"", headers=LARGE_HEADERS)] * 600)
        sizes: list[int] = []
        while sum(sizes) < 600:
            sizes.append(len(await member.take(600)))
        assert 100 < max(sizes) < 140


async def test_messages_of_a_pull_have_about_four_megabytes_of_headers(server: BrokerServer) -> None:
    backend = service_of(server).backend
    async with Client(server.address) as client:
        await backend.declare(TopicSettings("orders.new"))
        await client.call("fastrpc.broker.pull", "orders.new", "g")
        await backend.publish([OutgoingMessage("orders.new", b"", headers=LARGE_HEADERS)] * 1_000)
        found = await client.call("fastrpc.broker.pull", "orders.new", "g", 1_000)
        assert 400 < len(found) < 550
        # The other messages are not under way.
        (state,) = await backend.groups()
        assert state.under_way == len(found)
