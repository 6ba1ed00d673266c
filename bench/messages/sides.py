"""Servers on the first core and their clients on the second, one pair at a time, all on the same disk."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.beside.bars import Figures, Side, sides_of
from bench.compare.paths import BUILD
from bench.compare.processes import RunningServer, choose_cores, run_client, running_server
from bench.messages.bars import BARS

__all__ = ["measure"]


def measure(rounds: int, seconds: float) -> Figures:
    """Measure each side that a bar needs, in so many rounds; each has its own server and folder."""
    BUILD.mkdir(parents=True, exist_ok=True)
    sides = sides_of(BARS)
    figures: dict[Side, list[float]] = {side: [] for side in sides}
    for number in range(rounds):
        for side in sides:
            print(f"round {number + 1} of {rounds}: {' '.join(side)}", file=sys.stderr)
            with tempfile.TemporaryDirectory(dir=BUILD) as folder:
                figures[side].append(_time(side, Path(folder), seconds))
    return figures


def _time(side: Side, folder: Path, seconds: float) -> float:
    """Return the seconds of one operation."""
    if side.server == "row":
        command = [sys.executable, "-m", "bench.messages.row", str(folder), side.kind, str(seconds)]
        return float(run_client(command, choose_cores().server, seconds)["seconds"])
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
        return float(run_client(command, choose_cores().client, seconds)["seconds"])


@contextmanager
def _serving(name: str, folder: Path) -> Iterator[RunningServer]:
    program, _, sync = name.partition(" ")
    options = [str(folder / "data"), sync] if sync else []
    command = [sys.executable, "-m", "bench.messages.servers", program, *options]
    with running_server(command, choose_cores().server) as server:
        yield server
