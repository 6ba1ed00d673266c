"""Overload and floods as processes next to a server of held handlers, and the outcomes of calls."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.held_server import HELD_SECONDS
from tests.support.kept_process import ROOT, KeptProcess, accepts
from tests.support.ports import free_ports

__all__ = ["MANY_CALLS", "HeldServer", "beside_floods", "offered", "peak_of"]

#: Until a load of the given number of seconds has begun and ended.
MORE_SECONDS = 30.0

#: The load at which a server has its peak rate, in multiples of its handlers' capacity, and the time of its
#: measurement.
PEAK_LOAD = 1.0
PEAK_SECONDS = 3.0

#: Calls of one connection, for a flood that waits for no answer.
MANY_CALLS = 1_000_000


class HeldServer(KeptProcess):
    """The server of `held_server`."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.port, self.tls_port = free_ports(2)
        super().__init__(folder / f"held-{self.port}.log")
        self._options = options
        if "certificate" in options:
            self._options["tls_port"] = self.tls_port

    def command(self) -> list[str]:
        address = f"tcp://127.0.0.1:{self.port}"
        return [sys.executable, "-m", "tests.support.held_server", address, json.dumps(self._options)]

    def is_ready(self) -> bool:
        return accepts("127.0.0.1", self.port)

    def __enter__(self) -> "HeldServer":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def offered(port: int, *, seconds: float, **told: Any) -> dict[str, Any]:
    """Offer calls at a rate, and return their outcomes."""
    command = [
        sys.executable,
        "-m",
        "tests.support.overload",
        str(port),
        json.dumps(told | {"seconds": seconds}),
    ]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=seconds + MORE_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def peak_of(port: int, method: str, workers: int, **told: Any) -> float:
    """Return the rate at which calls are answered where their handlers could just do."""
    rate = workers * PEAK_LOAD / HELD_SECONDS[method]
    return float(offered(port, seconds=PEAK_SECONDS, method=f"held.{method}", rate=rate, **told)["goodput"])


def beside_floods(
    port: int, kind: str, connections: int, *, seconds: float = 3.0, flooded: int | None = None
) -> dict[str, float]:
    """Return the share of calls that a good client keeps during floods, which may go to another port."""
    told = json.dumps({"kind": kind, "connections": connections, "seconds": seconds + connections / 10 + 2})
    flood = [sys.executable, "-m", "tests.support.unanswered", str(flooded or port), told]
    client = [sys.executable, "-m", "tests.support.good_client", str(port), str(seconds)]
    with subprocess.Popen(flood, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        # All of them have come.
        assert process.stdout.readline() == "flooding\n"
        done = subprocess.run(
            client, cwd=ROOT, capture_output=True, text=True, timeout=seconds + MORE_SECONDS, check=True
        )
        # No flood was thrown out.
        assert process.wait(MORE_SECONDS) == 0
    found: dict[str, float] = json.loads(done.stdout)
    return found
