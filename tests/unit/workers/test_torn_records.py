"""The monitor with a record that cannot be read whole."""

import asyncio
import os
from typing import Any

import pytest

pytest.importorskip("prometheus_client")

from fastrpc._core.base.histogram import default_registry
from fastrpc.config import ServerConfig
from fastrpc.status import Status
from fastrpc.workers.monitoring.counted import Counted
from fastrpc.workers.monitoring.monitor import Workers
from fastrpc.workers.monitoring.scoreboard import PREFIX_BYTES, Kind, Role, Scoreboard

pytestmark = pytest.mark.one_loop


async def test_a_record_that_is_torn_takes_no_counts_from_the_page() -> None:
    board = Scoreboard(2)
    # Before the counts of the process itself.
    workers = Workers(ServerConfig(), board)
    places = board.places
    for number, place in enumerate(places, 1):
        place.prepare(Role.WORKER)
        place.give(100 + number)
    records = [Counted(f"worker {number}", 100 + number, b"") for number in (1, 2)]
    counters = default_registry.counters("torn.call", "server")
    before = counters.snapshot()["calls"].get("OK", 0)
    counters.count_ended(Status.OK, 1_000_000)
    for place, counted in zip(places, records, strict=True):
        place.write(Kind.COUNTED, counted.record(()))

    def shown() -> Any:
        rows = {(one.service, one.method): one for one in workers._sum().figures.counters()}
        return rows["torn", "call"].snapshot()["calls"]["OK"] - before

    assert shown() == 2
    # As if it were written again at each look.
    for half in (1, 2):
        os.pwrite(board._file, b"torn", board._record_at(0, Kind.COUNTED, half) + PREFIX_BYTES)
    assert places[0].read(Kind.COUNTED) == b""
    assert shown() == 2
    places[0].write(Kind.COUNTED, records[0].record(()))
    assert shown() == 2
    for place in places:
        asyncio.get_running_loop().remove_reader(place.asking.fileno())
    board.close()
