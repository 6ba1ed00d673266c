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

from fastrpc import Client, FastRPCError, SyncClient
from tests.support.hostile_server import KINDS

pytestmark = pytest.mark.one_loop

MIB = 1024 * 1024
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

#: Hostile frames that are sent before memory is looked at first, and in all.
WARM_UP = 100_000
FRAMES = 1_000_000

CALLS = 5
LONGEST_SECONDS = 100


class Hostile:
    """The server, which is another process."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.address = self._line()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def sent(self) -> int:
        """Return how many hostile frames it has sent."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return int(self._line())


@contextlib.contextmanager
def hostile(kind: str) -> Iterator[Hostile]:
    arguments = [sys.executable, "-m", "tests.support.hostile_server", kind]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Hostile(process)


def resident() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES


async def call_asynchronously(address: str, first: int) -> int:
    """Make some calls with a new client; return how many were answered, each with its own number."""
    answered = 0
    async with Client(address) as client:
        for number in range(first, first + CALLS):
            with contextlib.suppress(FastRPCError):
                assert await client.call("echo.echo", number) == number
                answered += 1
    return answered


async def call_blocking(address: str, first: int) -> int:
    def run() -> int:
        answered = 0
        with SyncClient(address) as client:
            for number in range(first, first + CALLS):
                with contextlib.suppress(FastRPCError):
                    assert client.call("echo.echo", number) == number
                    answered += 1
        return answered

    return await asyncio.to_thread(run)


CLIENTS: dict[str, Callable[[str, int], Awaitable[int]]] = {
    "Client": call_asynchronously,
    "SyncClient": call_blocking,
}


@pytest.mark.measures
@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("kind", KINDS)
async def test_a_million_answers_that_nothing_asked_for_reach_no_call(kind: str, client: str) -> None:
    ends = time.monotonic() + LONGEST_SECONDS
    with hostile(kind) as server:
        answered = rounds = 0
        before: int | None = None
        while (sent := server.sent()) < FRAMES:
            assert time.monotonic() < ends, f"{sent} frames were sent"
            if before is None and sent >= WARM_UP:
                before = resident()
            answered += await CLIENTS[client](server.address, CALLS * rounds)
            rounds += 1
        assert before is not None
        grown = resident() - before
    print(f"{sent} frames, {answered} of {CALLS * rounds} calls answered, resident +{grown / MIB:.1f} MiB")
    # Whatever ends a connection, the answer in front of it counts.
    assert answered >= rounds
    assert grown <= 4 * MIB
