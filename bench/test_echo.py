"""Echo from end to end over each transport and loop, both sides in this process.

Client and server share one loop and one core, so a figure is the cost of both sides together and hardly drifts; `python
-m bench.compare` measures the times of a caller with a core for each side.

pytest bench/test_echo.py
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import uvloop
from pytest_benchmark.fixture import BenchmarkFixture

import fastrpc
import fastrpc.testing
from bench.compare.peers.fastrpc import Bench, build_record
from bench.conftest import MeasurePerCall

CALLERS = 64
CALLS_PER_CALLER = 16

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


class Connected:
    """A client and its server on one loop that runs only on request."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner
        self._opened = AsyncExitStack()
        self.client: fastrpc.Client

    def open(self, address: str) -> None:
        async def open_both() -> None:
            server = await self._opened.enter_async_context(fastrpc.Server(Bench()))
            bound = await server.listen(address)
            self.client = await self._opened.enter_async_context(fastrpc.Client(str(bound)))
            await self.client.ready(timeout=5)

        self._runner.run(open_both())

    def close(self) -> None:
        self._runner.run(self._opened.aclose())

    def call_from_many(self, call: Callable[[], Any], callers: int, calls_each: int) -> None:
        """Make the calls of several tasks, each awaiting one after the other."""

        async def call_repeatedly() -> None:
            for _ in range(calls_each):
                await call()

        async def call_all() -> None:
            async with asyncio.TaskGroup() as group:
                for _ in range(callers):
                    group.create_task(call_repeatedly())

        self._runner.run(call_all())


@pytest.fixture(params=list(LOOPS))
def runner(request: pytest.FixtureRequest) -> Iterator[asyncio.Runner]:
    with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
        yield runner


@pytest.fixture(params=["tcp", "unix", "memory"])
def connected(request: pytest.FixtureRequest, runner: asyncio.Runner, tmp_path: Path) -> Iterator[Connected]:
    addresses = {
        "tcp": "tcp://127.0.0.1:0",
        "unix": f"unix://{tmp_path}/socket",
        "memory": "memory://bench",
    }
    connected = Connected(runner)
    connected.open(addresses[request.param])
    yield connected
    connected.close()


def test_raw_echo_many_in_flight(connected: Connected, measure_per_call: MeasurePerCall) -> None:
    payload, call = b"x" * 32, connected.client.call
    measure_per_call(
        lambda: connected.call_from_many(lambda: call(Bench.echo, payload), CALLERS, CALLS_PER_CALLER),
        CALLERS * CALLS_PER_CALLER,
    )


def test_raw_echo_one_in_flight(connected: Connected, measure_per_call: MeasurePerCall) -> None:
    payload, call = b"x" * 32, connected.client.call
    measure_per_call(lambda: connected.call_from_many(lambda: call(Bench.echo, payload), 1, 256), 256)


def test_typed_record_many_in_flight(connected: Connected, measure_per_call: MeasurePerCall) -> None:
    call = connected.client.call
    measure_per_call(
        lambda: connected.call_from_many(
            lambda: call(Bench.record, build_record()), CALLERS, CALLS_PER_CALLER
        ),
        CALLERS * CALLS_PER_CALLER,
    )


@pytest.mark.parametrize("size", [4 * 1024, 64 * 1024, 1024 * 1024])
def test_large_echo(connected: Connected, measure_per_call: MeasurePerCall, size: int) -> None:
    payload, call = b"x" * size, connected.client.call
    measure_per_call(lambda: connected.call_from_many(lambda: call(Bench.echo, payload), 4, 8), 32)


def test_batch_of_512(connected: Connected, measure_per_call: MeasurePerCall) -> None:
    batch, call_many = [(b"x" * 32,)] * 512, connected.client.call_many
    measure_per_call(lambda: connected.call_from_many(lambda: call_many(Bench.echo, batch), 1, 1), 512)


def test_blocking_echo(benchmark: BenchmarkFixture) -> None:
    payload = b"x" * 32
    with fastrpc.testing.serving(Bench) as address, fastrpc.SyncClient(str(address)) as client:
        assert benchmark(client.call, Bench.echo, payload) == payload
