"""A hostile server: answers to unknown, finished and foreign calls, twice, and without an end."""

import asyncio
import contextlib
import gc
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from fastrpc import Client, ClientConfig, DeadlineExceededError, FastRPCError, SyncClient
from tests.support.hostile_server import ENDING, GOING_ON, LATE_METHOD

pytestmark = pytest.mark.one_loop

MIB = 1024 * 1024
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

#: Hostile frames that are handled before memory is looked at first, and in all.
WARM_UP = 100_000
FRAMES = 1_000_000

#: Connections that the first hostile frame ends, in the same way.
WARM_UP_ENDS = 50
ENDS = 500

CALLS = 5
LATE_SECONDS = 0.01
LONGEST_SECONDS = 100


class Hostile:
    """The server, which is another process."""

    def __init__(self, process: "subprocess.Popen[str]", kind: str) -> None:
        self._process = process
        self.kind = kind
        self.address = self._line()
        self.config = ClientConfig(wire_protocol="rpcx" if kind.startswith("rpcx") else "native")

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def counts(self) -> tuple[int, int]:
        """Return how many hostile frames it has sent, and how many of them the client has handled."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        sent, handled = map(int, self._line().split())
        return sent, handled


@contextlib.contextmanager
def hostile(kind: str) -> Iterator[Hostile]:
    arguments = [sys.executable, "-m", "tests.support.hostile_server", kind]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Hostile(process, kind)


def resident() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES


async def call_asynchronously(server: Hostile, first: int) -> int:
    """Make some calls with a new client; return how many were answered, each with its own number."""
    answered = 0
    async with Client(server.address, config=server.config) as client:
        for number in range(first, first + CALLS):
            if server.kind.startswith("late"):
                with pytest.raises(DeadlineExceededError):
                    await client.with_options(timeout=LATE_SECONDS).call(LATE_METHOD)
            with contextlib.suppress(FastRPCError):
                assert await client.call("echo.echo", number) == number
                answered += 1
    return answered


async def call_blocking(server: Hostile, first: int) -> int:
    def run() -> int:
        answered = 0
        with SyncClient(server.address, config=server.config) as client:
            for number in range(first, first + CALLS):
                if server.kind.startswith("late"):
                    with pytest.raises(DeadlineExceededError):
                        client.with_options(timeout=LATE_SECONDS).call(LATE_METHOD)
                with contextlib.suppress(FastRPCError):
                    assert client.call("echo.echo", number) == number
                    answered += 1
        return answered

    return await asyncio.to_thread(run)


CLIENTS: dict[str, Callable[[Hostile, int], Awaitable[int]]] = {
    "Client": call_asynchronously,
    "SyncClient": call_blocking,
}


async def flooded(server: Hostile, client: str, warm_up: int, frames: int) -> tuple[int, int]:
    """Call until so many frames were handled; return how many rounds of calls that took, and how many were answered."""
    ends = time.monotonic() + LONGEST_SECONDS
    answered = rounds = 0
    before: int | None = None
    while (counts := server.counts())[1] < frames:
        assert time.monotonic() < ends, f"{counts[0]} frames were sent, {counts[1]} handled"
        if before is None and counts[1] >= warm_up:
            before = resident()
        answered += await CLIENTS[client](server, CALLS * rounds)
        rounds += 1
    assert before is not None
    grown = resident() - before
    print(
        f"{counts[0]} frames sent, {counts[1]} handled, {answered} of {CALLS * rounds} calls answered, "
        f"resident +{grown / MIB:.1f} MiB"
    )
    assert grown <= 4 * MIB
    return rounds, answered


@pytest.mark.measures
@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("kind", GOING_ON)
async def test_a_million_answers_that_nothing_asked_for_reach_no_call(kind: str, client: str) -> None:
    with hostile(kind) as server:
        rounds, answered = await flooded(server, client, WARM_UP, FRAMES)
    # Behind the stated end of an answer no call has one.
    assert answered == (0 if kind == "pieces" else CALLS * rounds)


@pytest.mark.measures
@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("kind", ENDING)
async def test_an_answer_that_nothing_asked_for_ends_its_connection(kind: str, client: str) -> None:
    with hostile(kind) as server:
        rounds, answered = await flooded(server, client, WARM_UP_ENDS, ENDS)
    # Whatever ends a connection, the answer in front of it counts.
    assert answered >= rounds
