"""`fastrpc.health.watch`: the present state, each change, and a clear end when the server drains."""

import asyncio
import itertools
from typing import Any

import pytest

import fastrpc
from fastrpc import (
    CallError,
    Client,
    Keepalive,
    Limits,
    ServerConfig,
    Status,
    SyncClient,
    Timeouts,
    UnavailableError,
)
from fastrpc.testing import connected
from tests.support.served import SCHEMES, served
from tests.support.threaded_server import ThreadedServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

WATCH = "fastrpc.health.watch"


@fastrpc.service("arith")
class Arith:
    @fastrpc.method
    async def mul(self, a: int, b: int) -> int:
        return a * b


@fastrpc.service("later")
class Later:
    @fastrpc.method
    async def ping(self) -> None: ...


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_tells_the_present_state_then_each_change(scheme: str) -> None:
    async with served(Arith, scheme=scheme) as target, Client(target) as client:
        async with client.stream(WATCH) as states:
            assert await states.receive() == "SERVING"
            for serving_now, state in ((False, "NOT_SERVING"), (True, "SERVING"), (False, "NOT_SERVING")):
                target.server.set_serving(serving_now)
                assert await states.receive() == state


async def test_tells_of_one_service_whether_it_or_the_server_changed() -> None:
    async with served(Arith) as target, Client(target) as client:
        async with client.stream(WATCH, "arith") as states:
            assert await states.receive() == "SERVING"
            target.server.set_serving(False, service="arith")
            assert await states.receive() == "NOT_SERVING"
            target.server.set_serving(False)
            target.server.set_serving(True, service="arith")
            target.server.set_serving(True)
            assert await states.receive() == "SERVING"


async def test_change_of_another_service_is_no_message() -> None:
    async with served(Arith, Later) as target, Client(target) as client:
        async with client.stream(WATCH, "arith") as states:
            assert await states.receive() == "SERVING"
            target.server.set_serving(False, service="later")
            target.server.set_serving(False, service="arith")
            assert await states.receive_many() == ["NOT_SERVING"]


async def test_unknown_service_becomes_known_when_it_is_added() -> None:
    async with served(Arith) as target, Client(target) as client:
        async with client.stream(WATCH, service="later") as states:
            assert await states.receive() == "SERVICE_UNKNOWN"
            target.server.add(Later())
            assert await states.receive() == "SERVING"


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_drain_is_not_serving_and_then_the_end(scheme: str) -> None:
    async with served(Arith, scheme=scheme) as target, Client(target) as client:
        async with client.with_options(idempotent=True).stream(WATCH) as states:
            assert await states.receive() == "SERVING"
            drain = asyncio.create_task(target.server.drain())
            assert await states.receive() == "NOT_SERVING"
            with pytest.raises(UnavailableError, match="drains") as ended:
                await states.receive()
        assert (ended.value.processed, ended.value.retryable) == ("yes", True)
        assert ended.value.hint == "open it again"
        # No watcher holds the drain up.
        assert await drain is True


async def test_watcher_stays_while_the_drain_is_announced() -> None:
    config = ServerConfig(timeouts=Timeouts(announce=1.0))
    async with served(Arith, config=config) as target, Client(target) as client:
        async with client.stream(WATCH) as states:
            assert await states.receive() == "SERVING"
            drain = asyncio.create_task(target.server.drain())
            assert await states.receive() == "NOT_SERVING"
            assert not drain.done()
            assert await client.call(Arith.mul, 6, 7) == 42
            with pytest.raises(UnavailableError):
                await states.receive()
        assert await drain is True


async def test_connection_that_is_too_old_ends_the_watch() -> None:
    config = ServerConfig(keepalive=Keepalive(max_age=0.2))
    async with served(Arith, scheme="tcp", config=config) as target, Client(target) as client:
        async with client.stream(WATCH) as states:
            assert await states.receive() == "SERVING"
            with pytest.raises(UnavailableError, match="drains"):
                await states.receive()
        async with client.stream(WATCH) as states:
            assert await states.receive() == "SERVING"


async def test_slow_reader_gets_the_latest_state_and_holds_no_memory() -> None:
    config = ServerConfig(limits=Limits(stream_window_bytes=16_384))
    async with served(Arith, scheme="tcp", config=config) as target, Client(target) as client:
        async with client.stream(WATCH) as states:
            assert await states.receive() == "SERVING"
            for number in range(10_001):
                target.server.set_serving(number % 2 == 1)
                await asyncio.sleep(0)
            # Unread changes fill the window of the reader; later changes wait nowhere.
            assert target.server.stats()["buffered"] < 65_536
            told = await states.receive_many()
            while len(told) < 9_000 and told[-1:] != ["NOT_SERVING"]:
                told += await states.receive_many()
            async with asyncio.timeout(20):
                target.server.set_serving(True)
                while told[-1] != "SERVING":
                    told += await states.receive_many()
            assert len(told) < 9_000
            assert all(one != other for one, other in itertools.pairwise(told))


async def test_watchers_that_left_are_forgotten() -> None:
    async with served(Arith, scheme="tcp") as target:
        watchers = target.server._health.watchers
        async with Client(target) as client:
            streams = [client.stream(WATCH) for _ in range(50)]
            for stream in streams:
                await stream.__aenter__()
                assert await stream.receive() == "SERVING"
            assert len(watchers) == 50
            for stream in streams[:25]:
                await stream.aclose()
            await eventually(lambda: len(watchers) == 25)
        await eventually(lambda: len(watchers) == 0)


async def test_passes_the_interceptors_like_any_stream() -> None:
    async def refuse(call: Any, proceed: Any) -> Any:
        raise CallError(Status.PERMISSION_DENIED, f"not {call.method}")

    async with served(Arith, interceptors=[refuse]) as target, Client(target) as client:
        with pytest.raises(CallError, match=r"not fastrpc\.health\.watch"):
            async with client.stream(WATCH) as states:
                await states.receive()


async def test_call_names_the_verb_for_it() -> None:
    async with connected(Arith) as client:
        with pytest.raises(CallError, match="stream") as refused:
            await client.call(WATCH)
        assert refused.value.status is Status.INVALID_ARGUMENT


def test_blocking_client_sees_the_same() -> None:
    with ThreadedServer(Arith) as running, SyncClient(running.address) as client:
        with client.stream(WATCH, "arith") as states:
            assert states.receive() == "SERVING"
            running.loop.call_soon_threadsafe(running.server.set_serving, False)
            assert states.receive() == "NOT_SERVING"


def test_blocking_client_is_told_of_a_drain() -> None:
    with ThreadedServer(Arith) as running, SyncClient(running.address) as client:
        with client.stream(WATCH) as states:
            assert states.receive() == "SERVING"
            asyncio.run_coroutine_threadsafe(running.server.drain(), running.loop)
            assert states.receive() == "NOT_SERVING"
            with pytest.raises(UnavailableError, match="drains"):
                states.receive()
