"""Servers on the first core and their clients on the second, one pair at a time, all on the same disk."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.agreement.bars import BARS
from bench.beside.bars import Figures, Side, sides_of
from bench.compare.compiled import BUILD_SECONDS, is_newer, toolchain
from bench.compare.paths import BUILD, ROOT
from bench.compare.processes import RunningServer, choose_cores, run_client, running_server

__all__ = ["measure"]

GO_SOURCES = ROOT / "bench" / "agreement" / "go"

#: A node of etcd and its client.
ETCD = BUILD / "go" / "etcd"

#: The time for setup and for passes under way, in addition to the seconds of a load.
BESIDE_SECONDS = 60.0


def measure(rounds: int, seconds: float) -> Figures:
    """Measure each side that a bar needs, in so many rounds.

    Raises:
        PeerUnavailableError: there is no Go.
        subprocess.CalledProcessError: the program of etcd does not compile.
    """
    _build_etcd()
    figures: dict[Side, list[float]] = {side: [] for side in sides_of(BARS)}
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}: measuring …", file=sys.stderr)
        for name in dict.fromkeys(side.server for side in figures):
            with _serving(name) as server:
                for side in figures:
                    if side.server == name:
                        figures[side].append(_load(side, server, seconds))
    return figures


@contextmanager
def _serving(name: str) -> Iterator[RunningServer]:
    BUILD.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD) as folder:
        commands = {
            "echo": [sys.executable, "-m", "bench.promises.server", "usual"],
            "store": [sys.executable, "-m", "bench.agreement.server", str(Path(folder) / "store")],
            "etcd": [str(ETCD), "serve", str(Path(folder) / "etcd")],
        }
        with running_server(commands[name], choose_cores().server) as server:
            yield server


def _load(side: Side, server: RunningServer, seconds: float) -> float:
    own = [sys.executable, "-m", "bench.agreement.load"]
    command = own if side.client == "ours" else [str(ETCD), "load"]
    options = [side.kind, server.address, str(seconds), str(server.processes[0])]
    found = run_client([*command, *options], choose_cores().client, seconds + BESIDE_SECONDS)
    return float(found["seconds"])


def _build_etcd() -> None:
    if is_newer(ETCD, [*GO_SOURCES.iterdir()]):
        return
    print("building etcd, which takes minutes the first time", file=sys.stderr)
    command = [toolchain("go"), "build", "-o", str(ETCD), "."]
    subprocess.run(command, cwd=GO_SOURCES, check=True, timeout=BUILD_SECONDS)
    ETCD.touch()
