"""Early calls that meet limits they could not know are sent again, as the same attempt, within the known limits."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import pytest

import fastrpc
from fastrpc import (
    Backoff,
    CallError,
    Client,
    ClientConfig,
    EncodeError,
    Limits,
    OverloadedError,
    ServerConfig,
    SyncClient,
)
from fastrpc.failmodes import FailFast
from tests.support.frame_factory import answer, early_opening
from tests.support.raw_peer import RawPeer, RawServer
from tests.support.served import SCHEMES, served
from tests.support.threaded_server import ThreadedServer
from tests.support.wire_frames import Cancel, Goaway, Request, SettingsFrame
from tests.support.wire_settings import Setting

pytestmark = pytest.mark.one_loop

KIB = 1 << 10
REFUSED, UNSTARTED = 8, 1


@fastrpc.service("early")
class Early:
    def __init__(self) -> None:
        self.started: list[int] = []

    @fastrpc.method(idempotent=True)
    async def find(self, number: int) -> int:
        self.started.append(number)
        await asyncio.sleep(0)
        return number

    @fastrpc.method
    async def count(self, number: int) -> int:
        self.started.append(number)
        await asyncio.sleep(0)
        return number

    @fastrpc.method(idempotent=True)
    async def weigh(self, data: bytes) -> int:
        return len(data)


#: A call without a connection waits as long as the first pause between attempts.
PATIENT = ClientConfig(backoff=Backoff(first=30, longest=30))


def few(calls: int) -> ServerConfig:
    return ServerConfig(limits=Limits(concurrent_calls=calls))


async def passing_on(call: fastrpc.Call, proceed: fastrpc.Proceed) -> Any:
    return await proceed(call)


@pytest.mark.parametrize("interceptors", [(), (passing_on,)], ids=["plain", "intercepted"])
@pytest.mark.parametrize(
    ("scheme", "calls"), [*((scheme, 3) for scheme in SCHEMES), *(("memory", calls) for calls in (1, 40, 99))]
)
async def test_no_early_call_fails_for_any_capacity_of_the_server(
    scheme: str, calls: int, interceptors: Sequence[fastrpc.Interceptor]
) -> None:
    early = Early()
    async with served(early, scheme=scheme, config=few(calls)) as target:
        for _ in range(3):
            early.started.clear()
            async with Client(
                target, interceptors=interceptors, fail_mode=FailFast(), config=PATIENT
            ) as client:
                results = await asyncio.gather(*(client.call(Early.find, number) for number in range(300)))
            assert results == list(range(300))
            assert sorted(early.started) == results


@pytest.mark.parametrize("method", [Early.find, Early.count, "early.find"])
async def test_calls_that_may_run_once_only_are_sent_again_as_well(method: Any) -> None:
    early = Early()
    config = ClientConfig(early_calls="all")
    async with served(early, scheme="tcp", config=few(2)) as target, Client(target, config=config) as client:
        results = await asyncio.gather(*(client.call(method, number) for number in range(120)))
        assert results == list(range(120))
        assert sorted(early.started) == results
        assert client.stats()["totals"]["retries"] == 0


async def test_an_early_batch_fits_small_limits() -> None:
    early = Early()
    async with served(early, scheme="tcp", config=few(3)) as target, Client(target) as client:
        values = await client.call_many(Early.find, [(number,) for number in range(200)])
        assert values == list(range(200))
        assert sorted(early.started) == values


async def test_replies_of_early_calls_tell_one_attempt() -> None:
    async with served(Early, scheme="tcp", config=few(2)) as target, Client(target) as client:
        replies = await asyncio.gather(*(client.request(Early.find, number) for number in range(50)))
        assert {reply.attempts for reply in replies} == {1}


def test_blocking_batches_and_calls_of_many_threads_fit_small_limits() -> None:
    with ThreadedServer(Early, config=few(3)) as server:
        with SyncClient(server.address, fail_mode=FailFast()) as client:
            assert client.call_many(Early.find, [(n,) for n in range(200)]) == list(range(200))
        with SyncClient(server.address, fail_mode=FailFast()) as client:
            assert in_threads(client, 40) == list(range(40))


def in_threads(client: SyncClient, count: int) -> list[int]:
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda number: client.call(Early.find, number), range(count)))


async def test_an_early_request_above_the_servers_limit_fails_with_the_value_of_the_limit() -> None:
    config = ServerConfig(limits=Limits(message_bytes=8 * KIB))
    async with served(Early, scheme="tcp", config=config) as target, Client(target) as client:
        results = await asyncio.gather(
            *(client.call(Early.weigh, bytes(size * KIB)) for size in (1, 20, 2, 40)), return_exceptions=True
        )
        assert results[::2] == [1 * KIB, 2 * KIB]
        for error in results[1::2]:
            assert isinstance(error, EncodeError)
            assert error.processed == "no"
            assert "8192" in str(error)


@asynccontextmanager
async def met(client: Client, server: RawServer, calls: Iterable[Awaitable[Any]]) -> AsyncIterator[Any]:
    """Begin calls on a client whose server has not shown its settings; yield the server's side and the tasks."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    peer = await server.accept()
    try:
        yield peer, tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        peer.close()


def refusal(call: int, **fields: Any) -> bytes:
    return answer(call, status=REFUSED, **({"outcome": UNSTARTED, "message": b"full"} | fields))


async def requests(peer: RawPeer, count: int) -> list[Request]:
    return [await peer.next(Request) for _ in range(count)]


async def test_a_call_is_sent_again_once_on_a_connection() -> None:
    async with RawServer() as server, Client(server.address, fail_mode=FailFast()) as client:
        async with met(client, server, [client.call(Early.find, 1)]) as (peer, tasks):
            (first,) = await requests(peer, 1)
            peer.send(early_opening(True), refusal(first.id))
            (second,) = await requests(peer, 1)
            assert second.id > first.id
            assert (second.payload, second.attempt, second.method) == (first.payload, 0, first.method)
            peer.send(refusal(second.id))
            with pytest.raises(OverloadedError):
                await tasks[0]


@pytest.mark.parametrize(
    "fields",
    [
        {"outcome": 0},
        {"outcome": 2},
        {"pushback_ms": 50},
        {"pushback_ms": 0xFFFFFFFF},
        {"status": 3},
    ],
)
async def test_other_refusals_of_early_calls_are_answers(fields: dict[str, int]) -> None:
    async with RawServer() as server, Client(server.address, fail_mode=FailFast()) as client:
        async with met(client, server, [client.call(Early.find, 1)]) as (peer, tasks):
            (first,) = await requests(peer, 1)
            final = answer(first.id, **({"status": REFUSED, "outcome": UNSTARTED} | fields))
            peer.send(early_opening(True), final)
            with pytest.raises((OverloadedError, CallError, fastrpc.UnavailableError)):
                await tasks[0]


async def test_a_refusal_of_a_call_that_knew_the_settings_is_an_answer() -> None:
    async with RawServer() as server, Client(server.address, fail_mode=FailFast()) as client:
        async with met(client, server, [client.call(Early.find, 1)]) as (peer, tasks):
            (first,) = await requests(peer, 1)
            peer.send(early_opening(True), answer(first.id, b"\x07", codec=1))
            assert await tasks[0] == 7
            late = asyncio.ensure_future(client.call(Early.find, 2))
            (second,) = await requests(peer, 1)
            peer.send(refusal(second.id))
            with pytest.raises(OverloadedError):
                await late


async def test_calls_that_are_sent_again_wait_for_a_place() -> None:
    async with RawServer() as server, Client(server.address, fail_mode=FailFast()) as client:
        calls = [client.call(Early.find, number) for number in range(5)]
        async with met(client, server, calls) as (peer, tasks):
            early = await requests(peer, 5)
            opening = early_opening(True, {Setting.MAX_CALLS: 1})
            peer.send(opening, *(refusal(one.id) for one in early[1:]))
            # One place, which the first call holds.
            await peer.next(SettingsFrame)
            for number in range(5):
                answered = early[0] if number == 0 else (await requests(peer, 1))[0]
                peer.send(answer(answered.id, answered.payload[1:], codec=1))
            assert await asyncio.gather(*tasks) == [0, 1, 2, 3, 4]


async def test_the_deadline_of_what_is_sent_again_continues() -> None:
    async with RawServer() as server, Client(server.address, fail_mode=FailFast()) as client:
        hasty = client.with_options(timeout=0.5)
        async with met(client, server, [hasty.call(Early.find, 1)]) as (peer, tasks):
            (first,) = await requests(peer, 1)
            peer.send(early_opening(True), refusal(first.id))
            (second,) = await requests(peer, 1)
            assert 0 < second.timeout_us < first.timeout_us
            with pytest.raises(fastrpc.DeadlineExceededError):
                await tasks[0]
            assert (await peer.next(Cancel)).id == second.id


async def test_a_cancelled_call_is_not_sent_again() -> None:
    async with RawServer() as server, Client(server.address) as client:
        async with met(client, server, [client.call(Early.find, 1)]) as (peer, tasks):
            (first,) = await requests(peer, 1)
            tasks[0].cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            peer.send(early_opening(True), refusal(first.id))
            other = asyncio.ensure_future(client.call(Early.find, 2))
            (second,) = await requests(peer, 1)
            assert second.payload != first.payload
            peer.send(answer(second.id, b"\x02", codec=1))
            assert await other == 2


async def test_nothing_is_sent_again_on_a_connection_that_drains() -> None:
    async with RawServer() as server, Client(server.address, fail_mode=FailFast()) as client:
        async with met(client, server, [client.call(Early.find, 1)]) as (peer, tasks):
            (first,) = await requests(peer, 1)
            peer.send(early_opening(True), Goaway(2**63 - 1).encode(), refusal(first.id))
            with pytest.raises(OverloadedError):
                await tasks[0]
            assert [one for one in peer.frames if isinstance(one, Request)] == [first]


async def test_each_connection_sends_a_call_again_once() -> None:
    """The second connection is another attempt: a call that the first one refused twice may be early there too."""
    async with RawServer() as server, Client(server.address, fail_mode=fastrpc.failmodes.FailTry()) as client:
        async with met(client, server, [client.call(Early.find, 1)]) as (peer, tasks):
            (first,) = await requests(peer, 1)
            peer.close()
            other = await server.accept()
            (again,) = await requests(other, 1)
            other.send(early_opening(True), refusal(again.id))
            (last,) = await requests(other, 1)
            other.send(answer(last.id, b"\x01", codec=1))
            assert await tasks[0] == 1
            assert first.payload == again.payload == last.payload


async def test_one_way_calls_wait_for_the_settings() -> None:
    async with RawServer() as server, Client(server.address) as client:
        async with met(client, server, [client.notify(Early.find, 1)]) as (peer, tasks):
            await peer.next(SettingsFrame)
            assert not [one for one in peer.frames if isinstance(one, Request)]
            peer.send(early_opening(True))
            await requests(peer, 1)
            await tasks[0]


@pytest.mark.parametrize("compressor", ["gzip", None])
async def test_calls_that_wait_for_the_settings_are_not_kept_twice(compressor: str | None) -> None:
    call: Callable[..., Any]
    async with served(Early, scheme="tcp", config=few(2)) as target, Client(target) as client:
        call = client.with_options(compressor=compressor).call
        sizes = [100, 70 * KIB, 300 * KIB, 5]
        assert await asyncio.gather(*(call(Early.weigh, bytes(size)) for size in sizes)) == sizes
