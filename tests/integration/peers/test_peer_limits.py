"""A client bounds the calls that it serves, as a server does: time, calls, memory, interceptors."""

import asyncio
from typing import Any

import pytest

import fastrpc
from fastrpc import Client, ClientConfig, Limits, Timeouts
from tests.integration.peers.test_peer_verbs import watched
from tests.support.served import SCHEMES, served
from tests.support.waiting import eventually, overdue_inside
from tests.support.watcher import Hub, Watcher

pytestmark = pytest.mark.one_loop

KIB = 1024


class TestTime:
    async def test_a_call_has_five_seconds_where_nothing_says_otherwise(self) -> None:
        async with watched() as (_, _, peer, _):
            assert 4.0 < (await peer.call(Watcher.left) or 0.0) <= 5.0

    async def test_a_call_inside_a_handler_has_no_longer_than_the_handler(self) -> None:
        async with watched() as (_, client, _, _):
            left = await client.with_options(timeout=1.5).call(Hub.ask_left)
            assert left is not None
            assert left <= 1.5

    async def test_a_deadline_passes_at_both_ends(self) -> None:
        async with watched() as (_, _, peer, watcher):
            error = await overdue_inside(
                lambda: peer.with_options(timeout=0.05).call(Watcher.wait), watcher.began.is_set
            )
            assert "watcher.wait" in str(error)
            await eventually(lambda: watcher.ended == ["cancelled"])

    @pytest.mark.parametrize("scheme", SCHEMES)
    async def test_a_cancelled_call_cancels_the_handlers_on_its_whole_way(self, scheme: str) -> None:
        hub, watcher = Hub(), Watcher()
        async with served(hub, scheme=scheme) as target, Client(target, services=[watcher]) as client:
            task = asyncio.create_task(client.call(Hub.wait_for_caller))
            await watcher.began.wait()
            task.cancel()
            await eventually(lambda: watcher.ended == ["cancelled"] and hub.ended == ["cancelled"])
            assert await client.call(Hub.echo, "still there") == "still there"

    async def test_a_lost_client_fails_the_call_of_the_server_and_cancels_its_handler(self) -> None:
        watcher = Watcher()
        async with served(Hub, scheme="tcp") as target:
            async with Client(target, services=[watcher]) as client:
                await client.call(Hub.watch)
                (peer,) = target.server.peers()
                assert peer.client is not None
                call = asyncio.create_task(peer.client.call(Watcher.wait))
                await watcher.began.wait()
                for session in client._pool.open_connections:
                    session.abort()
                with pytest.raises(fastrpc.ConnectionLostError) as lost:
                    await call
                assert lost.value.processed == "unknown"
                await eventually(lambda: watcher.ended == ["cancelled"])


class TestBounds:
    async def test_calls_above_the_limit_of_the_client_wait_for_their_turn(self) -> None:
        config = ClientConfig(limits=Limits(concurrent_calls=2, streams=2))
        async with watched(config=config) as (_, client, peer, watcher):
            calls = [asyncio.create_task(peer.call(Watcher.wait)) for _ in range(5)]
            await eventually(lambda: client.stats()["live"]["serving"] == 2)
            watcher.go_on.set()
            await asyncio.gather(*calls)
            assert watcher.ended == ["done"] * 5

    async def test_a_message_above_the_limit_of_the_client_is_not_sent(self) -> None:
        config = ClientConfig(limits=Limits(message_bytes=100 * KIB))
        async with watched(config=config) as (_, _, peer, _):
            with pytest.raises(fastrpc.EncodeError, match="takes at most 102400"):
                await peer.call(Watcher.swallow, bytes(101 * KIB))

    async def test_handlers_in_threads_go_by_the_admission_of_the_client(self) -> None:
        config = ClientConfig(admission=fastrpc.Admission(handler_threads=1))
        async with watched(config=config) as (_, _, peer, _):
            assert await peer.call_many(Watcher.read, [(size,) for size in range(20)]) == [
                bytes(size) for size in range(20)
            ]

    @pytest.mark.parametrize("scheme", SCHEMES)
    async def test_a_handler_that_reads_nothing_holds_at_most_its_window(self, scheme: str) -> None:
        async with watched(scheme) as (target, _, peer, watcher):
            sent = 0

            async def blocks() -> Any:
                nonlocal sent
                while True:
                    sent += 1
                    yield bytes(16 * KIB)

            call = asyncio.create_task(peer.with_options(timeout=None).call(Watcher.ignore, blocks()))
            await watcher.began.wait()
            assert await peer.call(Watcher.changed, "others go on") == 1
            await settled(lambda: sent)
            # The window of 64 KiB, and a message that is being sent.
            assert sent <= 6
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            assert target.server.stats()["live"]["calls"] == 0

    @pytest.mark.parametrize("scheme", SCHEMES)
    async def test_a_server_that_reads_nothing_suspends_the_handler_of_the_client(self, scheme: str) -> None:
        async with watched(scheme) as (_, _, peer, watcher):
            async with peer.stream(Watcher.flood, 16 * KIB) as blocks:
                assert len(await blocks.receive()) == 16 * KIB
                await settled(lambda: watcher.sent)
                assert watcher.sent <= 12
                assert await peer.call(Watcher.changed, "others go on") == 1
            await eventually(lambda: watcher.ended == ["flood"])

    async def test_notifications_wait_for_a_client_that_takes_nothing(self) -> None:
        async with watched("tcp") as (target, client, peer, _):
            (session,) = client._pool.open_connections
            assert session.transport is not None
            session.transport.pause_reading()
            sent, data = 0, bytes(64 * KIB)
            with pytest.raises(
                fastrpc.DeadlineExceededError, match="does not take what was sent before"
            ) as late:
                for sent in range(100_000):  # noqa: B007 - counted
                    await peer.with_options(timeout=0.2).notify(Watcher.swallow, data)
            assert late.value.processed == "no"
            # The buffer of the system, and the bytes that one connection may hold.
            held = target.server.stats()["buffered"]
            assert held < 17 * 1024 * KIB
            assert sent < 1_000
            session.transport.resume_reading()
            assert await peer.call(Watcher.changed, "caught up") == 1


class TestInterceptors:
    async def test_interceptors_of_a_client_wrap_its_served_calls_with_side_server(self) -> None:
        sides: list[tuple[str, str]] = []

        async def note(call: fastrpc.Call, proceed: fastrpc.Proceed) -> Any:
            sides.append((call.side, call.method))
            return await proceed(call)

        async with watched(interceptors=[note]) as (_, client, peer, _):
            assert await peer.call(Watcher.changed, "tea") == 1
            assert await client.call(Hub.echo, "x") == "x"
            async with peer.stream(Watcher.count, 2) as numbers:
                assert [number async for number in numbers] == [0, 1]
        assert sides == [("server", "watcher.changed"), ("client", "hub.echo"), ("server", "watcher.count")]


class TestRest:
    async def test_a_connection_that_serves_does_not_end_for_being_idle(self) -> None:
        idle = Timeouts(idle=0.05)
        server_config, config = fastrpc.ServerConfig(timeouts=idle), ClientConfig(timeouts=idle)
        async with served(Hub, config=server_config) as target:
            async with Client(target) as plain, Client(target, services=[Watcher()], config=config):
                await plain.ready(timeout=10)
                (before,) = [peer for peer in target.server.peers() if peer.client is not None]
                assert len(target.server.peers()) == 2
                await eventually(lambda: len(target.server.peers()) == 1)
                (after,) = target.server.peers()
                assert after is before


async def settled(read: Any) -> None:
    """Return once a number has stayed the same for many turns of the loop."""
    same, last = 0, read()
    while same < 50:
        await asyncio.sleep(0)
        same, last = (same + 1, last) if read() == last else (0, read())
