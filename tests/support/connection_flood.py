"""A flood of connections from addresses of this machine, and the rate that an honest client keeps during it."""

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["FLOOD_RATE", "Flood", "FloodProgram", "honest_share", "on_cores"]

#: The connections that a flood makes a second, as far as the machine does.
FLOOD_RATE = 20_000

#: The calls of an honest client in a second, and how long it calls.
HONEST_RATE = 500
HONEST_SECONDS = 3.0


@dataclass
class Flood:
    """A flood, and its figures once it is over: connections made, ended by the server, not ended in time, a second."""

    made: float = 0.0
    ended: float = 0.0
    given_up: float = 0.0

    def __str__(self) -> str:
        return f"{self.made:,.0f} made, {self.ended:,.0f} ended and {self.given_up:,.0f} given up a second"


class FloodProgram:
    """The generator of floods, compiled from `connection_flood.c`.

    Args:
        folder: for the program.
        core: where floods run.
    """

    def __init__(self, folder: Path, core: int) -> None:
        self._program = folder / "connection_flood"
        self._core = core
        source = Path(__file__).with_suffix(".c")
        subprocess.run(["cc", "-O2", "-o", str(self._program), str(source)], check=True)

    @contextlib.contextmanager
    def flooding(
        self, port: int, source: str, sources: int = 1, *, rate: float = FLOOD_RATE
    ) -> Iterator[Flood]:
        """Connect to a port of this machine from several addresses by turns; `source` is the first."""
        flood = Flood()
        given = (str(port), source, str(sources), str(rate))
        with self._running("flood", *given, core=self._core) as process:
            yield flood
            told, _ = process.communicate()
        found = json.loads(told)
        assert found["failed"] == 0, found
        for name in ("made", "ended", "given_up"):
            setattr(flood, name, found[name] / found["seconds"])

    @contextlib.contextmanager
    def refusing(self, core: int) -> Iterator[int]:
        """Run the least that a server can do: it accepts, resets and closes; yield its port."""
        with self._running("refuse", core=core) as process:
            assert process.stdout is not None
            yield int(process.stdout.readline())

    @contextlib.contextmanager
    def _running(self, *arguments: str, core: int) -> Iterator["subprocess.Popen[str]"]:
        with on_cores({core}):
            process = subprocess.Popen(
                [str(self._program), *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        # A real flood comes from other machines: if it shares the core of the honest client here, it gets only unused
        # time.
        os.setpriority(os.PRIO_PROCESS, process.pid, 10)
        with process:
            try:
                yield process
            finally:
                process.kill()

    def bare_rate(self, core: int, seconds: float = 1.0) -> float:
        """Return the connections a second that the least server ends."""
        with self.refusing(core) as port, self.flooding(port, "127.0.0.2") as flood:
            time.sleep(seconds)
        return flood.ended


@contextlib.contextmanager
def on_cores(cores: set[int], process: int = 0) -> Iterator[None]:
    """Run the block on these cores, with the processes that it starts."""
    before = os.sched_getaffinity(process)
    os.sched_setaffinity(process, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(process, before)


def honest_share(
    call: Callable[[], Any], *, rate: float = HONEST_RATE, seconds: float = HONEST_SECONDS
) -> float:
    """Return the share of its calls that a client makes which calls at a steady rate."""
    call()
    began, calls = time.monotonic(), 0
    while (now := time.monotonic()) < began + seconds:
        if calls > (now - began) * rate:
            time.sleep(0.0005)
            continue
        call()
        calls += 1
    return calls / (rate * seconds)
