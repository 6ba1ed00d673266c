"""A figure with its limit, and the server and client processes that it is taken from."""

import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bench.compare.processes import RunningServer, choose_cores, run_client, running_server

__all__ = ["PAIRS", "PROCESSES", "Finding", "call", "serving", "slowdown", "slowdown_in_turn"]

#: The number of comparisons, made by turns: equal processes differ by some percent, and so do moments of a machine.
PROCESSES, PAIRS, SECONDS = 5, 15, 0.1


@dataclass(frozen=True)
class Finding:
    """A figure and its promise."""

    title: str
    figure: float
    limit: float
    unit: str
    details: str

    @property
    def is_kept(self) -> bool:
        return self.figure <= self.limit

    def __str__(self) -> str:
        verdict = "kept" if self.is_kept else "NOT KEPT"
        limits = f"limit {self.limit:g}, {verdict}"
        return f"{self.title}: {self.figure:.2f} {self.unit} ({limits}; {self.details})"


@contextmanager
def serving(*arguments: str) -> Iterator[RunningServer]:
    """Run the server on the first core."""
    command = [sys.executable, "-m", "bench.promises.server", *arguments]
    with running_server(command, choose_cores().server) as server:
        yield server


def call(server: RunningServer, kind: str, seconds: float, *numbers: int) -> dict[str, float]:
    """Run the client on the second core and return its figures."""
    command = [sys.executable, "-m", "bench.promises.caller", kind, server.address, str(seconds)]
    # The server may have 100,000 calls under way, which take a while to begin and to end.
    return run_client([*command, *map(str, numbers)], choose_cores().client, seconds + 30)


def slowdown(
    title: str, without: Callable[[], float], with_it: Callable[[], float], *, pairs: int, limit: float
) -> Finding:
    """Compare two rates, measured by turns so that a drifting machine drifts for both; the order alternates."""
    rates: dict[bool, list[float]] = {False: [], True: []}
    for number in range(pairs):
        for has_it in (number % 2 == 0, number % 2 == 1):
            rates[has_it].append((with_it if has_it else without)())
    slower, faster = statistics.median(rates[True]), statistics.median(rates[False])
    percent = (faster / slower - 1) * 100
    details = (
        f"32 B, 64 in flight: {slower:,.0f} and {faster:,.0f} calls/s, medians of {pairs} alternating pairs"
    )
    return Finding(title, percent, limit, "% slower", details)


def slowdown_in_turn(title: str, without: str, with_it: str, *, limit: float) -> Finding:
    """Compare two kinds of server by one client that calls both by turns, for shares of a few percent."""
    rates: tuple[list[float], list[float]] = ([], [])
    command = [sys.executable, "-m", "bench.promises.caller", "turns"]
    for _ in range(PROCESSES):
        with serving(without) as one, serving(with_it) as other:
            arguments = [f"{one.address} {other.address}", str(SECONDS), str(PAIRS)]
            measured = run_client([*command, *arguments], choose_cores().client, 60)
            rates[0].extend(measured["first"])
            rates[1].extend(measured["second"])
    percent = statistics.median((one / other - 1) * 100 for one, other in zip(*rates, strict=True))
    details = (
        f"32 B, 64 in flight: {statistics.median(rates[1]):,.0f} and {statistics.median(rates[0]):,.0f} calls/s, "
        f"medians of {PROCESSES * PAIRS} alternating pairs, of {PROCESSES} processes each"
    )
    return Finding(title, percent, limit, "% slower", details)
