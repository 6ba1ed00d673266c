"""Programs that are forked from an interpreter that has imported the package already.

Most of the time of a short program goes into imports: half a second for a command. The process, its standard streams,
signals and exit code are real; only its imports have been done before. `make soak` starts each program anew, and so
does a test of the start itself.
"""

import atexit
import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

__all__ = ["WarmProcess", "launcher"]

_INTERPRETER = Path(__file__).with_name("warm_interpreter.py")
_LAUNCHER = Path(__file__).with_name("warm_launcher.py")
_ASKING = threading.Lock()


class WarmProcess:
    """The counterpart of `subprocess.Popen` for a program that is forked.

    Args:
        output: where its standard output and error go; two pipes by default.
        passed: descriptors that it has from 3 on, and `LISTEN_FDS` and `LISTEN_PID` with them, as from systemd.
    """

    #: Whether this system reports the end of a process that is not a child.
    IS_POSSIBLE = hasattr(os, "pidfd_open")

    def __init__(
        self,
        arguments: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        stdin: "int | IO[bytes]",
        *,
        output: IO[bytes] | None = None,
        passed: Sequence[int] = (),
    ) -> None:
        given, self.stdin = _input(stdin)
        self.stdout, output_end = _output(output)
        self.stderr, errors_end = _output(output)
        self._report, told = socket.socketpair()
        request = {
            "arguments": list(arguments),
            "folder": str(folder.absolute()),
            "environment": dict(environment),
            "passed": len(passed),
        }
        descriptors = [given, output_end, errors_end, told.fileno(), *passed]
        with _ASKING:
            socket.send_fds(_interpreter(), [json.dumps(request).encode()], descriptors)
        for descriptor in (given, output_end, errors_end):
            os.close(descriptor)
        told.close()
        self.pid = self._told()
        self.returncode: int | None = None

    def send_signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def poll(self) -> int | None:
        """Return the exit code, None if it runs."""
        if self.returncode is None and select.select([self._report], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code, waiting for the end."""
        if self.returncode is None:
            self._report.settimeout(timeout)
            try:
                self.returncode = self._told()
            except TimeoutError:
                raise subprocess.TimeoutExpired("a forked program", timeout or 0) from None
        return self.returncode

    def close(self) -> None:
        """Let its process id go; kills it if it still runs."""
        self._report.close()

    def _told(self) -> int:
        """Return the next number from the interpreter: first the process id, then the exit code."""
        told = self._report.recv(4)
        if not told:
            # A process id of 0 would be this process's group, which a test kills at its end.
            raise RuntimeError("the interpreter that forks programs has ended; its error is above")
        return int.from_bytes(told, "big", signed=True)


def launcher() -> tuple[str, int]:
    """Return the command line that stands for `python` in a shell, and the descriptor that the shell has to inherit."""
    descriptor = _interpreter().fileno()
    return f"{sys.executable} -IS {_LAUNCHER} {descriptor}", descriptor


def _input(stdin: "int | IO[bytes]") -> tuple[int, IO[bytes] | None]:
    """Return a descriptor for standard input of the program, and its writer."""
    if stdin == subprocess.PIPE:
        given, written = os.pipe()
        return given, open(written, "wb", buffering=0)
    if stdin == subprocess.DEVNULL:
        return os.open(os.devnull, os.O_RDONLY), None
    return os.dup(stdin if isinstance(stdin, int) else stdin.fileno()), None


def _output(given: IO[bytes] | None) -> tuple[IO[bytes] | None, int]:
    """Return the reader of an output of the program, None if it goes into a file, and a descriptor for it."""
    if given is not None:
        return None, os.dup(given.fileno())
    read, written = os.pipe()
    return open(read, "rb"), written


@functools.cache
def _interpreter() -> socket.socket:
    """Start the interpreter that forks; returns the socket for requests."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    process = subprocess.Popen(
        [sys.executable, str(_INTERPRETER), str(theirs.fileno())],
        env={name: value for name, value in os.environ.items() if not name.startswith("FASTRPC_")}
        | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.DEVNULL,
        pass_fds=[theirs.fileno()],
        start_new_session=True,
    )
    theirs.close()

    def end() -> None:
        ours.close()
        process.send_signal(signal.SIGTERM)
        process.wait()

    atexit.register(end)
    return ours
