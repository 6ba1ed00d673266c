"""Limits: a rate that is kept, a server that stays useful under overload, a greedy caller, a million keys."""

import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bench.compare.paths import ROOT
from bench.compare.processes import choose_cores, run_client, running_server
from bench.promises.finding import Finding
from fastrpc._core.limiting.limiters import RateLimiter

__all__ = ["greedy_caller", "kept_rates", "many_keys", "overload"]

_COMMAND = [sys.executable, "-m", "bench.promises.limited"]


def kept_rates() -> Finding:
    """A rate of 1,000 calls/s over four processes, under a load that is far above it."""
    with _workers(4) as address:
        found = run_client([*_COMMAND, address, "rated", "10"], choose_cores().client, 40)
    return Finding(
        "a limit of 1,000 calls/s, 4 processes",
        abs(found["passed"] / 1_000 - 1) * 100,
        2,
        "% off",
        f"{found['passed']:,.1f} calls/s passed in {found['seconds']:.1f} s, the burst of 100 included",
    )


@contextmanager
def _workers(count: int) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with subprocess.Popen([*_COMMAND, "rated", str(port), str(count)], cwd=ROOT) as process:
        try:
            yield f"tcp://127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)


def overload(seconds: int = 60) -> list[Finding]:
    """Three times a server's capacity, with deadlines of 250 ms, for some seconds, then half of it."""
    found = _measured("adaptive", "overload", seconds)
    without = _measured("unlimited", "overload", 5)
    details = (
        f"{found['goodput']:,.0f} of {found['peak']:,.0f} calls/s over {seconds} s, {found['late']:.0f} late; "
        f"without the limit {without['goodput']:,.0f}"
    )
    return [
        Finding(
            "3 × capacity: goodput lost",
            (1 - found["goodput"] / found["peak"]) * 100,
            20,
            "% of the peak",
            details,
        ),
        Finding(
            "the same: a refusal",
            found["refusal_p50"] * 1e3,
            5,
            "ms, the median",
            f"of {found['refused']:,.0f}; {found['refusal_p99'] * 1e3:.1f} ms at p99",
        ),
        Finding(
            "then 0.5 ×: normal after", found["normal_after"], 5, "s", f"{found['refused_after']:.0f} refused"
        ),
    ]


def greedy_caller() -> list[Finding]:
    """Other callers during a caller that makes ten times its limit."""
    found = _measured("per_peer", "greedy", 6)
    times = ", ".join(
        f"{kind.replace('_', ' a ')} {found[kind] * 1e3:.2f} ms" for kind in ("alone", "beside_modest")
    )
    passed = f"{found['passed']:.0f} of 2,000 calls/s passed"
    details = f"{found['beside'] * 1e3:.2f} ms, {times}, the least of 5 rounds; {passed}"
    title = "600 calls/s of 0.5 ms beside a greedy caller with a limit of 200 calls/s"
    return [
        Finding(title, found["beside"] / found["alone"], 1.5, "times the p99 alone", details),
        Finding(
            "the same: what it asks for in vain",
            found["beside"] / found["beside_modest"],
            1.5,
            "times the p99 beside one that keeps the limit",
            "both are let through as often",
        ),
    ]


def many_keys() -> list[Finding]:
    """A million new callers, at a table that is full."""
    limiter = RateLimiter(0.001, 1, now=0)
    spent = [b"spent %d" % number for number in range(10_000)]
    for name in spent:
        limiter.try_take(name, 0)
    before = _peak_kib()
    began = time.process_time()
    for number in range(1_000_000):
        limiter.try_take(b"fresh %d" % number, 1_000 * number)
    nanoseconds = (time.process_time() - began) * 1e3
    passed = sum(limiter.try_take(name, 1_000_000_000) == 0 for name in spent)
    return [
        Finding("a million fresh keys: spent buckets evicted", passed, 0, "buckets", "of 10,000"),
        Finding("the same: memory", _peak_kib() - before, 1_024, "KiB", "the table itself has 512"),
        Finding("the same: each", nanoseconds, 1_000, "ns", "the name included"),
    ]


def _peak_kib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _measured(server: str, measure: str, seconds: int) -> dict[str, Any]:
    with running_server([*_COMMAND, server], choose_cores().server) as running:
        return run_client(
            [*_COMMAND, running.address, measure, str(seconds)], choose_cores().client, seconds + 30
        )
