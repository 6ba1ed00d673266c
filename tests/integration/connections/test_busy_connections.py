"""Many connections that are busy at the same time share each turn of the loop, and nothing else changes for them."""

import asyncio
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import pytest

import fastrpc
from fastrpc import Admission, Client, Keepalive, ServerConfig, Timeouts
from fastrpc._core.loop.loop_state import loop_state
from fastrpc._core.loop.turns import SlicedWork
from fastrpc._core.server.memory_budget import bytes_held
from fastrpc.protocols.base import ServerEngine
from tests.support.frame_factory import opening, request
from tests.support.served import Served, served
from tests.support.waiting import eventually
from tests.support.wire_layout import FLAG_ONE_WAY

#: How long each call keeps the loop.
BURN_SECONDS = 0.0003
#: Between two looks at the loop: one round of waiting work, and the reads of this turn.
MOST_SECONDS = 0.015

#: Even on a busy machine no call waits too long for its start, and a drain cuts off no call.
PATIENT = ServerConfig(admission=Admission(queue_age=60), timeouts=Timeouts(drain=60))

streams = pytest.mark.parametrize("scheme", ["tcp", "unix"])


@fastrpc.service("work")
class Work:
    """Keeps the loop for a moment with each call, and notes them in their order."""

    def __init__(self) -> None:
        self.started: list[int] = []

    @fastrpc.method
    async def burn(self, number: int) -> int:
        self.started.append(number)
        until = time.perf_counter() + BURN_SECONDS
        while time.perf_counter() < until:
            pass
        return number

    @fastrpc.method(codec="raw")
    async def burn_bytes(self, payload: bytes) -> bytes:
        await self.burn(len(self.started))
        return payload[:1]

    @fastrpc.method(inline=True)
    def note(self, number: int) -> None:
        self.started.append(number)
        sum(range(2_000))

    @fastrpc.method(inline=True)
    def now(self) -> int:
        return len(self.started)


class Watch:
    """Counts the calls that start between two looks at the loop; the most of them once it ends."""

    def __init__(self, work: Work) -> None:
        self.most = 0
        self._work = work

    async def __aenter__(self) -> "Watch":
        self._task = asyncio.ensure_future(self._look())
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *error: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _look(self) -> None:
        before = len(self._work.started)
        while True:
            await asyncio.sleep(0)
            self.most, before = (
                max(self.most, len(self._work.started) - before),
                len(self._work.started),
            )


def burns(numbers: Sequence[int], *, flags: int = 0, before: int = 0) -> bytes:
    """Return the REQUESTs that burn for these numbers, after `before` others of their connection."""
    return b"".join(
        request(2 * place + 1, b"\x91\xcd" + number.to_bytes(2), method=b"work.burn", codec=1, flags=flags)
        for place, number in enumerate(numbers, before)
    )


def sessions_of(target: Served) -> set[ServerEngine]:
    return target.server._gate.engines  # type: ignore[union-attr]


def some_wait(target: Served) -> bool:
    return any(session.stream.is_put_off for session in sessions_of(target))  # type: ignore[attr-defined]


async def send_until_some_wait(
    target: Served, work: Work, sockets: Sequence[socket.socket], *, flags: int
) -> int:
    """Send five burns on each connection, again until the bytes of some wait; return how many one has sent.

    Behind a stall of the machine calls wait for their start instead of their bytes.
    """
    for calls in range(5, 100, 5):
        for stream in sockets:
            stream.sendall(burns(range(5), flags=flags, before=calls - 5))
        sent = calls * len(sockets)
        await eventually(lambda sent=sent: some_wait(target) or len(work.started) == sent)  # type: ignore[misc]
        if some_wait(target):
            return calls
    raise AssertionError("no bytes ever wait")


@contextmanager
def crowded_loop() -> Iterator[None]:
    """Use up each turn of the loop by other work, so that every read waits."""
    ended = False

    def step() -> bool:
        until = time.perf_counter() + 0.005
        while time.perf_counter() < until:
            pass
        return not ended

    SlicedWork(loop_state(asyncio.get_running_loop()).turns, step).begin()
    try:
        yield
    finally:
        ended = True


@contextmanager
def opened(target: Served, count: int) -> Iterator[list[socket.socket]]:
    """Connect the given number of sockets, each of which has written its opening."""
    with ExitStack() as stack:
        sockets = []
        for _ in range(count):
            if target.startswith("unix"):
                stream = stack.enter_context(socket.socket(socket.AF_UNIX))
                stream.connect(target.removeprefix("unix://"))
            else:
                host, _, port = target.removeprefix("tcp://").rpartition(":")
                stream = stack.enter_context(socket.create_connection((host, int(port))))
            stream.sendall(opening(False))
            sockets.append(stream)
        yield sockets


async def settled(target: Served, count: int) -> None:
    await eventually(
        lambda: len(sessions_of(target)) == count and len(target.server._accepting.openings) == 0
    )  # type: ignore[union-attr]


@pytest.mark.measures
@streams
@pytest.mark.parametrize(("connections", "calls"), [(80, 10), (300, 1)])
async def test_all_connections_together_keep_the_loop_no_longer_than_one_may(
    scheme: str, connections: int, calls: int
) -> None:
    work, total = Work(), connections * calls
    async with served(work, scheme=scheme, config=PATIENT) as target:
        with opened(target, connections) as sockets:
            await settled(target, connections)
            async with Watch(work) as watch:
                for place, stream in enumerate(sockets):
                    stream.sendall(burns(range(place * calls, (place + 1) * calls)))
                await eventually(lambda: len(work.started) == total)
    # Even on a slow machine no handler takes less than its configured time.
    assert watch.most * BURN_SECONDS <= MOST_SECONDS
    for place in range(connections):
        own = [number for number in work.started if number // calls == place]
        assert own == sorted(own)


@pytest.mark.measures
@streams
async def test_calls_after_an_opening_share_the_turn_too(scheme: str) -> None:
    work, connections, calls = Work(), 80, 10
    async with served(work, scheme=scheme, config=PATIENT) as target, Watch(work) as watch:
        with opened(target, connections) as sockets:
            for stream in sockets:
                stream.sendall(burns(range(calls)))
            await eventually(lambda: len(work.started) == connections * calls)
    assert watch.most * BURN_SECONDS <= MOST_SECONDS


@pytest.mark.measures
@streams
async def test_long_payloads_that_complete_in_one_read_share_the_turn(scheme: str) -> None:
    work, connections, payload = Work(), 200, bytes(60_000)
    frame = request(1, payload, method=b"work.burn_bytes")
    async with served(work, scheme=scheme, config=PATIENT) as target:
        with opened(target, connections) as sockets:
            await settled(target, connections)
            for stream in sockets:
                stream.sendall(frame[:30_000])
            await eventually(
                lambda: all(0 < session.reader.body_left <= 30_100 for session in sessions_of(target))  # type: ignore[attr-defined]
            )
            async with Watch(work) as watch:
                for stream in sockets:
                    stream.sendall(frame[30_000:])
                await eventually(lambda: len(work.started) == connections)
    assert watch.most * BURN_SECONDS <= MOST_SECONDS


@pytest.mark.one_loop  # On asyncio reads come before slices, so that no slice uses up their turn.
@streams
async def test_waiting_bytes_are_counted_until_they_are_handled(scheme: str) -> None:
    work, connections = Work(), 30
    async with served(work, scheme=scheme, config=PATIENT) as target:
        with opened(target, connections) as sockets:
            await settled(target, connections)
            assert bytes_held() == 0
            with crowded_loop():
                calls = await send_until_some_wait(target, work, sockets, flags=FLAG_ONE_WAY)
                waiting = [session for session in sessions_of(target) if session.stream.is_put_off]  # type: ignore[attr-defined]
                # One connection may have stopped in the middle of its frames, which all have the same size.
                frame = len(burns([0], flags=FLAG_ONE_WAY))
                assert all(session.held_bytes >= frame for session in waiting)  # type: ignore[attr-defined]
                assert bytes_held() == sum(session.held_bytes for session in sessions_of(target))  # type: ignore[attr-defined]
                await eventually(lambda: len(work.started) == calls * connections)
            await eventually(lambda: not some_wait(target))
            assert bytes_held() == 0
    for first in range(5):
        assert work.started.count(first) == calls // 5 * connections


@pytest.mark.one_loop  # On asyncio reads come before slices, so that no slice uses up their turn.
@streams
@pytest.mark.parametrize("end", ["close", "abort", "leave"])
async def test_nothing_stays_counted_of_connections_that_end_while_they_wait(scheme: str, end: str) -> None:
    work, connections = Work(), 30
    async with served(work, scheme=scheme, config=PATIENT) as target:
        with opened(target, connections) as sockets:
            await settled(target, connections)
            with crowded_loop():
                await send_until_some_wait(target, work, sockets, flags=0)
                if end == "close":
                    await target.server.close()
                elif end == "abort":
                    for session in list(sessions_of(target)):
                        session.abort()  # type: ignore[attr-defined]
                else:
                    for stream in sockets:
                        stream.close()
                await eventually(lambda: not sessions_of(target))
        assert bytes_held() == 0


@streams
async def test_a_drain_answers_waiting_calls(scheme: str) -> None:
    calls = 20
    async with served(Work(), scheme=scheme, config=PATIENT) as target:
        clients = [Client(target) for _ in range(10)]
        patient = [client.with_options(timeout=60) for client in clients]
        await asyncio.gather(*(client.ready() for client in clients))
        with crowded_loop():
            # Behind a stall of the machine calls wait for their start instead of their bytes: once more then.
            while not some_wait(target):
                ended = asyncio.gather(
                    *(
                        client.call_many(Work.burn, [(number,) for number in range(calls)])
                        for client in patient
                    )
                )
                await eventually(lambda: some_wait(target) or ended.done())  # noqa: B023 - read at once
            assert await target.server.drain() is True
            assert await ended == [list(range(calls))] * len(clients)
        await asyncio.gather(*(client.close() for client in clients))


@streams
async def test_a_peer_whose_bytes_wait_is_not_taken_for_dead(scheme: str) -> None:
    work, connections = Work(), 90
    # None of these peers answers a ping: only their frames show that they live.
    keepalive = Keepalive(interval=0.05, timeout=0.05, minimum_interval=0.001)
    config = ServerConfig(admission=PATIENT.admission, keepalive=keepalive)
    async with served(work, scheme=scheme, config=config) as target:
        with crowded_loop(), opened(target, connections) as sockets:
            for stream in sockets:
                stream.sendall(burns([1]))
            await eventually(lambda: len(work.started) == connections)


@streams
async def test_connections_have_the_share_of_work_without_an_answer_by_turns(scheme: str) -> None:
    # These calls fit into the buffers: none waits for a sender, which has turns of this loop, too. The work of each
    # connection takes dozens of shares: if another process has the processor during some of them, the other connections
    # lose as many.
    work, connections, calls = Work(), 3, 1_000
    note = {"method": b"work.note", "flags": FLAG_ONE_WAY, "codec": 1}
    async with served(work, scheme=scheme, config=PATIENT) as target:
        with opened(target, connections) as sockets:
            loop = asyncio.get_running_loop()
            sent = []
            for number, stream in enumerate(sockets):
                stream.setblocking(False)
                frames = [request(2 * at + 1, bytes((0x91, number)), **note) for at in range(calls)]
                sent.append(loop.sock_sendall(stream, b"".join(frames)))
            await asyncio.gather(*sent)
            await eventually(lambda: len(work.started) == connections * calls)
    # When one connection has begun all of its calls, the other ones are about as far.
    ended = min(len(work.started) - work.started[::-1].index(number) for number in range(connections))
    counts = [work.started[:ended].count(number) for number in range(connections)]
    assert min(counts) >= calls // 2, counts
