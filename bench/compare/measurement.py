"""One measured window: calls, time, latencies, and the CPU both sides spent on it."""

import ctypes
import gc
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """The results of a client between the start and the end of its window."""

    calls: int
    seconds: float
    client_cpu_seconds: float
    server_cpu_seconds: float
    p50_seconds: float
    p99_seconds: float
    p999_seconds: float
    #: How many operations were timed for the percentiles.
    samples: int
    #: The cipher that the connections agreed to; empty without TLS.
    cipher: str = ""


@dataclass(frozen=True, kw_only=True)
class LoadOrder:
    """The order for one client process, in the form of its command line."""

    address: str
    workload: str
    warm_seconds: float
    seconds: float
    #: The server's processes, whose CPU time the client reads at both ends of its window.
    server_processes: tuple[int, ...]


@dataclass(frozen=True)
class Reading:
    """Clocks and counters at one end of a window."""

    now: float
    completed: int
    client_cpu: float
    server_cpu: float


class ProcessorClocks:
    """CPU time of this process and of the server's, all threads, to the nanosecond."""

    def __init__(self, server_processes: Sequence[int]) -> None:
        self._server_clocks = [_processor_clock(process) for process in server_processes]

    def read(self, completed: int) -> Reading:
        return Reading(
            time.perf_counter(),
            completed,
            time.process_time(),
            sum(time.clock_gettime(clock) for clock in self._server_clocks),
        )


def measured(first: Reading, last: Reading, batch: int, latencies: list[float]) -> Measurement:
    """Combine both ends of a window; `latencies` are sorted in place."""
    latencies.sort()
    return Measurement(
        calls=(last.completed - first.completed) * batch,
        seconds=last.now - first.now,
        client_cpu_seconds=last.client_cpu - first.client_cpu,
        server_cpu_seconds=last.server_cpu - first.server_cpu,
        p50_seconds=percentile(latencies, 0.5),
        p99_seconds=percentile(latencies, 0.99),
        p999_seconds=percentile(latencies, 0.999),
        samples=len(latencies),
        cipher=agreed_cipher(),
    )


def agreed_cipher() -> str:
    """Return the cipher of this process's open connections, if Python's `ssl` encrypts them."""
    connections = [each for each in gc.get_objects() if isinstance(each, ssl.SSLObject)]
    ciphers = {cipher[0] for each in connections if (cipher := each.cipher()) is not None}
    return ", ".join(sorted(ciphers))


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the value that `share` of the ordered values do not exceed; 0 if there are none."""
    if not ordered:
        return 0.0
    return ordered[int((len(ordered) - 1) * share + 0.5)]


def _processor_clock(process: int) -> int:
    """Return the clock id of another process's CPU time, see clock_getcpuclockid(3)."""
    library: Any = ctypes.CDLL(None, use_errno=True)
    clock = ctypes.c_int()
    error = library.clock_getcpuclockid(process, ctypes.byref(clock))
    if error:
        raise ProcessLookupError(error, f"process {process} has no CPU clock")
    return clock.value
