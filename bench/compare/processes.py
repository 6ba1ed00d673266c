"""Start servers and clients on their own cores, and end the started processes, always and by id."""

import json
import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, Any, NamedTuple

from bench.compare.paths import ROOT

#: The time until a server announces its address, and the time of a client beyond its window.
START_SECONDS = 20.0

#: Between asking a process to end and making it.
END_SECONDS = 2.0


class Cores(NamedTuple):
    """The cores of both sides; the same core twice on a machine that has only one."""

    server: int
    client: int


class ProcessFailedError(Exception):
    """A started process ended, stayed silent or took too long; the error contains the end of its error output."""


@dataclass(frozen=True)
class RunningServer:
    """A server that announced itself."""

    address: str
    #: Every process that works for it, for the CPU accounts; the first is the started one.
    processes: tuple[int, ...]

    def peak_bytes(self) -> int:
        """Return the most memory that its processes held."""
        return sum(peak_bytes_of(process) for process in self.processes)


def choose_cores() -> Cores:
    """Return the first two cores this process may use."""
    allowed = sorted(os.sched_getaffinity(0))
    return Cores(allowed[0], allowed[1] if len(allowed) > 1 else allowed[0])


@contextmanager
def running_server(command: Sequence[str], core: int) -> Iterator[RunningServer]:
    """Run a server until the block ends; it announces itself with one JSON line and ends with its input."""
    with _started(command, core) as (process, errors):
        announcement = json.loads(_first_line(process, errors))
        yield RunningServer(announcement["address"], tuple(announcement["processes"]))
        if process.poll() is not None:
            raise ProcessFailedError(_explain(process, errors, "the server ended under load"))


def run_client(command: Sequence[str], core: int, seconds: float) -> dict[str, Any]:
    """Run a client to its end and return the JSON object it printed last."""
    with _started(command, core) as (process, errors):
        try:
            output, _ = process.communicate(timeout=seconds + START_SECONDS)
        except subprocess.TimeoutExpired:
            raise ProcessFailedError(
                _explain(process, errors, f"no result after {seconds + START_SECONDS:g} s")
            ) from None
        lines = output.splitlines()
        if process.returncode or not lines:
            raise ProcessFailedError(_explain(process, errors, f"ended with {process.returncode}"))
        result: dict[str, Any] = json.loads(lines[-1])
        return result


@contextmanager
def _started(command: Sequence[str], core: int) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
    process: subprocess.Popen[bytes] | None = None
    with tempfile.TemporaryFile() as errors:
        try:
            with _uninterrupted(), _on_core(core):
                process = subprocess.Popen(
                    command,
                    cwd=ROOT,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    # A group of its own: the terminal's Ctrl-C reaches only us, and we end them in order.
                    start_new_session=True,
                )
                _pass_on_priority(process.pid)
            yield process, errors
        finally:
            if process is not None:
                with _uninterrupted():
                    _end(process)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold back Ctrl-C and SIGTERM until the block is over, so that no started process is forgotten."""
    held: list[int] = []
    before = {
        number: signal.signal(number, lambda number, frame: held.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if held:
        signal.raise_signal(held[0])


def _pass_on_priority(process: int) -> None:
    """Pass our priority on to a new session: if sessions are scheduled as groups, theirs counts, see sched(7)."""
    priority = os.getpriority(os.PRIO_PROCESS, 0)
    if priority:
        with suppress(OSError), open(f"/proc/{process}/autogroup", "w") as file:
            file.write(str(priority))


@contextmanager
def _on_core(core: int) -> Iterator[None]:
    """Run the block on one core; processes and threads started in it stay there."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask by closing the input, then by signals to the process's own group, and reap it."""
    with suppress(OSError):
        if process.stdin:
            process.stdin.close()
    for number in (None, signal.SIGTERM, signal.SIGKILL):
        # Until it is waited for, the id is the process's own: the group cannot be a stranger's.
        if number is not None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(END_SECONDS)
            break
    if process.stdout:
        process.stdout.close()


def _first_line(process: subprocess.Popen[bytes], errors: IO[bytes]) -> bytes:
    if process.stdout is None:
        raise ProcessFailedError("the server has no output to announce itself on")
    limit = time.monotonic() + START_SECONDS
    received = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while b"\n" not in received:
            if not selector.select(limit - time.monotonic()):
                raise ProcessFailedError(
                    _explain(process, errors, f"announced no address within {START_SECONDS:g} s")
                )
            block = os.read(process.stdout.fileno(), 4096)
            if not block:
                raise ProcessFailedError(_explain(process, errors, "ended before it listened"))
            received += block
    return received.partition(b"\n")[0]


def _explain(process: subprocess.Popen[bytes], errors: IO[bytes], what: str) -> str:
    errors.seek(0)
    text = errors.read().decode(errors="replace").strip()
    return f"process {process.pid}: {what}" + (f"\n{text[-2000:]}" if text else "")


def peak_bytes_of(process: int) -> int:
    """Return the most memory a process had resident, see proc_pid_status(5); 0 once it has ended."""
    with suppress(OSError), open(f"/proc/{process}/status") as file:
        for line in file:
            name, _, value = line.partition(":")
            if name == "VmHWM":
                return int(value.split()[0]) * 1024
    return 0
