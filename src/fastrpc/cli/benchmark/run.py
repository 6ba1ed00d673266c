"""One run of a benchmark: a closed loop of callers, each with one call or stream in flight at any time."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections import Counter
from typing import Any

from fastrpc.cli.benchmark.latency import Latencies
from fastrpc.errors import FastRPCError

__all__ = ["BenchmarkRun", "CallBenchmark"]

#: Seconds a caller pauses after an error, so that a dead server is not called in a tight loop.
ERROR_PAUSE_SECONDS = 0.01


class BenchmarkRun(ABC):
    """The callers of one method, and their results.

    Args:
        known: the method, a `KnownMethod` or a `GrpcMethod`.
    """

    def __init__(self, clients: list[Any], known: Any, *, callers: int) -> None:
        self.method: str = known.name
        #: The method in the form that clients accept.
        self.target: Any = known.target
        self.callers = callers
        self.errors: Counter[str] = Counter()
        self.first_error: FastRPCError | None = None
        self.seconds = 0.0
        self.was_interrupted = False
        self._clients = clients

    async def run(self, seconds: float) -> None:
        """Call for the given seconds. A cancellation ends the run early and keeps the results so far."""
        started = time.perf_counter()
        end_ns = int((started + seconds) * 1e9)
        callers = [
            asyncio.ensure_future(self._call_until(end_ns, self._clients[number % len(self._clients)]))
            for number in range(self.callers)
        ]
        try:
            await asyncio.gather(*callers)
        except asyncio.CancelledError:
            self.was_interrupted = True
            for caller in callers:
                caller.cancel()
            await asyncio.gather(*callers, return_exceptions=True)
        finally:
            self.seconds = time.perf_counter() - started

    async def check(self) -> None:
        """Connect, and check that the method works at all."""
        for client in self._clients:
            await self.try_once(client)

    async def _call_until(self, end_ns: int, client: Any) -> None:
        while time.perf_counter_ns() < end_ns:
            try:
                await self.once(client, end_ns)
            except FastRPCError as error:
                self.first_error = self.first_error or error
                self.errors[error.status.name] += 1
                await asyncio.sleep(ERROR_PAUSE_SECONDS)

    @abstractmethod
    async def try_once(self, client: Any) -> None:
        """Use the method once, before the measurement."""

    @abstractmethod
    async def once(self, client: Any, end_ns: int) -> None:
        """Use the method once or, if that is faster, several times, and count the uses."""

    @abstractmethod
    def report(self) -> dict[str, Any]:
        """Return the results as plain data; durations in seconds."""

    def frame(self) -> dict[str, Any]:
        """Return the part of the report that all kinds of benchmarks share."""
        return {
            "method": self.method,
            "callers": self.callers,
            "connections": len(self._clients),
            "seconds": self.seconds,
        }


class CallBenchmark(BenchmarkRun):
    """One run of unary calls."""

    def __init__(
        self, clients: list[Any], known: Any, args: list[Any], kwargs: dict[str, Any], *, callers: int
    ) -> None:
        super().__init__(clients, known, callers=callers)
        self.latencies = Latencies()
        self._args = args
        self._kwargs = kwargs

    async def try_once(self, client: Any) -> None:
        """Call once."""
        await client.call(self.target, *self._args, **self._kwargs)

    async def once(self, client: Any, end_ns: int) -> None:
        """Call until the time is over or a call fails."""
        call, clock, add = client.call, time.perf_counter_ns, self.latencies.add
        method, args, kwargs = self.target, self._args, self._kwargs
        began = clock()
        while began < end_ns:
            await call(method, *args, **kwargs)
            now = clock()
            add(now - began)
            began = now

    def report(self) -> dict[str, Any]:
        """Return the results as plain data; durations in seconds."""
        count = self.latencies.count
        return {
            **self.frame(),
            "calls": count,
            "rate": count / self.seconds if self.seconds else 0.0,
            "latency": self.latencies.report(),
            "errors": dict(self.errors),
        }
