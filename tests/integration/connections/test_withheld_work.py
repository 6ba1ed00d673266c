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

#: Calls under way that are given up, and calls to a peer made by hand.
GIVEN_UP = 200
REFUSED = 5_000

#: Wrong calls: so many use up the budget, of which 10,000 come back each second; else so many. A machine that makes
#: fewer in a second withholds nothing, however many they are.
WRONG_CALLS = (3_000, 6_000)

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


def check(found: list[Any], count: int, status: Status) -> None:
    assert Counter((type(one), getattr(one, "status", None)) for one in found) == {(CallError, status): count}


def is_withholding(client: Client | SyncClient) -> bool:
    """Return whether calls wait though fewer than the server takes at once are under way."""
    live = client.stats()["live"]
    return bool(live["waiting"]) and live["calls"] < PLACES - 25


async def call_until_withheld(
    client: Client, call: Callable[[int], Awaitable[list[Any]]], status: Status
) -> bool:
    """Make wrong calls, more if none is withheld, and return whether some were; each of all gets its answer."""
    for count in WRONG_CALLS:
        calls = asyncio.ensure_future(call(count))
        was_withholding = False
        while not calls.done():
            was_withholding = was_withholding or is_withholding(client)
            await asyncio.sleep(0.001)
        check(await calls, count, status)
        if was_withholding:
            return True
    return False


def skip_unless(was_withheld: bool) -> None:
    """Let a test that found nothing wrong not count where nothing was withheld: a machine may be too slow for that."""
    if not was_withheld:
        pytest.skip("this machine gets no more wrong calls refused than the budget has room for")


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
            was_withheld = await call_until_withheld(
                client,
                lambda count: patient.call_many("desk.unknown", [()] * count, return_exceptions=True),
                Status.UNIMPLEMENTED,
            )
            for task in tasks:
                task.cancel()
            await eventually(lambda: desk.told == GIVEN_UP)
            await eventually(lambda: client.stats()["live"]["calls"] == 0)
            assert await client.call(Desk.add, 1, 2) == 3
            assert client.stats()["totals"]["connections"] == 1
    skip_unless(was_withheld)


WRONG: dict[str, tuple[str, tuple[Any, ...], Status]] = {
    "unknown method": ("desk.unknown", (1, 2), Status.UNIMPLEMENTED),
    "unknown service": ("disk.add", (1, 2), Status.UNIMPLEMENTED),
    "wrong types": ("desk.add", ("one", "two"), Status.INVALID_ARGUMENT),
    "too few arguments": ("desk.add", (1,), Status.INVALID_ARGUMENT),
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

        async def call(count: int) -> list[Any]:
            batch = asyncio.ensure_future(
                patient.call_many(method, [arguments] * count, return_exceptions=True)
            )
            assert [await patient.call(Desk.add, number, 1) for number in range(10)] == list(range(1, 11))
            return await batch

        was_withheld = await call_until_withheld(client, call, status)
        assert client.stats()["totals"]["connections"] == 1
    skip_unless(was_withheld)


Ways = Callable[[Client, int], Awaitable[list[Any]]]


async def one_by_one(client: Client, count: int) -> list[Any]:
    calls = (client.call("desk.unknown") for _ in range(count))
    return await asyncio.gather(*calls, return_exceptions=True)


async def in_many_batches(client: Client, count: int) -> list[Any]:
    batches = (
        client.call_many("desk.unknown", [()] * 100, return_exceptions=True) for _ in range(count // 100)
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
            patient = client.with_options(timeout=30)
            was_withheld = await call_until_withheld(
                client, lambda count: way(patient, count), Status.UNIMPLEMENTED
            )
            assert client.stats()["totals"]["connections"] == 1
    skip_unless(was_withheld)


async def test_wrong_calls_that_are_not_sent_in_time_are_not_processed() -> None:
    async with served(Desk(), scheme="tcp", config=small_server()) as target, Client(target) as client:
        await client.ready()
        # On a fast machine the budget keeps back two thirds of them for longer than that.
        hasty = client.with_options(timeout=0.1)
        found = await hasty.call_many("desk.unknown", [()] * REFUSED, return_exceptions=True)
        assert {type(one) for one in found} <= {CallError, DeadlineExceededError}
        late = Counter(one.processed for one in found if isinstance(one, DeadlineExceededError))
        assert late["no"] > 0
        # Where the machine stalls, those under way are late as well.
        assert late.total() - late["no"] <= PLACES
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
        was_withheld = False
        for count in WRONG_CALLS:
            found: list[Any] = []
            sums: list[int] = []

            def call_wrongly(found: list[Any] = found, count: int = count) -> None:
                found += patient.call_many("desk.unknown", [()] * (count // 2), return_exceptions=True)

            def call(sums: list[int] = sums) -> None:
                sums += [patient.call(Desk.add, number, 1) for number in range(10)]

            threads = [threading.Thread(target=target) for target in (call_wrongly, call_wrongly, call)]
            for thread in threads:
                thread.start()
            for thread in threads:
                while thread.is_alive():
                    was_withheld = was_withheld or is_withholding(client)
                    thread.join(0.001)
            check(found, count, Status.UNIMPLEMENTED)
            assert sums == list(range(1, 11))
            if was_withheld:
                break
        assert client.stats()["totals"]["connections"] == 1
    skip_unless(was_withheld)
