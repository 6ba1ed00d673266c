"""The bytes of one read are handled in slices: other connections have turns in between, with the same results."""

import asyncio
import gc
import time

import pytest

import fastrpc
from fastrpc import Admission, Client, ClientConfig, Keepalive, ServerConfig, Timeouts
from tests.support.frame_factory import opening, request
from tests.support.raw_peer import raw_client
from tests.support.served import SCHEMES, served
from tests.support.waiting import eventually
from tests.support.wire_frames import Goaway, Response
from tests.support.wire_layout import FLAG_ONE_WAY, Reason

#: Calls of one read, and the time for which each keeps the loop: many times the limit of one turn.
CALLS = 200
BURN_SECONDS = 0.0003

#: How long a call keeps the loop after which the sockets are read before the next one starts; a quarter of a turn.
STALL_SECONDS = 0.025
LONG_SECONDS = 0.001

#: However long a busy machine takes, no call waits too long to be started.
PATIENT = Admission(queue_age=60)

each_scheme = pytest.mark.parametrize("scheme", SCHEMES)


@fastrpc.service("work")
class Work:
    """Keeps the loop for a moment with each call, and notes them in their order."""

    def __init__(self) -> None:
        self.started: list[int] = []
        self.is_cancelled: list[int] = []

    @fastrpc.method
    async def burn(self, number: int) -> int:
        return await self.burn_for(number, BURN_SECONDS)

    @fastrpc.method
    async def burn_for(self, number: int, seconds: float) -> int:
        self.started.append(number)
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            pass
        return number

    @fastrpc.method
    async def wait(self, number: int) -> None:
        await self.burn(number)
        try:
            await asyncio.Event().wait()
        finally:
            self.is_cancelled.append(number)

    @fastrpc.method(inline=True)
    def now(self) -> int:
        return len(self.started)


@each_scheme
async def test_one_turn_of_the_loop_handles_a_few_milliseconds_of_a_read(scheme: str) -> None:
    work = Work()
    most = 0

    async def watch() -> None:
        nonlocal most
        before = len(work.started)
        while True:
            await asyncio.sleep(0)
            most, before = max(most, len(work.started) - before), len(work.started)

    async with (
        served(work, scheme=scheme, config=ServerConfig(admission=PATIENT)) as target,
        Client(target) as client,
    ):
        await client.ready()
        watching = asyncio.ensure_future(watch())
        values = await client.call_many(Work.burn, [(number,) for number in range(CALLS)])
        watching.cancel()
    assert values == work.started == list(range(CALLS))
    # Even on a slow machine no handler takes less than its configured time. Two slices lie between two looks, and the
    # start of held calls if the machine stalled.
    assert most * BURN_SECONDS <= 0.030


@each_scheme
async def test_another_connection_is_served_in_between(scheme: str) -> None:
    work = Work()
    async with (
        served(work, scheme=scheme, config=ServerConfig(admission=PATIENT)) as target,
        Client(target) as busy,
        Client(target) as other,
    ):
        await other.ready()
        batch = asyncio.ensure_future(busy.call_many(Work.burn, [(number,) for number in range(CALLS)]))
        await eventually(lambda: bool(work.started))
        assert await other.call(Work.now) < CALLS
        await batch


@each_scheme
async def test_calls_that_waited_for_the_end_of_a_stall_start_in_slices(scheme: str) -> None:
    work = Work()
    most = 0

    async def watch() -> None:
        nonlocal most
        while True:
            before = len(work.started)
            await asyncio.sleep(0)
            most = max(most, len(work.started) - before)

    async with (
        served(work, scheme=scheme, config=ServerConfig(admission=PATIENT)) as target,
        Client(target) as client,
    ):
        await client.ready()
        watching = asyncio.ensure_future(watch())
        calls = [(0, STALL_SECONDS), *((number, LONG_SECONDS) for number in range(1, 100))]
        assert await client.call_many(Work.burn_for, calls) == work.started == list(range(100))
        watching.cancel()
    # A turn takes four milliseconds, and the call that is then under way. A slower machine starts fewer.
    assert most <= 4


@each_scheme
async def test_a_connection_whose_calls_block_the_loop_takes_turns_with_another(scheme: str) -> None:
    work = Work()
    async with (
        served(work, scheme=scheme, config=ServerConfig(admission=PATIENT)) as target,
        Client(target) as busy,
        Client(target) as other,
    ):
        await busy.ready()
        await other.ready()
        calls = [(number, STALL_SECONDS) for number in range(15)]
        batch = asyncio.ensure_future(busy.call_many(Work.burn_for, calls))
        # By now the remaining calls wait for the sockets to be read.
        await eventually(lambda: len(work.started) > 2)
        assert await other.call(Work.now) <= 10
        await batch


async def test_frames_after_the_unread_part_of_a_read_are_handled_after_it() -> None:
    work = Work()
    async with (
        served(work, scheme="tcp", config=ServerConfig(admission=PATIENT)) as target,
        raw_client(target) as peer,
    ):
        peer.send(opening(False))
        calls = range(1, 2 * CALLS + 1, 2)
        frames = [
            request(call, b"\x91\xcd" + call.to_bytes(2), method=b"work.burn", codec=1) for call in calls
        ]
        peer.send(*frames)
        peer.send(
            *[
                request(call + 2 * CALLS, b"\x91\xcd" + call.to_bytes(2), method=b"work.burn", codec=1)
                for call in calls
            ]
        )
        for call in range(1, 4 * CALLS + 1, 2):
            assert (await peer.next(Response)).id == call
    assert work.started == [*calls, *calls]


async def test_a_broken_rule_after_the_unread_part_of_a_read_is_found_after_it() -> None:
    work = Work()
    async with (
        served(work, scheme="tcp", config=ServerConfig(admission=PATIENT)) as target,
        raw_client(target) as peer,
    ):
        peer.send(opening(False))
        calls = range(1, 2 * CALLS + 1, 2)
        frames = [
            request(call, b"\x91\xcd" + call.to_bytes(2), method=b"work.burn", codec=1) for call in calls
        ]
        peer.send(*frames, request(1))
        goaway = await peer.next(Goaway)
        assert goaway.reason == Reason.PROTOCOL
        assert work.started == list(calls)[: len(work.started)]
        await peer.ended()


@each_scheme
async def test_a_server_that_closes_meanwhile_drops_unread_bytes(scheme: str) -> None:
    work = Work()
    async with (
        served(work, scheme=scheme, config=ServerConfig(admission=PATIENT)) as target,
        Client(target) as client,
    ):
        await client.ready()
        batch = asyncio.ensure_future(
            client.with_options(fail_mode="failfast").call_many(
                Work.burn, [(number,) for number in range(CALLS)], return_exceptions=True
            )
        )
        await eventually(lambda: bool(work.started))
        await target.server.close()
        values = await batch
        await eventually(lambda: not target.server._gate.engines)  # type: ignore[union-attr]
        at_the_end = list(work.started)
    assert at_the_end == work.started == list(range(len(work.started)))
    assert len(work.started) < CALLS
    assert isinstance(values[-1], fastrpc.FastRPCError)


@each_scheme
async def test_a_client_that_leaves_meanwhile_is_noticed(scheme: str) -> None:
    work = Work()
    async with (
        served(work, scheme=scheme, config=ServerConfig(admission=PATIENT)) as target,
        Client(target) as client,
    ):
        await client.ready()
        [left] = target.server._gate.engines  # type: ignore[union-attr]
        batch = asyncio.ensure_future(
            client.call_many(Work.wait, [(number,) for number in range(CALLS)], return_exceptions=True)
        )
        await eventually(lambda: bool(work.started))
        for session in client._pool.open_connections:  # type: ignore[attr-defined]
            session.abort()
        await batch
        # The client connects again, and may do so before this is noticed.
        await eventually(lambda: left not in target.server._gate.engines)  # type: ignore[union-attr]
        await eventually(lambda: sorted(work.is_cancelled) == sorted(work.started))


@each_scheme
async def test_time_spent_in_the_queue_counts_from_the_arrival(scheme: str) -> None:
    work = Work()
    async with (
        served(work, scheme=scheme, config=ServerConfig(admission=PATIENT)) as target,
        Client(target) as client,
    ):
        await client.ready()
        hasty = client.with_options(timeout=BURN_SECONDS * CALLS / 3)
        values = await hasty.call_many(
            Work.burn, [(number,) for number in range(CALLS)], return_exceptions=True
        )
        await client.call(Work.now)
    # No call starts if the machine stalls for that long before they are read.
    assert len(work.started) < CALLS
    # Beside calls that expire, one is refused of whose time more than half is over.
    assert isinstance(values[-1], fastrpc.DeadlineExceededError | fastrpc.OverloadedError)


@each_scheme
async def test_calls_are_cancelled_by_frames_in_the_unread_part_of_a_read(scheme: str) -> None:
    work = Work()
    async with (
        served(work, scheme=scheme, config=ServerConfig(admission=PATIENT)) as target,
        Client(target) as client,
    ):
        await client.ready()
        calls = [asyncio.ensure_future(client.call(Work.wait, number)) for number in range(CALLS)]
        await asyncio.sleep(0)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await eventually(lambda: sorted(work.is_cancelled) == sorted(work.started))
        assert await client.call(Work.now) == len(work.started)


@pytest.mark.one_loop
@each_scheme
async def test_no_side_takes_the_other_for_dead_meanwhile(scheme: str) -> None:
    work = Work()
    keepalive = Keepalive(interval=0.05, timeout=0.05, minimum_interval=0.001)
    server = ServerConfig(keepalive=keepalive, admission=PATIENT)
    async with (
        served(work, scheme=scheme, config=server) as target,
        Client(target, config=ClientConfig(keepalive=keepalive)) as client,
    ):
        await client.ready()
        for _ in range(3):
            await client.call_many(Work.burn, [(number,) for number in range(CALLS)])
        assert client.stats()["totals"]["connections"] == 1


@pytest.mark.parametrize("scheme", ["tcp", "unix"])
async def test_a_spinning_loop_handles_waiting_bytes_before_it_reads(scheme: str) -> None:
    work = Work()
    config = ServerConfig(spin_microseconds=200, admission=PATIENT)
    async with served(work, scheme=scheme, config=config) as target, Client(target) as client:
        await client.ready()
        batches = [
            client.call_many(Work.burn, [(number,) for number in range(first, first + 100)])
            for first in range(0, 400, 100)
        ]
        await asyncio.gather(*batches)
    assert work.started == list(range(400))


@each_scheme
async def test_answers_in_front_of_the_end_of_the_stream_all_count(scheme: str) -> None:
    """A client that wakes slow readers reads its answers in slices as well."""

    @fastrpc.service("answers")
    class Answers:
        @fastrpc.method(inline=True)
        def give(self, number: int) -> int:
            return number

    config = ServerConfig(timeouts=Timeouts(drain=60), admission=PATIENT)
    async with served(Answers(), scheme=scheme, config=config) as target, Client(target) as client:
        await client.ready()
        calls = [asyncio.ensure_future(client.call(Answers.give, number)) for number in range(3_000)]
        await asyncio.sleep(0)
        closing = asyncio.ensure_future(target.server.drain())
        assert await asyncio.gather(*calls) == list(range(3_000))
        await closing


@each_scheme
async def test_long_reads_leave_no_turn_and_no_engine(scheme: str) -> None:
    work = Work()
    async with served(work, scheme=scheme, config=ServerConfig(admission=PATIENT)) as target:
        for _ in range(2):
            async with Client(target) as client:
                await client.call_many(Work.burn, [(number,) for number in range(CALLS)])
                loop_state = client._pool.open_connections[0].loop_state  # type: ignore[attr-defined]
        await eventually(lambda: not target.server._gate.engines)  # type: ignore[union-attr]
        assert len(loop_state.turns) == 0
    gc.collect()


async def test_one_way_calls_of_unknown_methods_are_dropped_in_slices_too() -> None:
    work = Work()
    async with (
        served(work, scheme="tcp", config=ServerConfig(admission=PATIENT)) as target,
        raw_client(target) as peer,
    ):
        peer.send(opening(False))
        frames = [request(call, method=b"work.nothing", flags=FLAG_ONE_WAY) for call in range(1, 40_001, 2)]
        peer.send(*frames, request(50_001, b"\x90", method=b"work.now", codec=1))
        assert (await peer.next(Response)).id == 50_001
