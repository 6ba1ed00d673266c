"""`fastrpc bench`: the rate and the latency of a method."""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Annotated, Any, NamedTuple

import typer

from fastrpc.cli.benchmark.run import BenchmarkRun, CallBenchmark
from fastrpc.cli.benchmark.streams import StreamBenchmark
from fastrpc.cli.calling.command import (
    CALL_SECONDS,
    OPTIONS,
    Address,
    AsJson,
    CallTimeout,
    Codec,
    Method,
    Values,
    described_method,
    has_descriptors,
    hinted,
    kind_hinted,
    run_async,
    time_limit,
)
from fastrpc.cli.calling.grpc_methods import KnownGrpcMethod
from fastrpc.cli.calling.method_kinds import Kind, KindName, KnownMethod, known_method
from fastrpc.cli.calling.values import call_text, read_arguments, refuse_options
from fastrpc.cli.dial_options import Authorities, Certificate, Key, ServerName, TokenPath, dialing
from fastrpc.cli.output import stderr, stdout
from fastrpc.cli.printing import counted, print_error, print_json, reported
from fastrpc.client.client import Client
from fastrpc.errors import FastRPCError
from fastrpc.escaping import printable
from fastrpc.registries.base.urls import target_for
from fastrpc.workers.plan import ExitCode

__all__ = ["bench"]

#: Seconds between updates of the progress bar.
PROGRESS_SECONDS = 0.1

Callers = Annotated[int, typer.Option("--callers", "-c", min=1, metavar="N", help="Calls in flight at once.")]
Seconds = Annotated[
    float, typer.Option("--seconds", "-d", min=0.01, metavar="SECONDS", help="How long to measure.")
]
Connections = Annotated[
    int, typer.Option("--connections", "-n", min=1, metavar="N", help="Connections to use.")
]

BENCH_OPTIONS = (*OPTIONS, "--callers", "--seconds", "--connections")


def bench(
    address: Address,
    method: Method,
    values: Values = None,
    callers: Callers = 64,
    seconds: Seconds = 5.0,
    connections: Connections = 1,
    timeout: CallTimeout = None,
    codec: Codec = None,
    kind: Kind = None,
    ca: Authorities = None,
    cert: Certificate = None,
    key: Key = None,
    server_name: ServerName = None,
    token_file: TokenPath = None,
    as_json: AsJson = False,
) -> None:
    """Measure rate and latency of a method: each caller awaits one call, or one stream, after another.

    For streams it reports the rate of messages, the time to the first message, and the gaps between deliveries. A
    method that takes a stream gets the lines of standard input again and again: write `-` in the place of its stream.
    """
    texts = values or ()
    with reported(ExitCode.USAGE):
        refuse_options(texts, BENCH_OPTIONS)
        read_arguments(texts, codec=codec)
        options: dict[str, Any] = {} if codec is None else {"codec": codec}
        target = target_for(address, method.rpartition(".")[0])
        dial = dialing(ca, cert, key, server_name, token_file)
        clients = [dial.client(target) for _ in range(min(connections, callers))]
        views = [client.with_options(**options) for client in clients]

    measuring = _measure(
        views, _Wanted(address, method, texts, codec, kind, timeout), callers, seconds, as_json=as_json
    )
    with reported(ExitCode.FAILED, as_json=as_json), hinted(address, dial):
        benchmark = run_async(_entered(clients, measuring))
    _end(benchmark, as_json=as_json)


class _Wanted(NamedTuple):
    """The method that the command line names."""

    address: str
    method: str
    texts: Sequence[str]
    codec: str | None
    kind: KindName | None
    timeout: float | None


async def _entered(clients: list[Client], measuring: Coroutine[Any, Any, BenchmarkRun]) -> BenchmarkRun:
    async with contextlib.AsyncExitStack() as stack:
        for client in clients:
            await stack.enter_async_context(client)
        return await measuring


async def _measure(
    views: list[Any], wanted: _Wanted, callers: int, seconds: float, *, as_json: bool
) -> BenchmarkRun:
    address, method, texts, codec, kind, timeout = wanted
    seconds_asked = timeout or CALL_SECONDS
    known: KnownMethod | KnownGrpcMethod
    if has_descriptors(address, codec):
        # Answers are not decoded: only their arrival is measured.
        known = await described_method(views[0], address, method, kind, seconds_asked, decodes=False)
    else:
        known = await known_method(views[0], method, kind, seconds_asked)
    args, kwargs, has_input = known.prepare(texts, codec)
    messages = [one async for one in known.input(codec)] if has_input else []
    limited = [view.with_options(timeout=time_limit(known, timeout)) for view in views]
    benchmark: BenchmarkRun
    if known.kind == "unary":
        benchmark = CallBenchmark(limited, known, args, kwargs, callers=callers)
    else:
        benchmark = StreamBenchmark(limited, known, args, kwargs, messages, callers=callers)
    with kind_hinted(known):
        await benchmark.check()
    async with _progress(printable(call_text(method, texts)), seconds, visible=not as_json):
        await benchmark.run(seconds)
    return benchmark


def _end(benchmark: BenchmarkRun, *, as_json: bool) -> None:
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
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
    )
    with Progress(*columns, console=stderr.console, transient=True) as progress:
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
    used = f"{counted(report['callers'], 'caller')} over {counted(report['connections'], 'connection')}"
    if "kind" in report:
        done = f"{counted(report['messages'], 'message')} in {counted(report['streams'], 'stream')}"
        unit = "messages"
    else:
        done, unit = counted(report["calls"], "call"), "calls"
    stdout.print(f"{done} in {report['seconds']:.2f} s by {used}")
    stdout.print(f"rate     {report['rate']:,.0f} {unit}/s", style="bold")
    for row in ("latency", "first", "gap", "answer"):
        # Figures that this kind of stream does not have are left out.
        if row not in report or not (row == "latency" or report[row]["longest"]):
            continue
        parts = [f"{name} {_duration(report[row][name])}" for name in ("p50", "p99", "p99.9", "longest")]
        stdout.print(f"{row:8} {'   '.join(parts)}")
    errors = ", ".join(f"{count:,} × {name}" for name, count in report["errors"].items())
    stdout.print(f"errors   {errors or 'none'}")
    if first_error is not None:
        print_error(f"the first error: {first_error}")


def _duration(seconds: float) -> str:
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} µs"
    return f"{seconds * 1e3:.2f} ms" if seconds < 1 else f"{seconds:.2f} s"
