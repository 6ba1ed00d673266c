"""The counters of messages equal a ledger: four workers that are rolled, and the broker that they share."""

import asyncio
from pathlib import Path

import pytest

from tests.support.messages.broker_process import HostedBroker
from tests.support.messages.counted import calls_in, counted_workers, outcomes_in, scrape
from tests.support.ports import free_ports
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop


async def test_counters_of_a_broker_equal_the_ledger_of_four_workers_that_are_rolled(tmp_path: Path) -> None:
    (admin,) = free_ports(1)
    broker = HostedBroker(tmp_path, "--admin-address", f"tcp://127.0.0.1:{admin}")
    with broker.running(), counted_workers(tmp_path, broker.url) as workers:
        await workers.publish(200)
        await workers.roll_under_load(200)
        await workers.publish(100)
        await workers.until_quiet()
        ledger = workers.ledger()
        assert ledger == {"published": 500, "acked": 450, "retried": 50, "dead": 50}
        await eventually(lambda: outcomes_in(scrape(admin)) == ledger)
        # Its clients count no message; they count the calls of handlers, calls of ended workers too.
        expected = {"OK": 450, "INTERNAL": 50, "INVALID_ARGUMENT": 50}
        await eventually(lambda: calls_in(scrape(workers.admin)) == expected)
        found = await asyncio.to_thread(scrape, workers.admin)
        assert outcomes_in(found) == {}
        group = frozenset({"topic": "counted.numbers", "group": "counted.handle"}.items())
        gauges = await asyncio.to_thread(scrape, admin)
        assert [gauges[f"fastrpc_messages_{name}", group] for name in ("lag", "oldest_seconds", "dead")] == [
            *(0, 0, 50)
        ]
