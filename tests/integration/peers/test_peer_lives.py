"""Connections of clients that serve begin, end and begin anew: drains of either side, reconnects, forks."""

import asyncio

import pytest

import fastrpc
from fastrpc import Client, ClientConfig, Peer, PeerClient, Server, Timeouts
from fastrpc.config import Backoff, Keepalive
from fastrpc.testing import connected
from tests.integration.peers.test_peer_verbs import watched
from tests.support.forking import in_child
from tests.support.served import SCHEMES, served
from tests.support.waiting import eventually
from tests.support.watcher import Hub, Watcher

QUICK = ClientConfig(backoff=Backoff(first=0.01, longest=0.05))


def serving(server: Server) -> list[Peer]:
    return [peer for peer in server.peers() if peer.client is not None]


def client_of(peer: Peer) -> PeerClient:
    assert peer.client is not None
    return peer.client


@pytest.mark.parametrize("scheme", SCHEMES)
class TestEnds:
    async def test_a_kept_client_tells_of_its_end(self, scheme: str) -> None:
        hub = Hub()
        async with served(hub, scheme=scheme) as target:
            async with Client(target, services=[Watcher()]) as client:
                await client.call(Hub.watch)
                (peer,) = hub.clients
                waiting = asyncio.create_task(peer.wait_closed())
                assert await peer.call(Watcher.changed, "tea") == 1
                assert not waiting.done()
            await waiting
            assert peer.is_closed
            await peer.wait_closed()
            await eventually(lambda: not target.server.peers())
            for call in (
                peer.call(Watcher.changed, "late"),
                peer.request(Watcher.changed, "late"),
                peer.notify(Watcher.changed, "late"),
                peer.call_many(Watcher.changed, [("late",)]),
                peer.call(Watcher.total, [1]),
                peer.stream(Watcher.count, 3).receive(),
            ):
                turned: list[bool] = []
                asyncio.get_running_loop().call_soon(turned.append, True)
                with pytest.raises(fastrpc.ConnectionLostError, match="was not sent") as lost:
                    await call
                # Otherwise a handler that calls again after each error would never be cancelled.
                assert turned == [True]
                assert (lost.value.processed, lost.value.retryable) == ("no", False)
            results = await peer.call_many(Watcher.changed, [("late",)], return_exceptions=True)
            assert [type(result) for result in results] == [fastrpc.ConnectionLostError]

    async def test_a_client_that_closes_waits_for_its_handlers(self, scheme: str) -> None:
        watcher = Watcher("tea")
        async with served(Hub, scheme=scheme) as target:
            async with Client(target, services=[watcher]):
                (peer,) = serving(target.server)
                call = asyncio.create_task(client_of(peer).call(Watcher.wait))
                await watcher.began.wait()
                asyncio.get_running_loop().call_later(0.05, watcher.go_on.set)
            assert await call == "tea"
            assert watcher.ended == ["done"]

    async def test_a_client_that_closes_cancels_handlers_that_do_not_end(self, scheme: str) -> None:
        watcher = Watcher()
        config = ClientConfig(timeouts=Timeouts(drain=0.05))
        async with served(Hub, scheme=scheme) as target:
            async with Client(target, services=[watcher], config=config):
                (peer,) = serving(target.server)
                call = asyncio.create_task(client_of(peer).call(Watcher.wait))
                await watcher.began.wait()
            with pytest.raises(fastrpc.CallError, match="the client closes") as cut:
                await call
            assert (cut.value.status, cut.value.processed) == (fastrpc.Status.UNAVAILABLE, "yes")
            assert watcher.ended == ["cancelled"]

    async def test_a_server_that_drains_waits_for_its_calls_to_clients(self, scheme: str) -> None:
        watcher = Watcher("tea")
        async with (
            served(Hub, scheme=scheme) as target,
            Client(target, services=[watcher], config=QUICK) as client,
        ):
            call = asyncio.create_task(client.call(Hub.wait_for_caller))
            await watcher.began.wait()
            draining = asyncio.create_task(target.server.drain(10))
            await eventually(lambda: target.server.is_draining)
            watcher.go_on.set()
            assert await draining is True
            assert await call == "tea"

    async def test_an_endless_stream_of_either_side_learns_of_the_drain(self, scheme: str) -> None:
        async with (
            served(Hub, scheme=scheme) as target,
            Client(target, services=[Watcher()], config=QUICK) as client,
        ):
            async with client.stream(Hub.endless) as numbers:
                assert await numbers.receive() == 0
                draining = asyncio.create_task(target.server.drain(10))
                assert [number async for number in numbers] == [1]
                assert await draining is True

    async def test_a_client_may_close_inside_its_own_handler(self, scheme: str) -> None:
        closed = asyncio.Event()

        @fastrpc.service("quitter")
        class Quitter:
            client: Client

            @fastrpc.method
            async def quit(self) -> None:
                await self.client.close()
                closed.set()

        quitter = Quitter()
        async with served(Hub, scheme=scheme) as target:
            client = quitter.client = Client(target, services=[quitter])
            await client.__aenter__()
            (peer,) = serving(target.server)
            call = asyncio.create_task(client_of(peer).call(Quitter.quit))
            with pytest.raises(fastrpc.FastRPCError):
                await call
            await client.close()


class TestReconnects:
    async def test_a_reconnect_makes_a_new_peer_with_the_same_id(self) -> None:
        async with (
            served(Hub, scheme="tcp") as target,
            Client(target, services=[Watcher()], config=QUICK) as client,
        ):
            first_id = await client.call(Hub.watch)
            (first,) = serving(target.server)
            assert first.id == first_id is not None
            for session in client._pool.open_connections:
                session.abort()
            await client_of(first).wait_closed()
            # No call is made: the client connects by itself.
            await eventually(lambda: bool(serving(target.server)))
            (second,) = serving(target.server)
            assert second is not first
            assert second.id == first.id
            assert await client_of(second).call(Watcher.changed, "tea") == 1

    async def test_two_clients_have_two_ids(self) -> None:
        async with served(Hub) as target:
            async with Client(target, services=[Watcher()]), Client(target, services=[Watcher()]):
                assert len({peer.id for peer in serving(target.server)}) == 2

    async def test_entering_succeeds_without_a_server_and_connects_once_there_is_one(self) -> None:
        async with served(Hub, scheme="tcp") as gone:
            address = str(gone)
        async with Client(address, services=[Watcher()], config=QUICK), Server(Hub()) as server:
            await server.listen(address)
            await eventually(lambda: bool(serving(server)))

    async def test_a_client_keeps_one_connection_to_each_endpoint_with_one_id(self) -> None:
        async with served(Hub) as first, served(Hub) as second:
            async with Client([first, second], services=[Watcher()]):
                await eventually(lambda: bool(serving(first.server) and serving(second.server)))
                ids = {peer.id for target in (first, second) for peer in serving(target.server)}
                assert len(ids) == 1
                assert len(first.server.peers()) == len(second.server.peers()) == 1

    async def test_an_aged_connection_is_replaced_once_its_handlers_ended(self) -> None:
        watcher = Watcher("tea")
        config = ClientConfig(keepalive=Keepalive(max_age=0.2), backoff=QUICK.backoff)
        async with served(Hub) as target, Client(target, services=[watcher], config=config):
            (first,) = serving(target.server)
            call = asyncio.create_task(client_of(first).call(Watcher.wait))
            await watcher.began.wait()
            await client_of(first).wait_closed()
            assert not call.done()
            watcher.go_on.set()
            assert await call == "tea"
            await eventually(lambda: any(peer is not first for peer in serving(target.server)))

    async def test_a_rolling_restart_moves_the_client_and_fails_no_call(self) -> None:
        async with Client("memory://rolling", services=[Watcher()], config=QUICK) as client:
            for number in range(5):
                async with Server(Hub()) as server:
                    await server.listen("memory://rolling")
                    await eventually(lambda server=server: bool(serving(server)))  # type: ignore[misc]
                    (peer,) = serving(server)
                    assert await client_of(peer).call(Watcher.swallow, b"x" * number) == number
                    assert await client.call(Hub.descend, 4) == 4


async def test_notifying_many_clients_in_a_loop_reports_the_dead_ones() -> None:
    count, dead = 200, 20
    watchers = [Watcher(str(number)) for number in range(count)]
    async with served(Hub) as target:
        clients = [Client(target, services=[watcher]) for watcher in watchers]
        for client in clients:
            await client.__aenter__()
        await eventually(lambda: len(serving(target.server)) == count)
        peers = serving(target.server)
        for client in clients[:dead]:
            await client.close()
        lost = []
        for peer in peers:
            try:
                await client_of(peer).notify(Watcher.changed, "tea")
            except fastrpc.ConnectionLostError as error:
                lost.append(error.processed)
        assert lost == ["no"] * dead
        await eventually(lambda: all(watcher.seen == ["tea"] for watcher in watchers[dead:]))
        assert not any(watcher.seen for watcher in watchers[:dead])
        for client in clients[dead:]:
            await client.close()


async def test_connected_gives_the_client_services() -> None:
    async with connected(Hub(), services=[Watcher()]) as client:
        assert await client.call(Hub.descend, 6) == 6


async def test_a_task_that_outlives_the_handler_continues_calling() -> None:
    async with watched() as (_, client, _, watcher):
        later: list[asyncio.Task[int]] = []

        @fastrpc.service("starter")
        class Starter:
            @fastrpc.method
            async def start(self) -> None:
                peer = fastrpc.current_call().peer.client
                assert peer is not None
                with fastrpc.detached():
                    later.append(asyncio.create_task(peer.call(Watcher.changed, "later")))

        async with served(Starter) as target, Client(target, services=[watcher]) as client:
            await client.call(Starter.start)
            assert await later[0] == 1


def test_a_used_client_that_serves_and_its_peers_refuse_the_child_of_a_fork() -> None:
    async def run() -> None:
        async with served(Hub, scheme="tcp") as target, Client(target, services=[Watcher()]) as client:
            await client.call(Hub.watch)
            (peer,) = serving(target.server)
            used = client_of(peer)
            await used.call(Watcher.changed, "tea")

            def child() -> None:
                with pytest.raises(RuntimeError, match="before the fork"):
                    target.server.peers()
                for made in (used, client):
                    with pytest.raises(RuntimeError, match="fork"):
                        asyncio.new_event_loop().run_until_complete(made.call("hub.echo", "x"))

            in_child(child)
            assert await used.call(Watcher.changed, "milk") == 2

    asyncio.run(run())


def test_a_client_that_serves_made_before_a_fork_works_in_the_child() -> None:
    client = Client("memory://forked", services=[Watcher()])

    def child() -> None:
        async def run() -> None:
            async with Server(Hub()) as server:
                await server.listen("memory://forked")
                async with client:
                    (peer,) = serving(server)
                    assert await client_of(peer).call(Watcher.changed, "tea") == 1

        asyncio.run(run())

    in_child(child)
