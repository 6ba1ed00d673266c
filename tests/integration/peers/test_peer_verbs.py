"""A server calls its clients: every verb, on every transport."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import fastrpc
from fastrpc import Client, ConfigError, PeerClient, SyncClient
from tests.support.served import SCHEMES, Served, served
from tests.support.waiting import eventually
from tests.support.watcher import Hub, Watcher

pytestmark = pytest.mark.one_loop


@asynccontextmanager
async def watched(
    scheme: str = "memory", **options: Any
) -> AsyncIterator[tuple[Served, Client, PeerClient, Watcher]]:
    """Connect a client that serves a Watcher, and yield the object by which the server calls it, too."""
    watcher = Watcher()
    async with served(Hub, scheme=scheme) as target:
        async with Client(target, services=[watcher], **options) as client:
            await client.ready(timeout=10)
            await eventually(lambda: bool(target.server.peers()))
            (peer,) = target.server.peers()
            assert peer.client is not None
            yield target, client, peer.client, watcher


@pytest.mark.parametrize("scheme", SCHEMES)
class TestVerbs:
    async def test_call_and_request_return_the_result_of_the_clients_handler(self, scheme: str) -> None:
        async with watched(scheme) as (_, _, peer, watcher):
            assert await peer.call(Watcher.changed, "tea") == 1
            assert await peer.call("watcher.changed", what="milk") == 2
            reply = await peer.request(Watcher.changed, "salt")
            assert (reply.value, reply.attempts) == (3, 1)
            assert reply.endpoint.address.scheme == scheme
            assert watcher.seen == ["tea", "milk", "salt"]

    async def test_notify_and_call_many_reach_the_client_in_order(self, scheme: str) -> None:
        async with watched(scheme) as (_, _, peer, watcher):
            await peer.notify(Watcher.changed, "a")
            assert await peer.call_many(Watcher.changed, [("b",), ("c",)]) == [2, 3]
            assert watcher.seen == ["a", "b", "c"]

    async def test_bind_and_options_work_as_on_a_client(self, scheme: str) -> None:
        async with watched(scheme) as (_, _, peer, _):
            assert await peer.bind(Watcher).changed("tea") == 1
            view = peer.with_options(timeout=2.0, metadata={"tenant": "x"}, compressor="gzip")
            assert 1.0 < (await view.call(Watcher.left) or 0.0) <= 2.0
            assert await view.call(Watcher.swallow, bytes(100_000)) == 100_000
            assert len(await view.call(Watcher.read, 100_000)) == 100_000

    async def test_streams_of_every_kind(self, scheme: str) -> None:
        async with watched(scheme) as (target, client, peer, _):
            for counting in (Watcher.count, Watcher.lines):
                async with peer.stream(counting, 3_000) as numbers:  # type: ignore[call-overload]
                    assert [number async for number in numbers] == list(range(3_000))
            assert await peer.call(Watcher.total, range(3_000)) == sum(range(3_000))
            async with peer.stream(Watcher.scale, range(3_000), 2) as numbers:
                assert [number async for number in numbers] == [2 * number for number in range(3_000)]
            async with peer.open(Watcher.scale, 3) as stream:
                await stream.send(5)
                assert await stream.receive() == 15
                await stream.end()
            await eventually(lambda: not client.stats()["live"]["serving"])
            await eventually(lambda: not target.server.stats()["live"]["calling"])

    async def test_messages_larger_than_a_frame_travel_both_ways(self, scheme: str) -> None:
        async with watched(scheme) as (_, _, peer, _):
            assert await peer.call(Watcher.swallow, bytes(3_000_000)) == 3_000_000
            assert len(await peer.call(Watcher.read, 3_000_000)) == 3_000_000

    async def test_calls_in_both_directions_at_once_all_find_their_answers(self, scheme: str) -> None:
        async with watched(scheme) as (_, client, peer, _):
            down = [peer.call(Watcher.swallow, bytes(size)) for size in range(500)]
            up = [client.call(Hub.echo, str(number)) for number in range(500)]
            answers = await asyncio.gather(*down, *up)
            assert answers == [*range(500), *map(str, range(500))]

    async def test_handlers_of_both_sides_call_each_other(self, scheme: str) -> None:
        async with watched(scheme) as (_, client, peer, _):
            assert await client.call(Hub.descend, 20) == 20
            assert await peer.call(Watcher.descend, 21) == 21
            assert await client.call(Hub.sum_of_caller, 100) == sum(range(100))


class TestErrors:
    async def test_errors_of_the_handler_of_the_client_reach_the_caller(self) -> None:
        async with watched() as (_, _, peer, _):
            with pytest.raises(fastrpc.CallError, match="no tea") as refused:
                await peer.call(Watcher.refuse, "no tea")
            assert (refused.value.status, refused.value.processed) == (fastrpc.Status.NOT_FOUND, "yes")
            with pytest.raises(fastrpc.CallError) as crashed:
                await peer.call(Watcher.crash)
            assert crashed.value.status is fastrpc.Status.INTERNAL
            assert "private" not in str(crashed.value)
            with pytest.raises(fastrpc.CallError, match="no method 'watcher.none'"):
                await peer.call("watcher.none")
            with pytest.raises(TypeError, match=r"client\.stream"):
                await peer.call(Watcher.count, 3)  # type: ignore[misc]

    async def test_a_wrong_argument_is_refused_before_the_handler_runs(self) -> None:
        async with watched() as (_, _, peer, watcher):
            with pytest.raises(fastrpc.CallError) as refused:
                await peer.call("watcher.changed", 3)
            assert refused.value.status is fastrpc.Status.INVALID_ARGUMENT
            assert watcher.seen == []

    @pytest.mark.parametrize(
        "option", [{"fail_mode": "failover"}, {"wait_for_ready": True}, {"hash_key": 1}, {"endpoint": None}]
    )
    async def test_options_without_effect_are_refused(self, option: dict[str, Any]) -> None:
        async with watched() as (_, _, peer, _):
            with pytest.raises(ConfigError, match="has no effect for a PeerClient"):
                peer.with_options(**option)

    async def test_failed_calls_are_not_retried(self) -> None:
        calls: list[str] = []

        async def refuse(call: fastrpc.Call, proceed: fastrpc.Proceed) -> Any:
            if call.side == "server":
                calls.append(call.method)
                raise fastrpc.CallError(fastrpc.Status.UNAVAILABLE, "later", retry_after=0.001)
            return await proceed(call)

        async with watched(interceptors=[refuse]) as (_, _, peer, _):
            with pytest.raises(fastrpc.FastRPCError, match="later"):
                await peer.with_options(idempotent=True).call(Watcher.changed, "tea")
            assert calls == ["watcher.changed"]


class TestWhoServes:
    async def test_the_peer_of_a_plain_client_has_no_client_and_no_id(self) -> None:
        async with served(Hub) as target, Client(target) as client:
            assert await client.call(Hub.serves) is False
            (peer,) = target.server.peers()
            assert (peer.client, peer.id) == (None, None)

    async def test_the_server_is_a_peer_that_serves(self) -> None:
        async with watched() as (_, client, peer, _):
            assert await client.call(Hub.serves) is True
            assert await peer.call(Watcher.side) == "server watcher.side memory"

    def test_a_sync_client_refuses_services(self) -> None:
        with pytest.raises(ConfigError, match="services is given to SyncClient"):
            SyncClient("tcp://127.0.0.1:1", services=[Watcher()])  # type: ignore[call-arg]

    async def test_a_client_with_services_is_entered_before_its_first_call(self) -> None:
        client = Client("memory://nobody", services=[Watcher()])
        with pytest.raises(RuntimeError, match="entered before its first call"):
            await client.call(Hub.echo, "tea")
        await client.close()

    @pytest.mark.parametrize("services", ["watcher", Watcher, 3])
    def test_services_are_a_list(self, services: Any) -> None:
        with pytest.raises(ConfigError, match="it must be a list of services"):
            Client("memory://nobody", services=services)

    async def test_an_invalid_service_is_refused_on_entering(self) -> None:
        with pytest.raises(ConfigError, match="is not a source of services"):
            await Client("memory://nobody", services=[3]).__aenter__()

    async def test_an_empty_list_serves_nothing(self) -> None:
        async with served(Hub) as target, Client(target, services=[]) as client:
            assert await client.call(Hub.serves) is False

    async def test_several_connections_to_an_endpoint_are_refused(self) -> None:
        config = fastrpc.ClientConfig(pool=fastrpc.Pool(connections_per_endpoint=2))
        with pytest.raises(ConfigError, match="keeps one connection to each endpoint"):
            Client("memory://nobody", services=[Watcher()], config=config)
