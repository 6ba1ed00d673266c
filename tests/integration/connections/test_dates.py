"""What is read has the date of the last instant at which its socket was known to be empty."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastrpc._core.io.python_engine import PythonEngine
from fastrpc._core.loop.loop_state import loop_state
from fastrpc.protocols.base import StreamSession
from fastrpc_harness.alarm import arm, date_of
from tests.support.waiting import eventually

#: Longer than a turn that is marked for this, and far shorter than a stall of the loop.
HELD_NS = 5_000_000


class Noting(PythonEngine):
    """Notes date and instant of what comes, after `handle` has run."""

    def __init__(self) -> None:
        self.reads: list[tuple[bytes, int, int]] = []
        self.handle: Callable[[], None] = lambda: None

    def receive_data(self, data: bytes) -> int:
        at = time.monotonic_ns()
        self.handle()
        self.reads.append((data, date_of(self), at))
        return len(data)


@asynccontextmanager
async def reading() -> AsyncIterator[tuple[Noting, socket.socket]]:
    """Yield an engine whose bytes come from a socket."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    engine = Noting()
    transport, _ = await loop.create_connection(lambda: StreamSession(engine, loop=loop), sock=ours)
    try:
        yield engine, theirs
    finally:
        transport.abort()
        theirs.close()


def hold() -> None:
    """Hold the loop as a slow handler does, after which its turns are marked."""
    since = time.monotonic_ns()
    while time.monotonic_ns() < since + HELD_NS:
        pass
    arm(loop_state(asyncio.get_running_loop()).turns.polls, since, is_read=True)


async def test_the_first_bytes_after_a_rest_come_now() -> None:
    async with reading() as (engine, peer):
        await asyncio.sleep(0.1)
        sent = time.monotonic_ns()
        peer.send(b"x")
        await eventually(lambda: engine.reads)
        ((_, date, at),) = engine.reads
        assert sent <= date <= at


async def test_bytes_that_come_while_another_connection_holds_the_loop_are_dated_before_they_came() -> None:
    sent = 0
    async with reading() as (first, its_peer), reading() as (other, others_peer):

        def send_and_hold() -> None:
            nonlocal sent
            sent = time.monotonic_ns()
            others_peer.send(b"y")
            hold()

        first.handle = send_and_hold
        its_peer.send(b"x")
        await eventually(lambda: other.reads)
        ((_, date, at),) = other.reads
        assert first.reads[0][1] <= date < at
        # The turn of the first read began before that sent anything.
        assert date <= sent + HELD_NS


async def test_bytes_that_come_while_their_own_connection_holds_the_loop_are_dated_then() -> None:
    async with reading() as (engine, peer):

        def send_and_hold() -> None:
            engine.handle = lambda: None
            peer.send(b"y")
            hold()

        engine.handle = send_and_hold
        peer.send(b"x")
        await eventually(lambda: len(engine.reads) == 2)
        (_, _, first), (_, date, at) = engine.reads
        assert date < first + HELD_NS <= at


async def test_time_for_which_an_engine_holds_its_peer_back_does_not_count() -> None:
    async with reading() as (engine, peer):
        engine.hold_back(True)
        peer.send(b"x")
        await asyncio.sleep(0.05)
        released = time.monotonic_ns()
        engine.hold_back(False)
        await eventually(lambda: engine.reads)
        ((_, date, _),) = engine.reads
        assert date >= released


async def test_no_date_is_before_the_read_that_emptied_the_socket() -> None:
    async with reading() as (engine, peer), reading() as (busy, its_peer):
        busy.handle = hold
        for number in range(50):
            its_peer.send(b"x")
            peer.send(b"%d" % number)
            await eventually(lambda count=number: len(busy.reads) > count and len(engine.reads) > count)  # type: ignore[misc]
        for (_, _, before), (_, date, at) in zip(engine.reads, engine.reads[1:], strict=False):
            # The instant of a read is noted before the engine's.
            assert before - HELD_NS <= date <= at
