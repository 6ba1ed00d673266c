"""The share of the measured cores that other programs took: it distinguishes a bad figure from a bad moment."""

import os
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from bench.compare.measurement import ProcessorClocks

#: The columns of /proc/stat that count as work; the two after `system` are idle time, see proc_stat(5).
BUSY_COLUMNS = (0, 1, 2, 5, 6, 7)


@dataclass
class Disturbance:
    """Set when the block it was measured over ends."""

    #: Time strangers ran on the cores, as a share of all the time these had.
    share: float = 0.0


@contextmanager
def watch_disturbance(cores: Collection[int], server_processes: Sequence[int]) -> Iterator[Disturbance]:
    """Measure over the block; children that end within it and the server's processes are not strangers."""
    clocks = ProcessorClocks(server_processes)
    found = Disturbance()
    began, busy, ours = time.monotonic(), _busy_seconds(cores), _our_seconds(clocks)
    yield found
    available = (time.monotonic() - began) * len(set(cores))
    strangers = _busy_seconds(cores) - busy - (_our_seconds(clocks) - ours)
    found.share = max(0.0, strangers / available)


def _our_seconds(clocks: ProcessorClocks) -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system + clocks.read(0).server_cpu


def _busy_seconds(cores: Collection[int]) -> float:
    names = {f"cpu{core}" for core in cores}
    ticks = 0
    with open("/proc/stat") as file:
        for line in file:
            name, *columns = line.split()
            if name in names:
                ticks += sum(int(columns[index]) for index in BUSY_COLUMNS)
    return ticks / float(os.sysconf("SC_CLK_TCK"))
