"""`fastrpc bench`: a closed loop of callers, each with one call in flight at any time."""

import asyncio
import contextlib
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn

from fastrpc.cli.calling import (
    OPTIONS,
    Address,
    AsJson,
    Codec,
    Method,
    Timeout,
    Values,
    hinted,
    run_async,
    target_for,
    typed_arguments,
)
from fastrpc.cli.latency import Latencies
from fastrpc.cli.printing import print_error, print_json, reported, stderr, stdout
from fastrpc.cli.values import call_text, read_arguments, refuse_options
from fastrpc.client.client import Client
from fastrpc.errors import FastRPCError
from fastrpc.escaping import printable
from fastrpc.server.plan import ExitCode

__all__ = ["Benchmark", "bench"]

#: Seconds between updates of the progress bar.
PROGRESS_SECONDS = 0.1

#: Seconds a caller pauses after an error, so that a dead server is not called in a tight loop.
ERROR_PAUSE_SECONDS = 0.01

Callers = Annotated[int, typer.Option("--callers", "-c", min=1, metavar="N", help="Calls in flight at once.")]
Seconds = Annotated[
    float, typer.Option("--seconds", "-d", min=0.01, metavar="SECONDS", help="How long to measure.")
]
Connections = Annotated[
    int, typer.Option("--connections", "-n", min=1, metavar="N", help="Connections to use.")
]

BENCH_OPTIONS = (*OPTIONS, "--callers", "--seconds", "--connections")


class Benchmark:
    """One run: its callers, its method and its results."""

    def __init__(
        self, clients: list[Any], method: str, args: list[Any], kwargs: dict[str, Any], *, callers: int
    ) -> None:
        self.latencies = Latencies()
        self.errors: Counter[str] = Counter()
        self.first_error: FastRPCError | None = None
        self.seconds = 0.0
        self.was_interrupted = False
        self.callers = callers
        self._clients = clients
        self._method = method
        self._args = args
        self._kwargs = kwargs

    async def run(self, seconds: float) -> None:
        """Call for the given seconds; cancelling ends it early and keeps the results so far."""
        started = time.perf_counter()
        end = started + seconds
        callers = [
            asyncio.ensure_future(self._call_until(end, self._clients[number % len(self._clients)]))
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

    async def _call_until(self, end: float, client: Any) -> None:
        call, clock, add = client.call, time.perf_counter_ns, self.latencies.add
        method, args, kwargs = self._method, self._args, self._kwargs
        end_ns = int(end * 1e9)
        began = clock()
        while began < end_ns:
            try:
                await call(method, *args, **kwargs)
            except FastRPCError as error:
                self._note_error(error)
                await asyncio.sleep(ERROR_PAUSE_SECONDS)
                began = clock()
            else:
                now = clock()
                add(now - began)
                began = now

    def _note_error(self, error: FastRPCError) -> None:
        self.first_error = self.first_error or error
        self.errors[error.status.name] += 1

    def report(self) -> dict[str, Any]:
        """Return the results as plain data; durations in seconds."""
        latencies = self.latencies
        return {
            "method": self._method,
            "callers": self.callers,
            "connections": len(self._clients),
            "seconds": self.seconds,
            "calls": latencies.count,
            "rate": latencies.count / self.seconds if self.seconds else 0.0,
            "latency": {
                "mean": latencies.mean,
                "p50": latencies.percentile(0.5),
                "p99": latencies.percentile(0.99),
                "p99.9": latencies.percentile(0.999),
                "longest": latencies.longest_ns / 1e9,
            },
            "errors": dict(self.errors),
        }


def bench(
    address: Address,
    method: Method,
    values: Values = None,
    callers: Callers = 64,
    seconds: Seconds = 5.0,
    connections: Connections = 1,
    timeout: Timeout = 5.0,
    codec: Codec = None,
    as_json: AsJson = False,
) -> None:
    """Measure rate and latency of a method: callers that each await one call after the other."""
    texts = values or ()
    with reported(ExitCode.USAGE):
        refuse_options(texts, BENCH_OPTIONS)
        read_arguments(texts, codec=codec)
        options: dict[str, Any] = {"timeout": timeout} | ({} if codec is None else {"codec": codec})
        target = target_for(address, method.rpartition(".")[0])
        clients = [Client(target) for _ in range(min(connections, callers))]
        views = [client.with_options(**options) for client in clients]

    async def measure() -> Benchmark:
        async with contextlib.AsyncExitStack() as stack:
            for client in clients:
                await stack.enter_async_context(client)
            args, kwargs = await typed_arguments(views[0], method, texts, codec, timeout)
            for view in views:  # Connects, and checks that the call works at all.
                await view.call(method, *args, **kwargs)
            benchmark = Benchmark(views, method, args, kwargs, callers=callers)
            async with _progress(printable(call_text(method, texts)), seconds, visible=not as_json):
                await benchmark.run(seconds)
        return benchmark

    with reported(ExitCode.FAILED, as_json=as_json), hinted(address):
        benchmark = run_async(measure())
    _end(benchmark, as_json=as_json)


def _end(benchmark: Benchmark, *, as_json: bool) -> None:
    if as_json:
        print_json(benchmark.report())
    else:
        _print(benchmark.report(), benchmark.first_error)
    if benchmark.was_interrupted:
        raise typer.Exit(ExitCode.INTERRUPTED)
    if benchmark.errors:
        raise typer.Exit(ExitCode.FAILED)


@contextlib.asynccontextmanager
async def _progress(text: str, seconds: float, *, visible: bool) -> AsyncIterator[None]:
    """Show a bar while the block runs, on a terminal."""
    if not visible or not sys.stderr.isatty():
        yield
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
    )
    with Progress(*columns, console=stderr, transient=True) as progress:
        bar = progress.add_task(text, total=seconds)
        started = time.perf_counter()

        async def advance() -> None:
            while True:
                await asyncio.sleep(PROGRESS_SECONDS)
                progress.update(bar, completed=time.perf_counter() - started)

        advancing = asyncio.ensure_future(advance())
        try:
            yield
        finally:
            advancing.cancel()


def _print(report: dict[str, Any], first_error: FastRPCError | None) -> None:
    latency = report["latency"]
    connections = report["connections"]
    stdout.print(
        f"{report['calls']:,} calls in {report['seconds']:.2f} s by {report['callers']:,} callers "
        f"over {connections} connection{'s' if connections > 1 else ''}"
    )
    stdout.print(f"rate     {report['rate']:,.0f} calls/s", style="bold")
    parts = [f"{name} {_duration(latency[name])}" for name in ("p50", "p99", "p99.9", "longest")]
    stdout.print(f"latency  {'   '.join(parts)}")
    errors = ", ".join(f"{count:,} × {name}" for name, count in report["errors"].items())
    stdout.print(f"errors   {errors or 'none'}")
    if first_error is not None:
        print_error(f"the first error: {first_error}")


def _duration(seconds: float) -> str:
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} µs"
    return f"{seconds * 1e3:.2f} ms" if seconds < 1 else f"{seconds:.2f} s"
