"""Retries of calls whose connection ended right after its start: they wait for the next one, within their time."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fastrpc import (
    Address,
    Backoff,
    Client,
    ClientConfig,
    ConnectError,
    ConnectionLostError,
    DeadlineExceededError,
    SyncClient,
    UnavailableError,
)
from tests.support.frame_factory import answer, opening
from tests.support.raw_peer import RawPeer, RawServer
from tests.support.waiting import eventually
from tests.support.wire_frames import Goaway, Request

pytestmark = pytest.mark.one_loop

#: The answer in msgpack.
ANSWER = b"\x2a"

#: Longer than all attempts take.
AMPLE_SECONDS = 8.0


async def lose(peer: RawPeer) -> None:
    """Take a call and end the connection: nobody knows whether it ran."""
    peer.send(opening(True))
    await peer.next(Request)


async def leave(peer: RawPeer) -> None:
    """Take a call and say that it was not started."""
    peer.send(opening(True))
    await peer.next(Request)
    peer.send(Goaway(0, final=True).encode())
    await asyncio.sleep(0.02)


async def shut(peer: RawPeer) -> None:
    """End the connection before it is one."""


async def greet(peer: RawPeer) -> None:
    """End the connection once it is one."""
    peer.send(opening(True))


async def serve(peer: RawPeer) -> None:
    """Answer every call."""
    peer.send(opening(True))
    while True:
        call = await peer.next(Request)
        peer.send(answer(call.id, ANSWER, codec=1))


Behaviour = Callable[[RawPeer], Any]


@asynccontextmanager
async def behaving(*behaviours: Behaviour) -> AsyncIterator[RawServer]:
    """Serve one connection after the other as given, the last way for ever."""
    async with RawServer() as server:

        async def run(peer: RawPeer, behaviour: Behaviour) -> None:
            try:
                await behaviour(peer)
            except (EOFError, ConnectionError):
                pass
            finally:
                peer.close()

        async def accept() -> None:
            left = list(behaviours)
            async with asyncio.TaskGroup() as group:
                while True:
                    peer = await server._peers.get()
                    group.create_task(run(peer, left.pop(0) if len(left) > 1 else left[0]))

        accepting = asyncio.create_task(accept())
        try:
            yield server
        finally:
            accepting.cancel()
            await asyncio.gather(accepting, return_exceptions=True)


class Caller:
    """One call of either client, which is connected before if it is to be."""

    def __init__(self, *, is_blocking: bool, is_ready: bool = True, **options: Any) -> None:
        self.is_blocking = is_blocking
        self.is_ready = is_ready
        self.options: dict[str, Any] = {"timeout": AMPLE_SECONDS, "idempotent": True} | options

    async def call(self, target: Any, **arguments: Any) -> Any:
        if self.is_blocking:
            return await asyncio.to_thread(self._block, target, arguments)
        async with Client(target, **arguments) as client:
            if self.is_ready:
                await client.ready(5)
            return await client.with_options(**self.options).call("arith.mul", 6, 7)

    def _block(self, target: Any, arguments: Any) -> Any:
        with SyncClient(target, **arguments) as client:
            if self.is_ready:
                client.ready(5)
            return client.with_options(**self.options).call("arith.mul", 6, 7)


both_clients = pytest.mark.parametrize("is_blocking", [False, True], ids=["Client", "SyncClient"])


@both_clients
@pytest.mark.parametrize("is_ready", [True, False], ids=["connected", "early"])
@pytest.mark.parametrize("fail_mode", [None, "failover", "failtry"])
@pytest.mark.parametrize("behaviour", [lose, leave])
async def test_retry_waits_until_the_connection_may_be_made_again(
    behaviour: Behaviour, fail_mode: str | None, is_ready: bool, is_blocking: bool
) -> None:
    caller = Caller(is_blocking=is_blocking, is_ready=is_ready)
    async with behaving(behaviour, serve) as server:
        fail_mode = fail_mode or "failover"
        assert await caller.call(server.address, fail_mode=fail_mode) == 42
        assert len(server.accepted_at) == 2


@both_clients
@pytest.mark.parametrize("fail_mode", ["failfast", "failover"])
async def test_call_that_was_not_started_is_sent_once_more_after_the_pause(
    fail_mode: str, is_blocking: bool
) -> None:
    caller = Caller(is_blocking=is_blocking, idempotent=False)
    async with behaving(leave, serve) as server:
        assert await caller.call(server.address, fail_mode=fail_mode) == 42


@both_clients
async def test_default_client_of_one_address_retries_calls_that_were_not_started(is_blocking: bool) -> None:
    async with behaving(leave, serve) as server:
        assert await Caller(is_blocking=is_blocking, idempotent=False).call(server.address) == 42


@both_clients
async def test_several_addresses_whose_connections_all_end_young_are_waited_for(is_blocking: bool) -> None:
    async with behaving(lose, serve) as first, behaving(lose, serve) as second:
        for target in ([first.address, second.address], [second.address]):
            assert await Caller(is_blocking=is_blocking).call(target, fail_mode="failover") == 42


@both_clients
async def test_endpoint_that_was_asked_for_is_waited_for(is_blocking: bool) -> None:
    async with behaving(lose, serve) as first, behaving(serve) as other:
        caller = Caller(is_blocking=is_blocking, is_ready=False, endpoint=Address.parse(first.address))
        assert await caller.call([first.address, other.address]) == 42
        assert len(first.accepted_at) == 2


@both_clients
async def test_registries_have_no_effect_on_retries(is_blocking: bool) -> None:
    async with behaving(lose, serve) as server:
        place = server.address.removeprefix("tcp://")
        caller = Caller(is_blocking=is_blocking)
        assert await caller.call("arith", registry=f"static://{place}", fail_mode="failover") == 42


@both_clients
async def test_retry_continues_over_failed_dials(is_blocking: bool) -> None:
    async with behaving(lose, shut, lose, serve) as server:
        caller = Caller(is_blocking=is_blocking)
        assert await caller.call(server.address, fail_mode="failover") == 42
        assert len(server.accepted_at) == 4


@both_clients
async def test_retry_waits_no_longer_than_its_time(is_blocking: bool) -> None:
    # A pause that is longer than the call may take.
    config = ClientConfig(backoff=Backoff(first=30.0, longest=30.0))
    caller = Caller(is_blocking=is_blocking, timeout=0.3)
    async with behaving(lose, serve) as server:
        with pytest.raises(DeadlineExceededError) as caught:
            await caller.call(server.address, fail_mode="failover", config=config)
        # The first attempt may have run.
        assert caught.value.processed == "unknown"
        assert len(server.accepted_at) == 1


@both_clients
async def test_call_without_a_deadline_ends_when_its_retries_are_over(is_blocking: bool) -> None:
    async with behaving(lose, shut) as server:
        with pytest.raises(UnavailableError) as caught:
            await Caller(is_blocking=is_blocking, timeout=None).call(server.address, fail_mode="failover")
        assert caught.value.processed == "unknown"
        # The lost connection, then the dials of the retries, and the client's dials without a call.
        assert 2 <= len(server.accepted_at) <= 12


@both_clients
async def test_call_that_must_not_be_repeated_fails_with_its_connection(is_blocking: bool) -> None:
    async with behaving(lose, serve) as server:
        with pytest.raises(ConnectionLostError) as caught:
            await Caller(is_blocking=is_blocking, idempotent=False).call(server.address, fail_mode="failover")
        assert caught.value.processed == "unknown"


@pytest.mark.measures
@both_clients
async def test_first_attempt_does_not_wait(is_blocking: bool) -> None:
    config = ClientConfig(backoff=Backoff(first=5.0, longest=5.0))
    caller = Caller(is_blocking=is_blocking, is_ready=False, idempotent=False)
    async with behaving(shut) as server:
        started = time.monotonic()
        with pytest.raises(ConnectError):
            await caller.call(server.address, config=config)
        assert time.monotonic() - started < 2


@both_clients
async def test_call_after_a_failed_call_does_not_wait(is_blocking: bool) -> None:
    config = ClientConfig(backoff=Backoff(first=30.0, longest=30.0))
    options: dict[str, Any] = {"timeout": AMPLE_SECONDS}
    async with behaving(lose, serve) as server:

        def block() -> None:
            with SyncClient(server.address, config=config) as client:
                for expected in (ConnectionLostError, ConnectError):
                    with pytest.raises(expected):
                        client.with_options(**options).call("arith.mul", 6, 7)

        async def call() -> None:
            async with Client(server.address, config=config) as client:
                for expected in (ConnectionLostError, ConnectError):
                    with pytest.raises(expected):
                        await client.with_options(**options).call("arith.mul", 6, 7)

        await (asyncio.to_thread(block) if is_blocking else call())
        assert len(server.accepted_at) == 1


async def test_call_after_a_lost_call_on_a_connection_of_the_loop_does_not_wait() -> None:
    config = ClientConfig(backoff=Backoff(first=30.0, longest=30.0))
    async with behaving(lose, serve) as server, Client(server.address, config=config) as client:
        # No call asks for this dial.
        client._state.use()
        (subchannel,) = client._pool.subchannels
        subchannel.start()
        await eventually(lambda: subchannel.is_ready)
        for expected in (ConnectionLostError, ConnectError):
            with pytest.raises(expected):
                await client.call("arith.mul", 6, 7)
        assert len(server.accepted_at) == 1


async def test_call_after_an_unused_connection_was_lost_dials_at_once() -> None:
    config = ClientConfig(backoff=Backoff(first=600.0, longest=600.0))
    async with behaving(greet, serve) as server, Client(server.address, config=config) as client:
        client._state.use()
        (subchannel,) = client._pool.subchannels
        subchannel.start()
        await eventually(lambda: subchannel.error is not None)
        assert await client.call("arith.mul", 6, 7) == 42


@both_clients
async def test_calls_of_a_batch_are_retried_likewise(is_blocking: bool) -> None:
    tuples = [(number, number) for number in range(5)]
    async with behaving(lose, serve) as server:

        def block() -> list[Any]:
            with SyncClient(server.address, fail_mode="failover") as client:
                client.ready(5)
                return client.with_options(idempotent=True).call_many("arith.mul", tuples)

        async def call() -> list[Any]:
            async with Client(server.address, fail_mode="failover") as client:
                await client.ready(5)
                return await client.with_options(idempotent=True).call_many("arith.mul", tuples)

        found = await (asyncio.to_thread(block) if is_blocking else call())
        assert found == [42] * 5


async def passing(call: Any, proceed: Any) -> Any:
    return await proceed(call)


@both_clients
async def test_interceptors_have_no_effect_on_retries(is_blocking: bool) -> None:
    async with behaving(lose, serve) as server:
        caller = Caller(is_blocking=is_blocking)
        assert await caller.call(server.address, fail_mode="failover", interceptors=[passing]) == 42


@both_clients
async def test_waiting_for_ready_continues_as_before(is_blocking: bool) -> None:
    async with behaving(lose, shut, serve) as server:
        caller = Caller(is_blocking=is_blocking, wait_for_ready=True)
        config = ClientConfig(backoff=Backoff(first=0.02, longest=0.05), early_calls="none")
        assert await caller.call(server.address, fail_mode="failover", config=config) == 42
