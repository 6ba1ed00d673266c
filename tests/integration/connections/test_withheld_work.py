"""What a client keeps back for the sake of its server's budget for calls that come to nothing, it does later."""

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

import fastrpc
from fastrpc import (
    Admission,
    CallError,
    Client,
    DeadlineExceededError,
    FastRPCError,
    Limits,
    ServerConfig,
    Status,
    SyncClient,
)
from tests.support.frame_factory import answer, opening
from tests.support.raw_peer import RawPeer, RawServer
from tests.support.served import SCHEMES, served
from tests.support.threaded_server import ThreadedServer
from tests.support.waiting import eventually
from tests.support.wire_frames import Cancel, Frame, Request
from tests.support.wire_settings import Setting

# What is kept back, and when it is sent, no event loop has a part in.
pytestmark = pytest.mark.one_loop

#: What the server takes at a time: its budget has 1,000 and four times as many.
PLACES = 250

#: Calls under way that are given up, and calls that use the budget up before, many times as fast as it comes back.
GIVEN_UP = 200
REFUSED = 5_000

NOT_STARTED = 1


@fastrpc.service("desk")
class Desk:
    def __init__(self) -> None:
        self.waiting = 0
        self.told = 0

    @fastrpc.method
    async def wait(self) -> None:
        self.waiting += 1
        try:
            await asyncio.Event().wait()
        finally:
            assert fastrpc.current_call().cancelled
            self.told += 1

    @fastrpc.method
    async def add(self, a: int, b: int) -> int:
        return a + b


async def passing_on(call: fastrpc.Call, proceed: fastrpc.Proceed) -> object:
    return await proceed(call)


def small_server() -> ServerConfig:
    # However long a machine stalls, no call waits too long for its start.
    return ServerConfig(limits=Limits(concurrent_calls=PLACES, streams=10), admission=Admission(queue_age=60))


async def answer_all(peer: RawPeer, reasons: Counter[int]) -> None:
    """Refuse what is neither to wait nor to add, as unknown methods are; count CANCELs by their reason."""
    while True:
        frame: Frame = await peer.next(Frame)  # type: ignore[arg-type]
        if isinstance(frame, Cancel):
            reasons[frame.reason] += 1
            peer.send(answer(frame.id, status=1))
        elif isinstance(frame, Request) and frame.method == b"desk.add":
            peer.send(answer(frame.id, b"\x03", codec=1))
        elif isinstance(frame, Request) and frame.method != b"desk.wait":
            peer.send(answer(frame.id, status=12, outcome=NOT_STARTED))


@asynccontextmanager
async def answering(server: RawServer, ready: Awaitable[Any]) -> AsyncIterator[Counter[int]]:
    """Answer the first client; in the block are the CANCELs that have come, by their reason."""
    connecting = asyncio.ensure_future(ready)
    peer = await server.accept()
    peer.send(opening(True, {Setting.MAX_CALLS: PLACES}))
    await connecting
    reasons: Counter[int] = Counter()
    answerer = asyncio.ensure_future(answer_all(peer, reasons))
    yield reasons
    answerer.cancel()
    await asyncio.gather(answerer, return_exceptions=True)


async def test_cancels_that_the_servers_budget_had_no_room_for_are_sent_when_it_has() -> None:
    async with RawServer() as server, Client(server.address) as client:
        async with answering(server, client.ready()) as reasons:
            patient = client.with_options(timeout=30)
            tasks = [asyncio.ensure_future(patient.call("desk.wait")) for _ in range(GIVEN_UP)]
            await asyncio.sleep(0)
            await patient.call_many("desk.unknown", [()] * REFUSED, return_exceptions=True)
            for task in tasks:
                task.cancel()
            await eventually(lambda: client.stats()["live"]["calls"] == 0)
            assert reasons == {0: GIVEN_UP}


async def test_a_blocking_client_sends_such_cancels_as_well() -> None:
    async with RawServer() as server:
        with SyncClient(server.address) as client:
            async with answering(server, asyncio.to_thread(client.ready)) as reasons:
                is_over = threading.Event()

                def give_up() -> None:
                    hasty = client.with_options(timeout=0.5)
                    hasty.call_many("desk.wait", [()] * GIVEN_UP, return_exceptions=True)
                    is_over.set()

                def use_up() -> None:
                    patient = client.with_options(timeout=30)
                    while not is_over.is_set():
                        patient.call_many("desk.unknown", [()] * 1_000, return_exceptions=True)

                await asyncio.gather(asyncio.to_thread(give_up), asyncio.to_thread(use_up))
                async with asyncio.timeout(20):
                    while reasons.total() < GIVEN_UP:
                        # Nobody reads on an idle connection: the next call sees to what is left.
                        await asyncio.to_thread(client.call, "desk.add", 1, 2)
                assert reasons == {1: GIVEN_UP}


@pytest.mark.parametrize(
    ("scheme", "interceptors"), [*((scheme, ()) for scheme in SCHEMES), ("tcp", (passing_on,))]
)
async def test_every_handler_hears_that_its_call_was_given_up(
    scheme: str, interceptors: tuple[fastrpc.Interceptor, ...]
) -> None:
    desk = Desk()
    async with served(desk, scheme=scheme, config=small_server()) as target:
        async with Client(target, interceptors=interceptors) as client:
            await client.ready()
            patient = client.with_options(timeout=30)
            tasks = [asyncio.ensure_future(patient.call(Desk.wait)) for _ in range(GIVEN_UP)]
            await eventually(lambda: desk.waiting == GIVEN_UP)
            found = await patient.call_many("desk.unknown", [()] * REFUSED, return_exceptions=True)
            for task in tasks:
                task.cancel()
            await eventually(lambda: desk.told == GIVEN_UP)
            assert {type(error) for error in found} == {CallError}
            await eventually(lambda: client.stats()["live"]["calls"] == 0)
            assert await client.call(Desk.add, 1, 2) == 3
            assert client.stats()["totals"]["connections"] == 1


WRONG: dict[str, tuple[str, tuple[Any, ...], Status]] = {
    "unknown method": ("desk.unknown", (1, 2), Status.UNIMPLEMENTED),
    "unknown service": ("disk.add", (1, 2), Status.UNIMPLEMENTED),
    "wrong types": ("desk.add", ("one", "two"), Status.INVALID_ARGUMENT),
    "too few arguments": ("desk.add", (1,), Status.INVALID_ARGUMENT),
}

#: More than the budget has, and gets in the time that they take.
WRONG_CALLS = 5_000


def check(found: list[Any], status: Status) -> None:
    assert Counter((type(one), getattr(one, "status", None)) for one in found) == {
        (CallError, status): WRONG_CALLS
    }


@pytest.mark.parametrize(
    ("scheme", "wrong"),
    [*(("tcp", wrong) for wrong in WRONG), *((scheme, "wrong types") for scheme in SCHEMES[1:])],
)
async def test_each_of_many_wrong_calls_of_a_batch_gets_its_answer(scheme: str, wrong: str) -> None:
    method, arguments, status = WRONG[wrong]
    async with served(Desk(), scheme=scheme, config=small_server()) as target, Client(target) as client:
        await client.ready()
        patient = client.with_options(timeout=30)
        batch = asyncio.ensure_future(
            patient.call_many(method, [arguments] * WRONG_CALLS, return_exceptions=True)
        )
        beside = [await patient.call(Desk.add, number, 1) for number in range(10)]
        check(await batch, status)
        assert beside == list(range(1, 11))
        assert client.stats()["totals"]["connections"] == 1


Ways = Callable[[Client], Awaitable[list[Any]]]


async def one_by_one(client: Client) -> list[Any]:
    calls = (client.call("desk.unknown") for _ in range(WRONG_CALLS))
    return await asyncio.gather(*calls, return_exceptions=True)


async def in_many_batches(client: Client) -> list[Any]:
    batches = (
        client.call_many("desk.unknown", [()] * 100, return_exceptions=True)
        for _ in range(WRONG_CALLS // 100)
    )
    return [one for batch in await asyncio.gather(*batches) for one in batch]


@pytest.mark.parametrize("interceptors", [(), (passing_on,)], ids=["plain", "intercepted"])
@pytest.mark.parametrize("way", [one_by_one, in_many_batches])
async def test_each_of_many_wrong_calls_gets_its_answer(
    way: Ways, interceptors: tuple[fastrpc.Interceptor, ...]
) -> None:
    async with served(Desk(), scheme="tcp", config=small_server()) as target:
        async with Client(target, interceptors=interceptors) as client:
            await client.ready()
            check(await way(client.with_options(timeout=30)), Status.UNIMPLEMENTED)
            assert client.stats()["totals"]["connections"] == 1


async def test_wrong_calls_that_are_not_sent_in_time_are_not_processed() -> None:
    async with served(Desk(), scheme="tcp", config=small_server()) as target, Client(target) as client:
        await client.ready()
        hasty = client.with_options(timeout=0.5)
        found = await hasty.call_many("desk.unknown", [()] * WRONG_CALLS, return_exceptions=True)
        assert {type(one) for one in found} <= {CallError, DeadlineExceededError}
        assert await client.with_options(timeout=30).call(Desk.add, 1, 2) == 3
        assert client.stats()["totals"]["connections"] == 1


async def test_calls_that_are_kept_back_end_with_the_connection() -> None:
    async with RawServer() as server, Client(server.address) as client:
        ready = asyncio.ensure_future(client.ready())
        peer = await server.accept()
        peer.send(opening(True, {Setting.MAX_CALLS: PLACES}))
        await ready
        patient = client.with_options(timeout=60, fail_mode="failfast")
        batch = asyncio.ensure_future(
            patient.call_many("desk.unknown", [()] * REFUSED, return_exceptions=True)
        )
        for _ in range(2 * PLACES):
            peer.send(answer((await peer.next(Request)).id, status=12, outcome=NOT_STARTED))
        server.stop()
        peer.close()
        found = await batch
        assert len(found) == REFUSED
        assert all(isinstance(one, FastRPCError) for one in found)


def test_threads_with_many_wrong_calls_get_their_answers() -> None:
    with ThreadedServer(Desk(), config=small_server()) as server, SyncClient(server.address) as client:
        client.call(Desk.add, 1, 1)
        patient = client.with_options(timeout=30)
        found: list[Any] = []
        sums: list[int] = []

        def call_wrongly() -> None:
            found.extend(patient.call_many("desk.unknown", [()] * (WRONG_CALLS // 2), return_exceptions=True))

        def call() -> None:
            sums.extend(patient.call(Desk.add, number, 1) for number in range(10))

        threads = [threading.Thread(target=target) for target in (call_wrongly, call_wrongly, call)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        check(found, Status.UNIMPLEMENTED)
        assert sums == list(range(1, 11))
        assert client.stats()["totals"]["connections"] == 1
