"""Servers on the first core and their clients on the second, one pair at a time, all on the same disk."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.beside.bars import Figures, Side, sides_of
from bench.compare.paths import BUILD
from bench.compare.processes import RunningServer, choose_cores, run_client, running_server
from bench.messages.bars import BARS, MEMORY

__all__ = ["measure"]

#: Most seconds in which the messages of a backlog are published.
_FILLING_SECONDS = 60.0


def measure(rounds: int, seconds: float) -> Figures:
    """Measure each side that a bar needs, in `rounds` rounds; each has its own server and folder."""
    BUILD.mkdir(parents=True, exist_ok=True)
    sides = sides_of(BARS)
    figures: dict[Side, list[float]] = {side: [] for side in sides}
    for number in range(rounds):
        for side in sides:
            if side.kind == MEMORY:
                # The backlog measures it.
                continue
            print(f"round {number + 1} of {rounds}: {' '.join(side)}", file=sys.stderr)
            with tempfile.TemporaryDirectory(dir=BUILD) as folder:
                for found, figure in _figures(side, Path(folder), seconds).items():
                    figures[found].append(figure)
    return figures


def _figures(side: Side, folder: Path, seconds: float) -> dict[Side, float]:
    """Return the seconds of one operation, and further figures of the same run."""
    if side.server == "row":
        command = [sys.executable, "-m", "bench.messages.row", str(folder), side.kind, str(seconds)]
        return {side: float(run_client(command, choose_cores().server, seconds)["seconds"])}
    with _serving(side.server, folder) as server:
        command = [
            sys.executable,
            "-m",
            "bench.messages.load",
            side.client,
            side.kind,
            server.address,
            str(seconds),
        ]
        idle = server.peak_bytes()
        limit = seconds + (_FILLING_SECONDS if side.kind == "backlog" else 0.0)
        figures = {side: float(run_client(command, choose_cores().client, limit)["seconds"])}
        if side.kind == "backlog":
            figures[side._replace(kind=MEMORY)] = (server.peak_bytes() - idle) / 2**20
        return figures


@contextmanager
def _serving(name: str, folder: Path) -> Iterator[RunningServer]:
    program, _, sync = name.partition(" ")
    options = [str(folder / "data"), sync] if sync else []
    command = [sys.executable, "-m", "bench.messages.servers", program, *options]
    with running_server(command, choose_cores().server) as server:
        yield server
