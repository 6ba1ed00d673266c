"""Large calls that are cancelled cost their own end only: neither the connection nor other calls notice them."""

import asyncio
import contextlib
import threading
from collections.abc import Callable

import pytest

import fastrpc
from fastrpc import CallError, Client, ClientConfig, DeadlineExceededError, ServerConfig, SyncClient
from fastrpc.failmodes import FailBackup
from tests.support.frame_factory import answer, opening, request
from tests.support.proxy import FaultProxy
from tests.support.raw_peer import RawServer, raw_client
from tests.support.served import SCHEMES, served
from tests.support.threaded_server import ThreadedServer
from tests.support.waiting import eventually
from tests.support.wire_frames import Cancel, Credit, Frame, Request, Response

MIB = 1 << 20
LARGE = 16 * MIB - 100

#: The bytes that may be on their way when a call is cancelled: the socket buffers of both sides, and a share of the
#: transport.
UNDER_WAY = 8 * MIB


@fastrpc.service("bulk")
class Bulk:
    def __init__(self) -> None:
        self.started = 0
        self.whole = 0

    @fastrpc.method(codec="raw", idempotent=True)
    async def give(self, size: bytes) -> bytes:
        self.started += 1
        return bytes(int(size))

    @fastrpc.method
    async def give_compressible(self, size: int) -> bytes:
        self.started += 1
        return b"some text " * (size // 10)

    @fastrpc.method
    def give_from_thread(self, size: int) -> bytes:
        self.started += 1
        fastrpc.current_call().cancelled  # noqa: B018 - a thread cannot be stopped, it only may ask
        return bytes(size)

    @fastrpc.method
    async def give_stubbornly(self, size: int) -> bytes:
        self.started += 1
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return bytes(size)

    @fastrpc.method(codec="raw")
    async def take(self, data: bytes) -> bytes:
        self.whole += 1
        return b"%d" % len(data)

    @fastrpc.method(codec="raw")
    async def echo(self, data: bytes) -> bytes:
        return data


def size(count: int) -> bytes:
    return b"%d" % count


async def give_up(client: Client, call: Callable[[], object], many: int, seconds: float) -> None:
    """Begin calls, and cancel them a little later."""
    tasks = [asyncio.ensure_future(call()) for _ in range(many)]  # type: ignore[call-overload]
    await asyncio.sleep(seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def quiet(client: Client) -> None:
    await eventually(lambda: client.stats()["live"]["calls"] == 0)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("seconds", [0.0, 0.003, 0.01])
async def test_calls_next_to_cancelled_large_answers_are_unharmed(scheme: str, seconds: float) -> None:
    async with served(Bulk, scheme=scheme) as target, Client(target) as client:
        await client.ready()
        for number in range(8):
            beside = [asyncio.ensure_future(client.call(Bulk.echo, size(one))) for one in range(20)]
            await give_up(client, lambda: client.call(Bulk.give, size(LARGE)), 2 + number % 3, seconds)
            assert await asyncio.gather(*beside) == [size(one) for one in range(20)]
        assert await client.call(Bulk.give, size(MIB)) == bytes(MIB)
        await quiet(client)
        assert client.stats()["totals"]["connections"] == 1


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_calls_next_to_timed_out_large_answers_are_unharmed(scheme: str) -> None:
    async with served(Bulk, scheme=scheme) as target, Client(target) as client:
        await client.ready()
        hasty = client.with_options(timeout=0.01)
        for _ in range(6):
            calls = [hasty.call(Bulk.give, size(LARGE)) for _ in range(3)]
            calls += [client.call(Bulk.echo, b"x") for _ in range(10)]
            results = await asyncio.gather(*calls, return_exceptions=True)
            assert results[3:] == [b"x"] * 10
            assert all(type(one) in (bytes, DeadlineExceededError) for one in results[:3]), results[:3]
        await quiet(client)
        assert client.stats()["totals"]["connections"] == 1


async def test_batches_of_large_answers_can_be_cancelled() -> None:
    async with served(Bulk, scheme="tcp") as target, Client(target) as client:
        await client.ready()
        for _ in range(6):
            await give_up(client, lambda: client.call_many(Bulk.give, [(size(LARGE),)] * 3), 1, 0.01)
            assert await client.call_many(Bulk.echo, [(b"a",), (b"b",)]) == [b"a", b"b"]
        await quiet(client)
        assert client.stats()["totals"]["connections"] == 1


@pytest.mark.parametrize("compressor", ["gzip", "lz4", "zstd"])
async def test_compressed_answers_can_be_cancelled(compressor: str) -> None:
    async with served(Bulk, scheme="tcp") as target, Client(target) as client:
        await client.ready()
        packed = client.with_options(compressor=compressor)
        for _ in range(4):
            await give_up(client, lambda: packed.call(Bulk.give_compressible, 12 * MIB), 2, 0.01)
            assert await client.call(Bulk.echo, b"alive") == b"alive"
        await quiet(client)
        assert client.stats()["totals"]["connections"] == 1


async def passing_on(call: fastrpc.Call, proceed: fastrpc.Proceed) -> object:
    return await proceed(call)


@pytest.mark.parametrize("interceptors", [(), (passing_on,)], ids=["plain", "intercepted"])
@pytest.mark.parametrize("method", [Bulk.give_from_thread, Bulk.give_stubbornly])
async def test_a_value_given_after_the_cancel_does_not_travel(
    method: Callable[..., object], interceptors: tuple[fastrpc.Interceptor, ...]
) -> None:
    bulk = Bulk()
    async with served(bulk, scheme="tcp", interceptors=interceptors) as target, FaultProxy(target) as proxy:
        async with Client(proxy.address, interceptors=interceptors) as client:
            await client.ready()
            for number in range(4):
                task = asyncio.ensure_future(client.call(method, 8 * MIB))  # type: ignore[call-overload]
                await eventually(lambda: bulk.started == number + 1)  # noqa: B023 - awaited here
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                assert await client.call(Bulk.echo, b"alive") == b"alive"
            await quiet(client)
        if method is Bulk.give_stubbornly:
            assert proxy.downstream.bytes_passed < 10_000


def raw_request(call: int, method: bytes, payload: bytes) -> bytes:
    return request(call, payload, method=method, codec=0)


@pytest.mark.parametrize("reason", [0, 1, 2])
async def test_the_line_does_not_carry_answers_that_nobody_wants(reason: int) -> None:
    """Of four answers of 16 MiB only the bytes in the sockets come after the CANCELs, and four ends."""
    async with served(Bulk, scheme="tcp") as target, raw_client(target, receive_bytes=65_536) as peer:
        peer.send(opening(False))
        for first in range(1, 33, 8):
            calls = range(first, first + 8, 2)
            peer.send(*(raw_request(call, b"bulk.give", size(LARGE)) for call in calls))
            assert (await peer.next(Response)).total == LARGE
            peer.send(*(Cancel(call, reason).encode() for call in calls))
            came = 0
            ends: list[Response] = []
            while len(ends) < 4:
                frame: Frame = await peer.next(Frame)  # type: ignore[arg-type]
                came += len(getattr(frame, "payload", b""))
                if isinstance(frame, Response) and frame.total is None:
                    ends.append(frame)
            assert sorted(end.id for end in ends) == list(calls)
            assert all(end.status == 1 and not end.payload for end in ends)
            assert came < UNDER_WAY
            peer.send(Credit(0, 16 * MIB).encode())
        peer.send(raw_request(99, b"bulk.echo", b"alive"))
        assert (await peer.next(Response)).payload == b"alive"


async def test_a_lost_hedge_stops_its_large_answer() -> None:
    async with served(Bulk, scheme="tcp") as first, served(Bulk, scheme="tcp") as second:
        async with Client([first, second], fail_mode=FailBackup(delay=0.001)) as client:
            await client.ready()
            for _ in range(6):
                results = await asyncio.gather(*(client.call(Bulk.give, size(LARGE)) for _ in range(3)))
                assert [len(one) for one in results] == [LARGE] * 3
                assert await client.call(Bulk.echo, b"alive") == b"alive"
            await quiet(client)
            assert client.stats()["totals"]["connections"] == 2


async def test_large_answers_of_a_lost_client_are_freed() -> None:
    async with served(Bulk, scheme="tcp") as target:
        for _ in range(3):
            async with Client(target) as client:
                await client.ready()
                tasks = [asyncio.ensure_future(client.call(Bulk.give, size(LARGE))) for _ in range(3)]
                await asyncio.sleep(0.01)
            await asyncio.gather(*tasks, return_exceptions=True)
        await eventually(lambda: target.server.stats()["live"]["connections"] == 0)
        assert target.server.stats()["live"]["calls"] == 0
        assert target.server.stats()["buffered"] == 0


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_half_sent_requests_can_be_abandoned(scheme: str) -> None:
    bulk = Bulk()
    async with served(bulk, scheme=scheme) as target, Client(target) as client:
        await client.ready()
        data = bytes(LARGE)
        for number in range(12):
            beside = [asyncio.ensure_future(client.call(Bulk.echo, size(one))) for one in range(20)]
            await give_up(client, lambda: client.call(Bulk.take, data), 1 + number % 3, 0.001 * (number % 4))
            assert await asyncio.gather(*beside) == [size(one) for one in range(20)]
        assert await client.call(Bulk.take, data) == size(LARGE)
        await quiet(client)
        assert client.stats()["totals"]["connections"] == 1


@pytest.mark.parametrize("way", ["cancel", "timeout"])
async def test_the_remaining_bytes_of_a_cancelled_request_are_not_sent(way: str) -> None:
    async with RawServer(receive_bytes=64 * 1024) as server, Client(server.address) as client:
        ready = asyncio.ensure_future(client.ready())
        peer = await server.accept()
        peer.send(opening(True))
        await ready
        called = client if way == "cancel" else client.with_options(timeout=0.3)
        for _ in range(2):
            tasks = [asyncio.ensure_future(called.call(Bulk.take, bytes(LARGE))) for _ in range(4)]
            assert (await peer.next(Request)).total == LARGE
            if way == "cancel":
                for task in tasks:
                    task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            came, begun = 0, {peer.frames[-1].id}
            while begun:
                frame: Frame = await peer.next(Frame)  # type: ignore[arg-type]
                if isinstance(frame, Request):
                    begun.add(frame.id)
                elif isinstance(frame, Cancel):
                    begun.discard(frame.id)
                    peer.send(answer(frame.id, status=1))
                came += len(getattr(frame, "payload", b""))
            assert came < UNDER_WAY
            peer.send(Credit(0, 16 * MIB).encode())
            await quiet(client)
        task = asyncio.ensure_future(client.call(Bulk.echo, b"alive"))
        peer.send(answer((await peer.next(Request)).id, b"alive"))
        assert await task == b"alive"


def test_threads_next_to_large_answers_that_time_out_are_unharmed() -> None:
    with ThreadedServer(Bulk) as server, SyncClient(server.address) as client:
        client.call(Bulk.echo, b"first")
        hasty = client.with_options(timeout=0.01)
        failures: list[BaseException] = []

        def time_out() -> None:
            for _ in range(6):
                try:
                    hasty.call(Bulk.give, size(LARGE))
                except DeadlineExceededError:
                    continue
                except BaseException as error:
                    failures.append(error)

        def go_on() -> None:
            try:
                for number in range(60):
                    assert client.call(Bulk.echo, size(number)) == size(number)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=target) for target in (time_out, time_out, time_out, go_on)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert failures == []
        assert client.call(Bulk.echo, b"last") == b"last"
        assert client.stats()["totals"]["connections"] == 1


def test_a_thread_alone_times_out_on_large_answers_and_continues() -> None:
    with ThreadedServer(Bulk) as server, SyncClient(server.address) as client:
        client.call(Bulk.echo, b"first")
        hasty = client.with_options(timeout=0.01)
        for _ in range(8):
            with contextlib.suppress(DeadlineExceededError):
                hasty.call(Bulk.give, size(LARGE))
            with contextlib.suppress(DeadlineExceededError):
                hasty.call(Bulk.take, bytes(LARGE))
            results = hasty.call_many(Bulk.give, [(size(LARGE),)] * 3, return_exceptions=True)
            assert {type(one) for one in results} <= {bytes, DeadlineExceededError}
            assert client.call(Bulk.echo, b"alive") == b"alive"
        assert client.stats()["totals"]["connections"] == 1


async def test_an_answer_above_the_callers_limit_is_stopped_at_its_first_piece() -> None:
    """Limits that differ: the server may not know the client's in time for a batch of calls."""
    small = ClientConfig(limits=fastrpc.Limits(message_bytes=4 * MIB))
    config = ServerConfig(limits=fastrpc.Limits(message_bytes=64 * MIB))
    async with served(Bulk, scheme="tcp", config=config) as target, Client(target, config=small) as client:
        for _ in range(4):
            results = await client.call_many(Bulk.give, [(size(60 * MIB),)] * 3, return_exceptions=True)
            assert [type(one) for one in results] == [CallError] * 3
            assert await client.call(Bulk.echo, b"alive") == b"alive"
        assert client.stats()["totals"]["connections"] == 1
