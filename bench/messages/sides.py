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
from bench.messages.our_client import BEHIND

__all__ = ["figures_of", "measure"]

#: Most seconds in which a message of a backlog is published.
_FILLING_SECONDS = 0.0003


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
                for found, figure in figures_of(side, Path(folder), seconds).items():
                    figures[found].append(figure)
    return figures


def figures_of(side: Side, folder: Path, seconds: float, behind: int = BEHIND) -> dict[Side, float]:
    """Return the seconds of one operation, and further figures of the same run.

    Args:
        behind: the messages of a backlog.
    """
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
            str(behind),
        ]
        idle = server.peak_bytes()
        limit = seconds + (behind * _FILLING_SECONDS if side.kind == "backlog" else 0.0)
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
