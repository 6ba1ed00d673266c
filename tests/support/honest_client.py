"""An honest client during a flood, and the cores of both.

The server has a separate core. The honest client has another one, and the flood a third if the machine has three. On a
machine with two the flood shares the client's core, of which the client needs a small part. So the flood takes the
server's time from the client.
"""

import contextlib
import os
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fastrpc import ClientConfig, SyncClient
from tests.support.connection_flood import honest_share, on_cores

__all__ = ["Cores", "HonestClient", "chosen_cores", "stay_on"]


@dataclass(frozen=True)
class Cores:
    """Where server, flood and honest client run; the latter two share one where there are but two."""

    server: int
    flood: int
    honest: int


@contextlib.contextmanager
def chosen_cores() -> Iterator[Cores]:
    """Run the test itself, which is the honest client, on its core; skip the test where there is only one."""
    found = sorted(os.sched_getaffinity(0))
    if len(found) < 2:
        pytest.skip("the server needs a core for itself")
    chosen = Cores(found[0], found[1], found[min(2, len(found) - 1)])
    with on_cores({chosen.honest}):
        yield chosen


def stay_on(core: int, processes: list[int]) -> None:
    """Keep processes and their threads on a core."""
    for process in processes:
        for thread in Path(f"/proc/{process}/task").iterdir():
            os.sched_setaffinity(int(thread.name), {core})


class HonestClient:
    """A client with a separate connection, and its rates in each window.

    Args:
        method: the method that it calls, without arguments.
        calls: its calls in a second on its connection, one after the other.
        connections: its connections in a second, of one call each.
        seconds: of each of the two figures in a window.
    """

    def __init__(
        self,
        target: str,
        client: SyncClient,
        method: str,
        *,
        calls: float,
        connections: float,
        seconds: float,
        config: ClientConfig | None = None,
    ) -> None:
        self._target = target
        self._client = client
        self._method = method
        self._offered = calls, connections
        self._seconds = seconds
        self._config = config
        #: Calls on its connection, and connections of one call each.
        self.calls: list[float] = []
        self.connections: list[float] = []

    def call(self) -> None:
        """Call on its connection."""
        self._client.call(self._method)

    def connect(self) -> None:
        """Call on a new connection."""
        with SyncClient(self._target, config=self._config) as client:
            client.call(self._method)

    def measure(self) -> None:
        """Take both figures."""
        calls, connections = self._offered
        self.calls.append(calls * honest_share(self.call, rate=calls, seconds=self._seconds))
        self.connections.append(
            connections * honest_share(self.connect, rate=connections, seconds=self._seconds)
        )

    def __str__(self) -> str:
        calls, connections = map(statistics.median, (self.calls, self.connections))
        return f"{calls:,.0f} calls/s, {connections:,.0f} connections/s"
