"""Servers in processes of their own that keep their address over kill and start."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from tests.conftest import SCALE
from tests.support.program import PACKAGE_ROOT, WAIT_SECONDS
from tests.support.warm_process import WarmProcess

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
    """A server that keeps its identity over restarts; its output goes into `log`."""

    #: Whether its command is `python -m fastrpc`, which is forked from an interpreter that has imported the package.
    IS_WARM = False

    def __init__(self, log: Path) -> None:
        self._log = log
        self._process: subprocess.Popen[bytes] | WarmProcess | None = None

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
            self._process = self._started(log)
        until = time.monotonic() + WAIT_SECONDS
        while not self.is_ready():
            if time.monotonic() > until or self._process.poll() is not None:
                self.kill()
                raise AssertionError(f"it did not start: {self.written()[-3000:]}")
            time.sleep(0.02)

    def _started(self, log: BinaryIO) -> "subprocess.Popen[bytes] | WarmProcess":
        command = self.command()
        if self.IS_WARM and WarmProcess.IS_POSSIBLE and SCALE <= 1 and command[0] == sys.executable:
            return WarmProcess(command[1:], ROOT, _environment(), subprocess.DEVNULL, output=log)
        return subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=_environment(),
            start_new_session=True,
        )

    def kill(self) -> None:
        """End it and its children without a word; killing it twice is fine."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            if isinstance(self._process, WarmProcess):
                self._process.close()
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
        if number == signal.SIGSTOP and isinstance(self._process, WarmProcess):
            # It is no child, for which the system would wait.
            until = time.monotonic() + WAIT_SECONDS
            while not _stands_still(self._process.pid):
                assert time.monotonic() < until, "it is not stopped"
                time.sleep(0.001)
        elif number == signal.SIGSTOP:
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


def _stands_still(process: int) -> bool:
    """Return whether all threads of a process are stopped."""
    states = [
        path.read_text().rpartition(")")[2].split()[0]
        for path in Path(f"/proc/{process}/task").glob("*/stat")
    ]
    return set(states) == {"T"}


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FASTRPC_", "CONSUL_"))}
    return kept | {"PYTHONPATH": str(PACKAGE_ROOT)}
