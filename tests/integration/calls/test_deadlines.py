"""Deadlines: where they are set, how they are sent, and how calls end when they pass."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import msgspec
import pytest

import fastrpc
from fastrpc import (
    Admission,
    Client,
    ClientConfig,
    DeadlineExceededError,
    ServerConfig,
    SyncClient,
    Timeouts,
    current_call,
)
from fastrpc.testing import connected, handling
from tests.support.frame_factory import opening
from tests.support.raw_peer import raw_client
from tests.support.served import SCHEMES, served
from tests.support.waiting import eventually, overdue_inside
from tests.support.wire_frames import Request, Response


@fastrpc.service("clock")
class Clock:
    def __init__(self) -> None:
        self.inside = asyncio.Event()
        self.told = asyncio.Event()
        self.errors: list[BaseException] = []
        self.started = 0

    @fastrpc.method
    async def remaining(self) -> float | None:
        return current_call().remaining()

    @fastrpc.method
    def remaining_in_thread(self) -> float | None:
        return current_call().remaining()

    @fastrpc.method(timeout=50)
    async def capped(self) -> float | None:
        return current_call().remaining()

    @fastrpc.method(timeout=None)
    async def without(self) -> float | None:
        return current_call().remaining()

    @fastrpc.method(timeout=0.02)
    async def short(self) -> None:
        await self.hold()

    @fastrpc.method
    async def hold(self) -> None:
        self.started += 1
        self.inside.set()
        try:
            await asyncio.Event().wait()
        except BaseException as error:
            self.errors.append(error)
            self.told.set()
            raise

    @fastrpc.method
    async def stubborn(self) -> str:
        self.inside.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.told.set()
        return "an answer all the same"


async def remaining(client: Client, method: Any = Clock.remaining) -> float:
    left = await client.call(method)
    assert isinstance(left, float)
    return left


@pytest.mark.parametrize("method", [Clock.remaining, Clock.remaining_in_thread, "clock.remaining"])
async def test_a_call_has_five_seconds_unless_somebody_says_otherwise(method: Any) -> None:
    async with connected(Clock) as client:
        assert 2 < await remaining(client, method) <= 5


async def test_the_default_is_a_setting_of_the_client() -> None:
    async with connected(Clock, client_config=ClientConfig(timeouts=Timeouts(call=200))) as client:
        assert 150 < await remaining(client) <= 200
    async with connected(Clock, client_config=ClientConfig(timeouts=Timeouts(call=None))) as client:
        assert await client.call(Clock.remaining) is None


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_with_options_counts_before_the_default(scheme: str) -> None:
    async with served(Clock, scheme=scheme) as target, Client(target) as client:
        assert 15 < await remaining(client.with_options(timeout=20)) <= 20
        assert 55 < await remaining(client.with_options(timeout=60)) <= 60
        assert await client.with_options(timeout=None).call(Clock.remaining) is None


async def test_none_as_a_methods_timeout_keeps_the_clients_default() -> None:
    async with connected(Clock, client_config=ClientConfig(timeouts=Timeouts(call=200))) as client:
        assert 150 < await remaining(client, Clock.without) <= 200
        assert await client.with_options(timeout=None).call(Clock.without) is None


async def test_a_methods_timeout_is_the_clients_default_and_the_servers_cap() -> None:
    async with connected(Clock) as client:
        assert 40 < await remaining(client, Clock.capped) <= 50
        assert 40 < await remaining(client.with_options(timeout=90), Clock.capped) <= 50
        assert 40 < await remaining(client.with_options(timeout=None), Clock.capped) <= 50
        assert 40 < await remaining(client.with_options(timeout=90), "clock.capped") <= 50
        assert 10 < await remaining(client.with_options(timeout=20), Clock.capped) <= 20


async def test_timeout_blocks_limit_all_calls_inside() -> None:
    async with connected(Clock) as client:
        client = client.with_options(timeout=900)
        async with fastrpc.timeout(100):
            first = await remaining(client)
            async with fastrpc.timeout(300):
                second = await remaining(client)
            async with fastrpc.timeout(50):
                assert await remaining(client.with_options(timeout=None)) <= 50
            assert await remaining(client.with_options(timeout=30)) <= 30
        # The way to the server takes any time.
        assert 50 < min(first, second) <= max(first, second) <= 100
        assert await remaining(client) > 450


async def test_timeout_blocks_reach_into_tasks_and_batches() -> None:
    async with connected(Clock) as client:
        async with fastrpc.timeout(1):
            task = asyncio.create_task(remaining(client))
            many = await client.call_many(Clock.remaining, [(), ()])
        assert await task <= 1
        assert all(left is not None and left <= 1 for left in many)


async def test_a_timeout_of_zero_in_options_ends_the_call_as_a_timeout_block_does() -> None:
    clock = Clock()
    async with connected(clock) as client:
        await client.ready()
        with pytest.raises(DeadlineExceededError, match=r"clock\.hold") as failed:
            await client.with_options(timeout=0).call(Clock.hold)
        assert failed.value.processed == "no"
    assert clock.started == 0


async def test_an_expired_timeout_block_sends_nothing() -> None:
    clock = Clock()
    async with connected(clock) as client:
        await client.ready()
        async with fastrpc.timeout(0):
            for call in (
                client.call(Clock.hold),
                client.request(Clock.hold),
                client.notify(Clock.hold),
                client.call_many(Clock.hold, [()]),
            ):
                with pytest.raises(DeadlineExceededError, match=r"clock\.hold") as failed:
                    await call
                assert failed.value.processed == "no"
    assert clock.started == 0


async def test_a_call_without_a_microsecond_is_not_sent_and_says_so() -> None:
    clock = Clock()
    async with served(clock) as target, Client(target) as client:
        await client.ready()
        hasty = client.with_options(timeout=5e-7)
        for call in (hasty.call(Clock.hold), hasty.notify(Clock.hold), hasty.call_many(Clock.hold, [()])):
            with pytest.raises(DeadlineExceededError, match="deadline has passed") as failed:
                await call
            assert failed.value.processed == "no"
        assert client.stats()["live"]["calls"] == 0
    assert clock.started == 0


@pytest.mark.parametrize("seconds", [-1, 1e8 + 1, 1.8e10, 1.85e10, float("inf"), float("nan")])
async def test_a_time_beyond_the_range_is_refused_in_every_place(seconds: float) -> None:
    async with served(Clock) as target, Client(target) as client:
        refused = partial(pytest.raises, fastrpc.ConfigError, match=r"at most 100,000,000")
        with refused():
            fastrpc.timeout(seconds)
        with refused():
            client.with_options(timeout=seconds)
        with refused():
            fastrpc.method(timeout=seconds)
        with refused():
            Timeouts(call=seconds)
        with refused():
            await client.ready(seconds)
        with refused():
            await target.server.drain(seconds)
        with refused(), handling(timeout=seconds):
            pass
        with SyncClient(target) as blocking:
            with refused():
                blocking.with_options(timeout=seconds)
            with refused():
                blocking.ready(seconds)
        assert await remaining(client) > 2


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_the_longest_time_is_kept(scheme: str) -> None:
    async with served(Clock, scheme=scheme) as target, Client(target) as client:
        assert 99_999_000 < await remaining(client.with_options(timeout=1e8)) <= 1e8
        async with fastrpc.timeout(1e8):
            assert 99_999_000 < await remaining(client.with_options(timeout=None)) <= 1e8

        def block() -> float | None:
            with SyncClient(target) as blocking:
                return blocking.with_options(timeout=1e8).call(Clock.remaining)

        assert 99_999_000 < (await asyncio.to_thread(block) or 0) <= 1e8


@pytest.mark.parametrize("microseconds", [18 * 10**15, 2**62 // 1000 - 1, 2**62 // 1000, 2**63, 2**64 - 2])
async def test_a_peer_may_name_any_time(microseconds: int) -> None:
    async with served(Clock, scheme="tcp") as target, raw_client(target) as peer:
        payload = b"\x90"
        peer.send(
            opening(False),
            Request(1, b"clock.remaining", payload, codec=1, timeout_us=microseconds).encode(),
            Request(3, b"clock.capped", payload, codec=1, timeout_us=microseconds).encode(),
        )
        whole = await peer.next(Response)
        left = msgspec.msgpack.decode(whole.payload)
        # A deadline beyond 146 years is unlimited.
        assert left is None or left == pytest.approx(microseconds / 1e6, rel=1e-6)
        assert (whole.status, left is None) == (0, microseconds >= 2**62 // 1000)
        capped = await peer.next(Response)
        assert 40 < msgspec.msgpack.decode(capped.payload) <= 50


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_when_it_passes_the_caller_is_told_in_time_and_the_handler_cancelled(scheme: str) -> None:
    clock = Clock()
    async with served(clock, scheme=scheme) as target, Client(target) as client:
        await client.ready()
        await overdue_inside(lambda: client.with_options(timeout=0.05).call(Clock.hold), clock.inside.is_set)
        await clock.told.wait()
        assert isinstance(clock.errors[0], asyncio.CancelledError)
        await eventually(lambda: client.stats()["live"]["calls"] == 0)
        await eventually(lambda: target.server.stats()["live"]["calls"] == 0)


async def test_the_servers_cap_cancels_a_handler_whose_caller_would_wait() -> None:
    clock = Clock()
    async with connected(clock) as client:
        error = await overdue_inside(
            lambda: client.with_options(timeout=60).call("clock.short"), clock.inside.is_set
        )
        assert isinstance(error, DeadlineExceededError)
        assert "clock.short" in str(error)
        assert error.processed == "unknown"
        assert clock.told.is_set()


async def test_a_handler_of_a_notification_is_cancelled_at_its_deadline_too() -> None:
    clock = Clock()
    async with connected(clock) as client:
        # Once it is connected, so that a busy machine has all of the time for the handler to start.
        await client.call(Clock.remaining)
        await client.with_options(timeout=0.6).notify(Clock.hold)
        await clock.told.wait()


async def test_an_answer_that_comes_too_late_is_dropped() -> None:
    clock = Clock()
    async with connected(clock) as client:
        await overdue_inside(
            lambda: client.with_options(timeout=0.02).call(Clock.stubborn), clock.inside.is_set
        )
        await clock.told.wait()
        assert await remaining(client) > 2
        await eventually(lambda: client.stats()["live"]["calls"] == 0)


async def test_calls_that_expired_in_the_queue_of_threads_never_start() -> None:
    release, ran = threading.Event(), list[int]()

    @fastrpc.service("queue")
    class Queue:
        @fastrpc.method
        def wait(self, number: int) -> int:
            ran.append(number)
            assert release.wait(20)
            return number

        @fastrpc.method(inline=True)
        def nothing(self) -> None: ...

    config = ServerConfig(admission=Admission(handler_threads=1))
    async with connected(Queue, config=config) as client:
        first = asyncio.ensure_future(client.call(Queue.wait, 0))
        await eventually(lambda: ran)
        view = client.with_options(timeout=0.02)
        answers = await view.call_many(Queue.wait, [(n,) for n in range(1, 500)], return_exceptions=True)
        assert {type(answer) for answer in answers} == {DeadlineExceededError}
        await client.call(Queue.nothing)
        release.set()
        assert await first == 0
        await eventually(lambda: client.stats()["live"]["calls"] == 0)
    assert ran == [0]


async def test_calls_that_the_servers_cap_ended_in_the_queue_of_threads_say_so() -> None:
    release, ran = threading.Event(), list[str]()

    @fastrpc.service("queue")
    class Queue:
        @fastrpc.method
        def wait(self) -> None:
            ran.append("wait")
            assert release.wait(20)

        # Enough for the call to reach the queue on a busy machine: before that, another text is right.
        @fastrpc.method(timeout=0.3)
        def capped(self) -> None:
            ran.append("capped")

    config = ServerConfig(admission=Admission(handler_threads=1))
    async with served(Queue, scheme="tcp", config=config) as target, Client(target) as client:
        first = asyncio.ensure_future(client.call(Queue.wait))
        await eventually(lambda: ran)
        second = asyncio.ensure_future(client.with_options(timeout=60).call(Queue.capped))
        with pytest.raises(DeadlineExceededError, match="before a thread was free") as failed:
            await second
        assert failed.value.processed == "no"
        release.set()
        await first
    assert ran == ["wait"]


# Hops


@fastrpc.service("hop")
class Hop:
    """Returns the remaining time, and the remaining time of the next hop."""

    def __init__(self, following: Client | None = None) -> None:
        self.following = following
        self.inside = asyncio.Event()
        self.cancelled = asyncio.Event()

    @fastrpc.method
    async def chain(self) -> list[float | None]:
        before = current_call().remaining()
        rest: list[float | None] = []
        if self.following is not None:
            rest = await self.following.with_options(timeout=None).call(Hop.chain)
        return [before, *rest]

    @fastrpc.method
    def chain_in_thread(self) -> float | None:
        return current_call().remaining()

    @fastrpc.method
    async def generous(self) -> float | None:
        assert self.following is not None
        return await self.following.with_options(timeout=60).call(Clock.remaining)

    @fastrpc.method
    async def detached(self) -> float | None:
        assert self.following is not None
        with fastrpc.detached():
            return await self.following.call(Clock.remaining)

    @fastrpc.method
    async def hold(self) -> None:
        self.inside.set()
        try:
            if self.following is not None:
                await self.following.with_options(timeout=None).call(Hop.hold)
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


@asynccontextmanager
async def hops(count: int, scheme: str = "tcp") -> AsyncIterator[tuple[Client, list[Hop]]]:
    """Start servers in a chain, each a client of the next; yield a client of the first."""
    async with AsyncExitStack() as stack:
        made: list[Hop] = []
        client: Client | None = None
        for _ in range(count):
            hop = Hop(client)
            made.insert(0, hop)
            target = await stack.enter_async_context(served(hop, Clock, scheme=scheme))
            client = await stack.enter_async_context(Client(target))
        assert client is not None
        yield client, made


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_each_of_three_hops_sees_at_most_the_remaining_time(scheme: str) -> None:
    async with hops(3, scheme) as (client, _):
        await client.call(Hop.chain)
        for seconds in (20.0, 100.0):
            seen = await client.with_options(timeout=seconds).call(Hop.chain)
            assert len(seen) == 3
            assert seconds >= seen[0] > seen[1] > seen[2] > 0  # type: ignore[operator]


async def test_no_limit_stays_no_limit_over_hops() -> None:
    async with hops(3) as (client, _):
        assert await client.with_options(timeout=None).call(Hop.chain) == [None] * 3


async def test_a_hop_cannot_be_more_generous_than_its_caller() -> None:
    async with hops(2) as (client, _):
        left = await client.with_options(timeout=3.5).call(Hop.generous)
        assert left is not None
        assert left <= 3.5


async def test_a_detached_call_has_a_separate_deadline() -> None:
    async with hops(2) as (client, _):
        left = await client.with_options(timeout=3.5).call(Hop.detached)
        assert left is not None
        assert 4 < left <= 5


async def test_a_deadline_that_passes_cancels_every_hop() -> None:
    async with hops(3) as (client, made):
        await client.call(Hop.chain)
        await overdue_inside(lambda: client.with_options(timeout=0.1).call(Hop.hold), made[-1].inside.is_set)
        for hop in made:
            await hop.cancelled.wait()


async def test_cancelling_the_caller_cancels_every_hop() -> None:
    async with hops(3) as (client, made):
        await client.call(Hop.chain)
        call = asyncio.ensure_future(client.call(Hop.hold))
        await made[-1].inside.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        for hop in made:
            await hop.cancelled.wait()


async def test_many_deadlines_need_one_timer_of_the_loop() -> None:
    loop = asyncio.get_running_loop()
    clock = Clock()
    async with connected(clock) as client:
        await client.ready()
        set_timers: list[float] = []
        original = loop.call_at

        def call_at(when: float, *arguments: Any, **options: Any) -> asyncio.TimerHandle:
            set_timers.append(when)
            return original(when, *arguments, **options)

        if not hasattr(loop, "_scheduled"):
            pytest.skip("uvloop's methods cannot be replaced")
        loop.call_at = call_at  # type: ignore[method-assign, assignment]
        calls = asyncio.ensure_future(client.call_many(Clock.hold, [()] * 1_000))
        await eventually(lambda: clock.started == 1_000)
        assert len(set_timers) < 20
        calls.cancel()
        await asyncio.wait([calls])
