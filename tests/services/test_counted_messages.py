"""The messages that clients of Redis and NATS count, and the groups that they tell: four workers that are rolled."""

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fastrpc import Server, ServerConfig
from fastrpc.brokers.observed import recent_groups
from tests.support.admin_pages import fetch, page
from tests.support.kept_redis import kept_server
from tests.support.messages.counted import TOPIC, calls_in, counted_workers, outcomes_in, scrape
from tests.support.registry_servers import NatsServer
from tests.support.scrapes import scraped
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop


def nats(request: pytest.FixtureRequest, folder: Path) -> Any:
    return NatsServer(request.getfixturevalue("nats_path"), folder)


def redis(request: pytest.FixtureRequest, folder: Path) -> Any:
    return kept_server(request.getfixturevalue("redis_path"), folder)


servers = pytest.mark.parametrize("make", [pytest.param(nats, id="nats"), pytest.param(redis, id="redis")])


def shown_by(port: int) -> Counter[str]:
    """Return the messages by outcome that the page of a broker shows."""
    topics = fetch(port, "/messages", Accept="application/json").json["topics"]
    [counts] = [row for row in topics if row.pop("topic") == TOPIC]
    return +Counter(counts)


@servers
async def test_counters_equal_the_ledger_of_four_workers_that_are_rolled(
    make: Callable[..., Any], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    with make(request, tmp_path).running() as server, counted_workers(tmp_path, server.url) as workers:
        await workers.publish(200)
        await workers.until_quiet()
        before = workers.ledger()
        await eventually(lambda: outcomes_in(scrape(workers.admin)) == before)
        # The page adds up the counts of all workers.
        await eventually(lambda: shown_by(workers.admin) == before)
        await workers.roll_under_load(200)
        await workers.publish(100)
        await workers.until_quiet()
        ledger = workers.ledger()
        assert (ledger["published"], ledger["acked"], ledger["dead"]) == (500, 450, 50)
        await eventually(lambda: outcomes_in(scrape(workers.admin)) == ledger)
        expected = {"OK": 450, "INTERNAL": ledger["retried"], "INVALID_ARGUMENT": 50}
        assert calls_in(await asyncio.to_thread(scrape, workers.admin)) == expected


@servers
async def test_a_client_tells_the_groups_of_its_server(
    make: Callable[..., Any],
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recent_groups, "_PAUSE_SECONDS", 0.1)
    config = ServerConfig(admin_address="tcp://127.0.0.1:0")
    with make(request, tmp_path).running() as started:
        async with Server(broker=started.url, config=config) as server:
            broker: Any = server._gate.dispatcher.broker  # type: ignore[union-attr]
            async with broker.subscribe("told.numbers", group="told", in_flight=1) as messages:
                for number in range(3):
                    await broker.publish("told.numbers", number)
                await (await anext(messages)).reject("no")
            labels = {"topic": "told.numbers", "group": "told"}
            await eventually(lambda: scraped("fastrpc_messages_lag", **labels) == 2)
            assert scraped("fastrpc_messages_dead", **labels) == 1
            assert scraped("fastrpc_messages_oldest_seconds", **labels)
            shown = (await page(server, "/messages", Accept="application/json")).json
            assert [(one["group"], one["lag"], one["dead"]) for one in shown["groups"]] == [("told", 2, 1)]
            assert [(one["topic"], one["published"]) for one in shown["topics"]] == [("told.numbers", 3)]
