"""A client defers work for the sake of its server's budget for fruitless calls, and does it later."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
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

# Event loops do not affect the deferred work and its time.
pytestmark = pytest.mark.one_loop

#: The number of calls that the server takes at a time: its budget is 1,000 and four times this number.
PLACES = 250

#: Running calls that are cancelled, and wrong calls that are made in one turn.
GIVEN_UP = 200
REFUSED = 5_000

#: Calls that the raw peer takes at once; it refuses them in one write.
RAW_PLACES = 1_000

#: Wrong calls: the first number uses up the budget, of which 10,000 come back each second; the second is made if the
#: first withholds none. A machine that makes fewer in a second withholds nothing, for any number of calls.
WRONG_CALLS = (3_000, 6_000)

#: Wrong calls a second with which a client uses up the budget within seconds: 10,000 come back each second.
FAST_ENOUGH = 11_500

#: Attempts on a machine that is too slow for any to show something: one or two may have met a stall.
SLOW_ATTEMPTS = 3

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
    """Make wrong calls, more if none is withheld; return whether some were withheld. Each call gets its answer."""
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


async def met(server: RawServer, ready: Awaitable[Any]) -> RawPeer:
    """Return the server's end of the connection that somebody waits for."""
    connecting = asyncio.ensure_future(ready)
    peer = await server.accept()
    peer.send(opening(True, {Setting.MAX_CALLS: RAW_PLACES}))
    await connecting
    return peer


class Refuser:
    """Refuses wrong calls faster than the budget for them comes back: it knows their ids without reading a frame.

    Args:
        refuse: make the given number of wrong calls. Calls that are open already are left alone.
    """

    def __init__(
        self, client: Client | SyncClient, peer: RawPeer, refuse: Callable[[int], Awaitable[list[Any]]]
    ) -> None:
        self.batches: list[asyncio.Future[list[Any]]] = []
        self._client = client
        self._peer = peer
        self._refuse = refuse
        self._began, self._rate = time.monotonic(), 0.0
        self._others = self._live()["calls"]
        self._next_id = 2 * self._others + 1
        self._refused = 0

    def _live(self) -> dict[str, Any]:
        live: dict[str, Any] = self._client.stats()["live"]
        return live

    def is_withholding(self) -> bool:
        """Return whether calls wait though there are places for them."""
        live = self._live()
        return bool(live["waiting"]) and live["calls"] < RAW_PLACES

    def _are_made(self) -> bool:
        for batch in self.batches:
            if batch.done():
                batch.result()  # Raises the error that ended it early.
        live = self._live()
        return bool(
            live["calls"] + live["waiting"] == self._others + REFUSED * len(self.batches) - self._refused
        )

    def is_done(self) -> bool:
        """Return whether nothing is kept back any more: calls wait only for a place."""
        live = self._live()
        return not live["waiting"] or live["calls"] == RAW_PLACES

    def refuse_opened(self) -> None:
        """Refuse the wrong calls that were sent, all at once."""
        opened = self._live()["calls"] - self._others
        ids = range(self._next_id, self._next_id + 2 * opened, 2)
        self._next_id = ids.stop
        self._refused += opened
        self._peer.send(*(answer(id, status=12, outcome=NOT_STARTED) for id in ids))

    async def refuse_until(self, condition: Callable[[], object]) -> None:
        """Refuse calls until the condition holds."""
        try:
            async with asyncio.timeout(20):
                while not condition():
                    if not self._live()["waiting"]:
                        self.batches.append(asyncio.ensure_future(self._refuse(REFUSED)))
                        await eventually(self._are_made)
                    self.refuse_opened()
                    await eventually(self._are_made)
        except TimeoutError:
            self._note_rate()
            self.skip_if_slow()
            raise
        self._note_rate()

    def _note_rate(self) -> None:
        self._rate = self._refused / (time.monotonic() - self._began)

    def is_slow(self) -> bool:
        """Return whether the budget came back as fast as the calls were made."""
        return self._rate < FAST_ENOUGH

    def skip_if_slow(self) -> None:
        """Skip a test that found nothing withheld where the budget comes back as fast as the calls are made."""
        if self.is_slow():
            pytest.skip(f"this machine makes {self._rate:,.0f} wrong calls a second: none has to be withheld")

    async def finish(self) -> None:
        """Refuse all remaining calls as they come: each call gets its answer."""
        while not self._are_answered():
            self.refuse_opened()
            await eventually(
                lambda: self._are_made() and (self._live()["calls"] > self._others or self._are_answered())
            )
        for batch in self.batches:
            check(await batch, REFUSED, Status.UNIMPLEMENTED)

    def _are_answered(self) -> bool:
        return all(batch.done() for batch in self.batches)


async def cancels(peer: RawPeer) -> tuple[Counter[int], int]:
    """Read the CANCELs; return how many came for which reason, and how many of them before the note."""
    reasons: dict[int, int] = {}
    before_note = GIVEN_UP
    while len(reasons) < GIVEN_UP:
        frame: Frame = await peer.next(Frame)  # type: ignore[arg-type]
        if isinstance(frame, Cancel):
            assert frame.id not in reasons
            reasons[frame.id] = frame.reason
        elif isinstance(frame, Request) and frame.method == b"desk.note":
            before_note = len(reasons)
    return Counter(reasons.values()), before_note


async def until_withheld(give_up: Callable[[int], Awaitable[tuple[int, Refuser | None]]]) -> None:
    """Cancel calls, again if a stall made room for all their CANCELs, until some are sent after a later note."""
    slow: list[Refuser] = []
    for attempt in range(1, 11):
        before_note, refuser = await give_up(attempt)
        if before_note < GIVEN_UP:
            return
        slow += [refuser] if refuser is not None and refuser.is_slow() else []
        if len(slow) == SLOW_ATTEMPTS or (attempt == 10 and slow):
            slow[-1].skip_if_slow()
    raise AssertionError("no CANCEL is ever kept back")


async def test_cancels_that_do_not_fit_the_servers_budget_are_sent_once_they_do() -> None:
    async def give_up(attempt: int) -> tuple[int, Refuser | None]:
        async with RawServer() as server, Client(server.address) as client:
            peer = await met(server, client.ready())
            patient = client.with_options(timeout=60)
            tasks = [asyncio.ensure_future(patient.call("desk.wait")) for _ in range(GIVEN_UP)]
            await eventually(lambda: client.stats()["live"]["calls"] == GIVEN_UP)
            refuser = Refuser(
                client,
                peer,
                lambda count: patient.call_many("desk.unknown", [()] * count, return_exceptions=True),
            )
            await refuser.refuse_until(refuser.is_withholding)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await patient.notify("desk.note")
            reasons, before_note = await cancels(peer)
            await eventually(refuser.is_done)
            for batch in refuser.batches:
                batch.cancel()
            await asyncio.gather(*refuser.batches, return_exceptions=True)
            # A server that is silent would hold the client up while it closes.
            peer.close()
        assert reasons == {0: GIVEN_UP}
        return before_note, refuser

    await until_withheld(give_up)


async def test_a_blocking_client_sends_such_cancels_as_well() -> None:
    async def give_up(attempt: int) -> tuple[int, Refuser | None]:
        # On a slow machine the budget is not used up before the deadline of the first attempt.
        seconds = 0.3 * attempt
        async with RawServer() as server:
            with SyncClient(server.address) as client:
                peer = await met(server, asyncio.to_thread(client.ready))
                patient, hasty = client.with_options(timeout=60), client.with_options(timeout=seconds)
                waiting = asyncio.ensure_future(
                    asyncio.to_thread(hasty.call_many, "desk.wait", [()] * GIVEN_UP, return_exceptions=True)
                )
                await eventually(lambda: client.stats()["live"]["calls"] == GIVEN_UP or waiting.done())
                if waiting.done():
                    # The machine stalled for longer than the deadline.
                    peer.close()
                    return GIVEN_UP, None
                refuser = Refuser(
                    client,
                    peer,
                    lambda count: asyncio.to_thread(
                        patient.call_many, "desk.unknown", [()] * count, return_exceptions=True
                    ),
                )
                await refuser.refuse_until(waiting.done)
                await asyncio.to_thread(patient.notify, "desk.note")
                reasons, before_note = await cancels(peer)
                assert reasons == {1: GIVEN_UP}
                await eventually(refuser.is_done)
                peer.close()
            await asyncio.gather(*refuser.batches, return_exceptions=True)
        return before_note, refuser

    await until_withheld(give_up)


@pytest.mark.parametrize(
    ("scheme", "interceptors"), [*((scheme, ()) for scheme in SCHEMES), ("tcp", (passing_on,))]
)
async def test_every_handler_hears_that_its_call_was_abandoned(
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


@pytest.mark.parametrize("way", [one_by_one, in_many_batches])
async def test_each_of_many_wrong_calls_gets_its_answer(way: Ways) -> None:
    async with RawServer() as server, Client(server.address) as client:
        peer = await met(server, client.ready())
        patient = client.with_options(timeout=60)
        refuser = Refuser(client, peer, lambda count: way(patient, count))
        await refuser.refuse_until(refuser.is_withholding)
        await refuser.finish()
        assert client.stats()["totals"]["connections"] == 1
        # A server that is silent would hold the client up while it closes.
        peer.close()


@pytest.mark.parametrize("way", [one_by_one, in_many_batches])
async def test_each_of_many_intercepted_wrong_calls_gets_its_answer(way: Ways) -> None:
    async with served(Desk(), scheme="tcp", config=small_server()) as target:
        async with Client(target, interceptors=[passing_on]) as client:
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
        peer = await met(server, client.ready())
        patient = client.with_options(timeout=60, fail_mode="failfast")
        refuser = Refuser(
            client,
            peer,
            lambda count: patient.call_many("desk.unknown", [()] * count, return_exceptions=True),
        )
        await refuser.refuse_until(refuser.is_withholding)
        server.stop()
        peer.close()
        found = await refuser.batches[-1]
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
