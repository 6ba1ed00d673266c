"""Floods of connections that `Addresses` and `ConnectionRate` refuse, as fast as this machine makes them.

The flood is as fast as it is against the least that a server can do, which accepts and closes.
"""

import contextlib
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from fastrpc import SyncClient
from tests.support.connection_flood import FLOOD_RATE, Flood, FloodProgram
from tests.support.descriptors import open_descriptors, other_threads_leave
from tests.support.honest_client import Cores, HonestClient, chosen_cores, stay_on
from tests.support.program import command_line

pytestmark = [pytest.mark.measures, pytest.mark.one_loop]

CODE = """
import fastrpc

@fastrpc.service("who")
class Who:
    @fastrpc.method
    async def am_i(self) -> str:
        return "you"

app = fastrpc.App([Who])
"""

#: Sections of the settings file, by the kind of the flood's address.
LIMITS = {
    "denied": "[addresses]\ndeny = ['127.0.0.2/32']\n",
    "too quick": "[connection_rate]\nrate = 200\n",
}

FLOODED, HONEST = "127.0.0.2", "127.0.0.1"

#: Windows without and with the flood, by turns.
WINDOWS = 5

#: Before a window with the flood begins: it then has its rate.
BEGIN_SECONDS = 0.3

Honest = partial(HonestClient, method="who.am_i", calls=1_000, connections=100, seconds=0.5)


@pytest.fixture
def cores() -> Iterator[Cores]:
    with chosen_cores() as chosen:
        yield chosen


@contextlib.contextmanager
def serving(folder: Path, limit: str, workers: int) -> Iterator[tuple[int, list[int]]]:
    """Run a server; yield its port and the ids of its processes."""
    (folder / "edged.py").write_text(CODE)
    (folder / "fastrpc.toml").write_text(f'app = "edged:app"\n\n{LIMITS[limit]}')
    command = ["run", "--config", "fastrpc.toml", "--workers", str(workers), "--address", "tcp://127.0.0.1:0"]
    with command_line(command, folder) as program:
        port = int(program.wait_output(r"serving at tcp://127\.0\.0\.1:(\d+)")[1])
        if workers > 1:
            program.wait_errors(rf"worker {workers} is process \d+")
        found = map(int, re.findall(r"worker \d+ is process (\d+)", program.errors))
        yield port, [program.process_id, *found]


class Descriptors:
    """The descriptors of processes, at the lowest count of each: connections of before may still linger."""

    def __init__(self, processes: list[int]) -> None:
        self._lowest = dict.fromkeys(processes, sys.maxsize)

    def look(self) -> None:
        for process, count in self._lowest.items():
            self._lowest[process] = min(count, open_descriptors(process))

    def come_back(self) -> bool:
        return all(other_threads_leave(count, process) for process, count in self._lowest.items())


def measured(
    generator: FloodProgram, port: int, without: HonestClient, beside: HonestClient, look: Callable[[], None]
) -> Flood:
    """Measure an honest client without and during floods, by turns; return the flood of the median rate."""
    floods: list[Flood] = []
    for _ in range(WINDOWS):
        look()
        without.measure()
        with generator.flooding(port, FLOODED) as flood:
            time.sleep(BEGIN_SECONDS)
            beside.measure()
        floods.append(flood)
    return sorted(floods, key=lambda one: one.ended)[WINDOWS // 2]


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("limit", LIMITS)
def test_a_flood_of_connections_does_not_lower_the_rate_of_others(
    limit: str, workers: int, cores: Cores, tmp_path: Path
) -> None:
    generator = FloodProgram(tmp_path, cores.flood)
    bare = generator.bare_rate(cores.server)
    with (
        serving(tmp_path, limit, workers) as (port, processes),
        SyncClient(f"tcp://{HONEST}:{port}") as client,
    ):
        stay_on(cores.server, processes)
        without, beside = (Honest(f"tcp://{HONEST}:{port}", client) for _ in range(2))
        without.call()
        # Each worker has had a connection: its loop then has all that it keeps.
        for _ in range(2 * workers):
            without.connect()
        descriptors = Descriptors(processes)
        flood = measured(generator, port, without, beside, descriptors.look)
        come_back = descriptors.come_back()
        without.call()
    told = (
        f"{limit}, workers: {workers}; the flood: {flood}; a server that only accepts and closes ends {bare:,.0f}; "
        f"the honest client without it: {without}; beside it: {beside}"
    )
    print(told)
    assert flood.ended >= 0.95 * min(FLOOD_RATE, bare), told
    assert statistics.median(beside.calls) >= 0.9 * statistics.median(without.calls), told
    assert statistics.median(beside.connections) >= 0.9 * statistics.median(without.connections), told
    assert come_back, told
