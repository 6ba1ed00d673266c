"""Programs as users start them: processes whose output a test waits for."""

import contextlib
import os
import re
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import fastrpc
from tests.conftest import SCALE
from tests.support.planted import told
from tests.support.warm_process import WarmProcess

__all__ = ["WAIT_SECONDS", "Finished", "Program", "run_program"]

#: The longest time of any step before the test fails.
WAIT_SECONDS = 30.0

#: The package under test, wherever it was installed.
PACKAGE_ROOT = Path(fastrpc.__file__).parents[1]


class Finished:
    """A program that ended."""

    def __init__(self, code: int, output: str, errors: str) -> None:
        self.code = code
        self.output = output
        self.errors = errors

    def __repr__(self) -> str:
        return f"<ended with {self.code}; output: {self.output!r}; errors: {self.errors!r}>"


class Program:
    """A Python program that runs; it is killed with all its processes when the block ends.

    Args:
        arguments: the arguments of `python`.
        folder: its working directory.
        stdin: its standard input; nothing is in it unless `subprocess.PIPE` lets a test `write` there.
        is_anew: start a new interpreter, which imports everything again, for a test of imports.
        inherited: descriptors that it has from the start; only one that is started anew has them.
        passed: sockets that it has from 3 on, as from systemd; only one that is forked has them.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        folder: Path,
        environment: Mapping[str, str] | None = None,
        *,
        stdin: "int | IO[bytes]" = subprocess.DEVNULL,
        is_anew: bool = False,
        inherited: Sequence[int] = (),
        passed: Sequence[int] = (),
    ) -> None:
        self.output = ""
        self.errors = ""
        extra = environment or {}
        # Variables of Python itself, and of the locale, act when an interpreter starts.
        is_anew = is_anew or SCALE > 1
        is_anew = is_anew or any(
            name.startswith(("PYTHON", "LC_", "LANG")) for name in extra if name != "PYTHONPATH"
        )
        self._process: subprocess.Popen[bytes] | WarmProcess
        if WarmProcess.IS_POSSIBLE and not is_anew:
            self._process = WarmProcess(arguments, folder, _environment(extra), stdin, passed=passed)
        else:
            self._process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=folder,
                env=_environment(extra),
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                pass_fds=inherited,
            )
        self._selector = selectors.DefaultSelector()
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            os.set_blocking(stream.fileno(), False)
            self._selector.register(stream, selectors.EVENT_READ)

    @property
    def process_id(self) -> int:
        return self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._selector.close()
        self.close_input()
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()
        if isinstance(self._process, WarmProcess):
            self._process.close()
        found = told([("its output", self.output), ("its errors", self.errors)])
        if found and kind is None:
            raise AssertionError(f"a planted secret was told: {', '.join(found)}")

    def write(self, text: str) -> None:
        """Write to its standard input; a program that has ended needs nothing more."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(text.encode())
            self._process.stdin.flush()

    def close_input(self) -> None:
        """End its standard input."""
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()

    def close_output(self) -> None:
        """Read no more of its standard output."""
        assert self._process.stdout is not None
        self._selector.unregister(self._process.stdout)
        self._process.stdout.close()

    def wait_output(self, pattern: str) -> re.Match[str]:
        """Return the first match in the standard output, waiting for it."""
        return self._wait(pattern, "output")

    def wait_errors(self, pattern: str) -> re.Match[str]:
        """Return the first match in the standard error output, waiting for it."""
        return self._wait(pattern, "errors")

    def signal(self, number: int, *, group: bool = False) -> None:
        """Send a signal to the program, or to all its processes as a terminal does."""
        if group:
            os.killpg(self._process.pid, number)
        else:
            self._process.send_signal(number)

    def wait(self, seconds: float = WAIT_SECONDS) -> Finished:
        """Wait for its end; return how it ended."""
        until = time.monotonic() + seconds
        while self._read(until):
            pass
        try:
            code = self._process.wait(max(0.01, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it did not end within {seconds:g} s; {self._seen()}") from None
        return Finished(code, self.output, self.errors)

    def _wait(self, pattern: str, name: str) -> re.Match[str]:
        until = time.monotonic() + WAIT_SECONDS
        while True:
            match = re.search(pattern, getattr(self, name), re.MULTILINE)
            if match is not None:
                return match
            if not self._read(until):
                raise AssertionError(f"no {pattern!r} in its {name}; {self._seen()}")

    def _read(self, until: float) -> bool:
        """Read the arrived bytes; False at the end of the file, or after the timeout."""
        if not self._selector.get_map():
            return False
        ready = self._selector.select(max(0.0, until - time.monotonic()))
        for key, _ in ready:
            data = os.read(key.fd, 65_536)
            if not data:
                self._selector.unregister(key.fileobj)
            elif key.fileobj is self._process.stdout:
                self.output += data.decode()
            else:
                self.errors += data.decode()
        return bool(ready)

    def _seen(self) -> str:
        return f"output: {self.output!r}; errors: {self.errors!r}"


def run_program(
    arguments: Sequence[str],
    folder: Path,
    environment: Mapping[str, str] | None = None,
    *,
    is_anew: bool = False,
) -> Finished:
    """Run a program to its end."""
    with Program(arguments, folder, environment, is_anew=is_anew) as program:
        return program.wait()


@contextlib.contextmanager
def command_line(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None
) -> Iterator[Program]:
    """Run `fastrpc` with arguments."""
    with Program(["-m", "fastrpc", *arguments], folder, environment) as program:
        yield program


def _environment(extra: Mapping[str, str]) -> dict[str, str]:
    ours = ("FASTRPC_", "PYTHONUNBUFFERED", "WEB_CONCURRENCY")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    # Words are not to be cut at the width of some terminal.
    kept |= {"PYTHONPATH": str(PACKAGE_ROOT), "COLUMNS": "200", "NO_COLOR": "1"}
    # A busy machine can keep a loop for more than the second after which calls that wait are refused.
    return kept | {"FASTRPC_ADMISSION_QUEUE_AGE": "30"} | dict(extra)
