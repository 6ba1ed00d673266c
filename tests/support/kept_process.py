"""Servers in processes of their own that keep their address over kill and start."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.program import PACKAGE_ROOT, WAIT_SECONDS

__all__ = ["KeptProcess", "accepts"]

#: Where `tests` can be imported from.
ROOT = Path(__file__).parents[2]


def accepts(host: str, port: int) -> bool:
    """Tell whether somebody listens at an address."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


class KeptProcess:
    """A server that is the same one each time it is started; what it writes goes into `log`."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process_id(self) -> int:
        """The number of the process that runs."""
        assert self._process is not None
        return self._process.pid

    def command(self) -> list[str]:
        raise NotImplementedError

    def is_ready(self) -> bool:
        raise NotImplementedError

    def start(self) -> None:
        """Start it, and return once it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(),
                start_new_session=True,
            )
        until = time.monotonic() + WAIT_SECONDS
        while not self.is_ready():
            if time.monotonic() > until or self._process.poll() is not None:
                self.kill()
                raise AssertionError(f"it did not start: {self.written()[-3000:]}")
            time.sleep(0.02)

    def kill(self) -> None:
        """End it and its children without a word; killing it twice is fine."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Ask it to end by a signal, and return once it has."""
        assert self._process is not None
        self._process.send_signal(number)
        try:
            code = self._process.wait(WAIT_SECONDS)
        finally:
            self.kill()
        assert code == 0, f"it ended with {code}: {self.written()[-3000:]}"

    def signal(self, number: int) -> None:
        """Send a signal; after SIGSTOP wait until all threads stand still."""
        assert self._process is not None
        self._process.send_signal(number)
        if number == signal.SIGSTOP:
            os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)

    def written(self) -> str:
        """Return everything it has written so far."""
        return self._log.read_text(encoding="utf-8")

    @contextlib.contextmanager
    def running(self) -> Iterator[Any]:
        self.start()
        try:
            yield self
        finally:
            self.kill()


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FASTRPC_", "CONSUL_"))}
    return kept | {"PYTHONPATH": str(PACKAGE_ROOT)}
