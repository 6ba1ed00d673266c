"""A figure with its limit, and the server and client processes that it is taken from."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bench.compare.processes import RunningServer, choose_cores, run_client, running_server

__all__ = ["Finding", "call", "serving"]


@dataclass(frozen=True)
class Finding:
    """A figure and what was promised of it."""

    title: str
    figure: float
    limit: float
    unit: str
    details: str

    @property
    def is_kept(self) -> bool:
        return self.figure <= self.limit


@contextmanager
def serving(*arguments: str) -> Iterator[RunningServer]:
    """Run the server on the first core."""
    command = [sys.executable, "-m", "bench.promises.server", *arguments]
    with running_server(command, choose_cores().server) as server:
        yield server


def call(server: RunningServer, kind: str, seconds: float, *numbers: int) -> dict[str, float]:
    """Run the client on the second core and return what it measured."""
    command = [sys.executable, "-m", "bench.promises.caller", kind, server.address, str(seconds)]
    # It may hold 100,000 calls, which takes a while to begin and to end.
    return run_client([*command, *map(str, numbers)], choose_cores().client, seconds + 30)
