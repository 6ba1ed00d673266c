"""The embedded registry watched by stream: changes, resuming, older servers, drains, slow readers."""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

import fastrpc
from fastrpc import (
    CallError,
    Client,
    Endpoint,
    Keepalive,
    Limits,
    Server,
    ServerConfig,
    Status,
    SyncClient,
    UnavailableError,
)
from fastrpc.coordination import RegistryServer, RegistryService, latest_result
from fastrpc.coordination.registry import service_lists
from fastrpc.coordination.registry.lookup import ServiceLookup
from fastrpc.coordination.registry.service_lists import ServiceList
from fastrpc.registries import open_registry
from fastrpc.registries.base.record import encode_record
from fastrpc.registries.base.watch import Watch
from tests.support.ports import free_ports
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

#: A record of some 1.5 KiB.
LABELS = {"a": "x" * 500, "b": "y" * 500, "c": "z" * 400}


def record(number: int, labels: dict[str, str] | None = None) -> str:
    return encode_record(
        Endpoint(f"tcp://10.0.{number // 250}.{number % 250 + 1}:8972", labels=labels)
    ).decode()


async def register(client: Client, number: int, *, labels: dict[str, str] | None = None) -> str:
    lease: str = await client.call(RegistryService.register, "arith", record(number, labels), 60.0)
    return lease


@fastrpc.service("fastrpc.registry", version="1")
class OldRegistry:
    """The registry before it had streams."""

    def __init__(self) -> None:
        self._inner = RegistryService()

    async def __aenter__(self) -> "OldRegistry":
        await self._inner.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._inner.__aexit__(*error)

    @fastrpc.method(idempotent=True)
    async def register(self, service: str, record: str, lease_seconds: float) -> str:
        return await self._inner.register(service, record, lease_seconds)

    @fastrpc.method(idempotent=True)
    async def renew(self, lease: str) -> bool:
        return await self._inner.renew(lease)

    @fastrpc.method(idempotent=True)
    async def deregister(self, lease: str) -> bool:
        return await self._inner.deregister(lease)

    @fastrpc.method(idempotent=True)
    async def watch(
        self, service: str, after: str = "", wait_seconds: float = 0.0, page_bytes: int = 0
    ) -> ServiceList:
        return await self._inner.watch(service, after, wait_seconds, page_bytes)

    @fastrpc.method(idempotent=True)
    async def page(self, service: str, cursor: str, start: int, page_bytes: int) -> ServiceList:
        return await self._inner.page(service, cursor, start, page_bytes)


class Asked:
    """An interceptor that counts the calls of each method."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    async def __call__(self, call: Any, proceed: Any) -> Any:
        self.calls[call.method.rpartition(".")[2]] += 1
        return await proceed(call)


@contextlib.asynccontextmanager
async def registry(
    service: Any = RegistryService,
    *,
    port: int = 0,
    asked: Asked | None = None,
    config: ServerConfig | None = None,
) -> AsyncIterator[Server]:
    interceptors = [] if asked is None else [asked]
    async with Server(service, interceptors=interceptors, config=config or ServerConfig()) as server:
        await server.listen(f"tcp://127.0.0.1:{port}")
        yield server


def address_of(server: Server) -> str:
    return str(server._listening.listeners[0].address)


def url_of(server: Server) -> str:
    return address_of(server).replace("tcp", "registry")


async def endpoints(watch: Watch, count: int) -> Sequence[Endpoint]:
    """Wait until a watch has the given number of endpoints."""
    async with asyncio.timeout(20):
        while watch.latest is None or len(watch.latest.endpoints) != count:
            await asyncio.sleep(0.01)
        return watch.latest.endpoints


class TestStream:
    async def test_follower_first_gets_the_unknown_records_and_then_each_change(self) -> None:
        async with RegistryServer("tcp://127.0.0.1:0") as server, Client(server.address) as client:
            async with client.stream(RegistryService.follow, "arith") as lists:
                empty = await lists.receive()
                assert empty.records == []
                lease = await register(client, 1)
                first = await lists.receive()
                assert first.records == [record(1)]
                await client.call(RegistryService.register, "other", record(2), 60.0)
                await client.call(RegistryService.deregister, lease)
                assert (await lists.receive()).records == []

    async def test_continues_from_a_cursor_without_losing_a_change(self) -> None:
        async with RegistryServer("tcp://127.0.0.1:0") as server, Client(server.address) as client:
            async with client.stream(RegistryService.follow, "arith") as lists:
                known = await lists.receive()
            await register(client, 1)
            async with client.stream(RegistryService.follow, "arith", known.cursor) as lists:
                found = await lists.receive()
                assert found.records == [record(1)]
            async with client.stream(RegistryService.follow, "arith", found.cursor) as lists:
                await register(client, 2)
                assert (await lists.receive()).records == [record(1), record(2)]

    async def test_says_that_nothing_changed_when_the_wait_is_over(self) -> None:
        async with RegistryServer("tcp://127.0.0.1:0") as server, Client(server.address) as client:
            await register(client, 1)
            async with client.stream(RegistryService.follow, "arith", "", 0.1) as lists:
                known = await lists.receive()
                assert await lists.receive() == ServiceList(known.cursor, [])
                assert await lists.receive() == ServiceList(known.cursor, [])
                await register(client, 2)
                assert len((await lists.receive()).records) == 2

    @pytest.mark.parametrize("seconds", [0.0, -1.0, 60.1, float("nan"), float("inf")])
    async def test_refuses_a_wait_out_of_range(self, seconds: float) -> None:
        async with RegistryServer("tcp://127.0.0.1:0") as server, Client(server.address) as client:
            with pytest.raises(CallError, match="wait_seconds is") as refused:
                async with client.stream(RegistryService.follow, "arith", "", seconds) as lists:
                    await lists.receive()
            assert refused.value.status is Status.INVALID_ARGUMENT

    async def test_ends_clearly_when_the_registry_drains(self) -> None:
        async with registry() as server, Client(address_of(server)) as client:
            async with client.stream(RegistryService.follow, "arith") as lists:
                await lists.receive()
                drain = asyncio.create_task(server.drain())
                with pytest.raises(UnavailableError, match="drains") as ended:
                    await lists.receive()
            assert (ended.value.processed, ended.value.retryable) == ("yes", True)
            assert await drain is True

    async def test_message_has_the_first_records_of_a_long_list(self) -> None:
        async with RegistryServer("tcp://127.0.0.1:0") as server, Client(server.address) as client:
            for number in range(40):
                await register(client, number, labels=LABELS)
            async with client.stream(RegistryService.follow, "arith", "", 15.0, 1 << 30) as lists:
                first = await lists.receive()
            assert 0 < sum(map(len, first.records)) <= 16 * 1024
            assert first.following == len(first.records)

    async def test_watchers_that_left_are_forgotten(self) -> None:
        service = RegistryService()
        async with registry(service) as server:
            async with Client(address_of(server)) as client:
                streams = [client.stream(RegistryService.follow, f"service-{n % 5}") for n in range(20)]
                for stream in streams:
                    await stream.receive()
                assert {name: len(one) for name, one in service._watchers.by_service.items()} == {
                    f"service-{n}": 4 for n in range(5)
                }
                for stream in streams[::5]:
                    await stream.aclose()
                await eventually(lambda: len(service._watchers.by_service) == 4)
            await eventually(lambda: not service._watchers.by_service)


class TestStreamOfMany:
    async def test_tells_lists_that_are_not_known_then_each_change(self) -> None:
        async with RegistryServer("tcp://127.0.0.1:0") as server, Client(server.address) as client:
            await register(client, 1)
            known = await client.call(RegistryService.watch, "arith")
            services = {"arith": known.cursor, "orders": "", "other": ""}
            async with client.stream(RegistryService.follow_many, services) as lists:
                first = await lists.receive()
                assert {name: one.records for name, one in first.items()} == {"orders": [], "other": []}
                await client.call(RegistryService.register, "unasked", record(2), 60.0)
                await client.call(RegistryService.register, "orders", record(2), 60.0)
                assert {name: one.records for name, one in (await lists.receive()).items()} == {
                    "orders": [record(2)]
                }
                await register(client, 3)
                assert list(await lists.receive()) == ["arith"]

    async def test_says_that_nothing_changed_when_the_wait_is_over(self) -> None:
        async with RegistryServer("tcp://127.0.0.1:0") as server, Client(server.address) as client:
            async with client.stream(RegistryService.follow_many, {"a": "", "b": ""}, 0.1) as lists:
                assert len(await lists.receive()) == 2
                assert await lists.receive() == {}
                assert await lists.receive() == {}

    async def test_a_message_holds_some_lists_and_the_next_messages_the_other_lists(self) -> None:
        async with RegistryServer("tcp://127.0.0.1:0") as server, Client(server.address) as client:
            names = [f"service-{number}" for number in range(30)]
            for name in names:
                await client.call(RegistryService.register, name, record(1, LABELS), 60.0)
            seen: list[str] = []
            async with client.stream(RegistryService.follow_many, dict.fromkeys(names, "")) as lists:
                while len(seen) < len(names):
                    found = await lists.receive()
                    assert sum(len(one.records[0]) for one in found.values()) < 32 * 1024
                    seen += found
            assert sorted(seen) == sorted(names)

    async def test_watchers_that_left_are_forgotten(self) -> None:
        service = RegistryService()
        async with registry(service) as server, Client(address_of(server)) as client:
            async with client.stream(RegistryService.follow_many, {"a": "", "b": ""}) as lists:
                await lists.receive()
                assert {name: len(one) for name, one in service._watchers.by_service.items()} == {
                    "a": 1,
                    "b": 1,
                }
            await eventually(lambda: not service._watchers.by_service)

    async def test_ends_clearly_when_the_registry_drains(self) -> None:
        async with registry() as server, Client(address_of(server)) as client:
            async with client.stream(RegistryService.follow_many, {"a": "", "b": ""}) as lists:
                await lists.receive()
                drain = asyncio.create_task(server.drain())
                with pytest.raises(UnavailableError, match="drains"):
                    await lists.receive()
            assert await drain is True

    async def test_refuses_too_many_services(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("fastrpc.coordination.registry.service.MOST_FOLLOWED", 1)
        async with RegistryServer("tcp://127.0.0.1:0") as server, Client(server.address) as client:
            with pytest.raises(CallError, match="2 services are given, at most 1") as refused:
                async with client.stream(RegistryService.follow_many, {"a": "", "b": ""}) as lists:
                    await lists.receive()
            assert refused.value.status is Status.INVALID_ARGUMENT


class TestManyWatchers:
    async def test_share_one_message_for_each_change(self, monkeypatch: pytest.MonkeyPatch) -> None:
        made = Counter[str]()

        def counted(*arguments: Any) -> int:
            made["pages"] += 1
            return page_of(*arguments)

        page_of = service_lists.page_of
        monkeypatch.setattr(service_lists, "page_of", counted)
        # A busy machine takes more than a second to wake 500 of them.
        monkeypatch.setattr(latest_result, "_KEPT_SECONDS", 60.0)
        asked = Asked()
        async with registry(asked=asked) as server, Client(address_of(server)) as client:
            streams = [client.stream(RegistryService.follow, "arith") for _ in range(500)]
            for stream in streams:
                await stream.receive()
            assert made["pages"] == 1
            before = asked.calls.total()
            await register(client, 1)
            assert [(await stream.receive()).records for stream in streams] == [[record(1)]] * 500
            assert made["pages"] == 2
            # No watcher asks again: the one call is the registration.
            assert asked.calls.total() == before + 1
            for stream in streams:
                await stream.aclose()

    async def test_a_follower_that_does_not_read_holds_at_most_its_window_and_gets_the_latest_list(
        self,
    ) -> None:
        config = ServerConfig(limits=Limits(stream_window_bytes=16_384))
        async with registry(config=config) as server, Client(address_of(server)) as client:
            async with client.stream(RegistryService.follow, "arith") as behind:
                await behind.receive()
                for number in range(200):
                    await register(client, number, labels=LABELS)
                assert server.stats()["buffered"] < 128 * 1024
                got = [await behind.receive()]
                latest = await client.call(RegistryService.watch, "arith")
                while got[-1].cursor != latest.cursor:
                    got += await behind.receive_many()
            # The window is 64 KiB at this client: changes while it was full are in one message.
            assert len(got) < 50
            assert got[-1].records == latest.records[: len(got[-1].records)]


class TestClient:
    async def test_registry_url_is_followed_by_one_stream(self) -> None:
        asked = Asked()
        async with registry(asked=asked) as server, Client(address_of(server)) as client:
            await register(client, 0)
            async with open_registry(url_of(server)) as opened:
                watch = opened.watch("arith")
                await endpoints(watch, 1)
                for number in range(1, 6):
                    await register(client, number)
                    await endpoints(watch, number + 1)
                assert (asked.calls["follow_many"], asked.calls["watch"]) == (1, 0)

    async def test_many_services_are_followed_by_one_connection(self) -> None:
        asked = Asked()
        async with registry(asked=asked) as server, open_registry(url_of(server)) as opened:
            watches = {f"service-{number}": opened.watch(f"service-{number}") for number in range(50)}
            for watch in watches.values():
                await endpoints(watch, 0)
            connections = server.stats()["live"]["connections"]
            async with Client(address_of(server)) as client:
                for number, (name, watch) in enumerate(watches.items()):
                    await client.call(RegistryService.register, name, record(number), 60.0)
                    await endpoints(watch, 1)
                later = opened.watch("later")
                await client.call(RegistryService.register, "later", record(7), 60.0)
                await endpoints(later, 1)
            assert connections == 1
            assert asked.calls["watch"] == 0
            assert all(watch.error is None for watch in watches.values())

    async def test_long_lists_are_read_to_their_end(self) -> None:
        async with registry() as server, Client(address_of(server)) as client:
            await register(client, 0)
            async with open_registry(url_of(server)) as opened:
                watch = opened.watch("arith")
                await endpoints(watch, 1)
                for number in range(1, 60):
                    await register(client, number, labels=LABELS)
                found = await endpoints(watch, 60)
            assert {str(one.address) for one in found} == {
                str(Endpoint(f"tcp://10.0.0.{number + 1}:8972").address) for number in range(60)
            }

    async def test_older_registry_is_queried_and_no_change_is_lost(self) -> None:
        asked = Asked()
        async with registry(OldRegistry, asked=asked) as server, Client(address_of(server)) as client:
            await register(client, 0)
            async with open_registry(url_of(server)) as opened:
                watch = opened.watch("arith")
                for number in range(1, 4):
                    await endpoints(watch, number)
                    await register(client, number)
                await endpoints(watch, 4)
                assert watch.error is None
        assert asked.calls["watch"] >= 4

    async def test_record_in_an_older_registry_changes_without_a_gap(self) -> None:
        async with registry(OldRegistry) as server, open_registry(url_of(server)) as opened:
            before, after = (Endpoint("tcp://10.0.0.1:8972", weight=weight) for weight in (1, 5))
            watch = opened.watch("arith")
            async with opened.register("arith", before) as registration:
                assert list(await endpoints(watch, 1)) == [before]
                await registration.change(after)
                assert registration.is_registered
                while watch.latest.endpoints != (after,):
                    assert len((await anext(watch)).endpoints) == 1
            await endpoints(watch, 0)

    async def test_registry_that_is_replaced_by_a_newer_one_is_followed(self) -> None:
        (port,) = free_ports(1)
        asked = Asked()
        async with contextlib.AsyncExitStack() as stack:
            async with registry(OldRegistry, port=port) as server, Client(address_of(server)) as client:
                await register(client, 0)
                opened: Any = await stack.enter_async_context(open_registry(url_of(server)))
                watch = opened.watch("arith")
                await endpoints(watch, 1)
            async with registry(port=port, asked=asked) as server, Client(address_of(server)) as client:
                await register(client, 0)
                await register(client, 1)
                await endpoints(watch, 2)
                await eventually(lambda: asked.calls["follow"] >= 1)
                await register(client, 2)
                await endpoints(watch, 3)

    async def test_registry_that_restarts_is_followed_again(self) -> None:
        (port,) = free_ports(1)
        async with contextlib.AsyncExitStack() as stack:
            async with registry(port=port) as server, Client(address_of(server)) as client:
                await register(client, 0)
                opened: Any = await stack.enter_async_context(open_registry(url_of(server)))
                watch = opened.watch("arith")
                await endpoints(watch, 1)
            await eventually(lambda: watch.error is not None)
            assert len(watch.latest.endpoints) == 1
            async with registry(port=port) as server, Client(address_of(server)) as client:
                await register(client, 1)
                # The one that is missing since the restart is kept while servers register again.
                await endpoints(watch, 2)
                assert watch.error is None

    async def test_connection_of_limited_age_is_no_outage(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.WARNING, "fastrpc.registry")
        asked = Asked()
        config = ServerConfig(keepalive=Keepalive(max_age=0.2))
        async with registry(asked=asked, config=config) as server, Client(address_of(server)) as client:
            await register(client, 0)
            async with open_registry(url_of(server)) as opened:
                watch = opened.watch("arith")
                await endpoints(watch, 1)
                await eventually(lambda: asked.calls["follow_many"] >= 3)
                await register(client, 1)
                await endpoints(watch, 2)
        assert caplog.records == []

    async def test_closing_interrupts_a_stream_that_waits(self) -> None:
        async with registry() as server, Client(address_of(server)) as client:
            await register(client, 0)
            opened = open_registry(url_of(server))
            watch = opened.watch("arith")
            await endpoints(watch, 1)
            await eventually(lambda: server.stats()["live"]["calls"] == 1)
            async with asyncio.timeout(5):
                await opened.aclose()
            await eventually(lambda: server.stats()["live"]["calls"] == 0)

    async def test_second_look_asks_the_registry_and_the_stream_continues_after_it(self) -> None:
        async with registry() as server, Client(address_of(server)) as client:
            await register(client, 0)
            lookup = ServiceLookup("arith", SyncClient(address_of(server)))

            async def fetch(wait: float) -> list[str]:
                return [key for key, _ in (await asyncio.to_thread(lookup.fetch, wait)).entries]

            assert len(await fetch(0.0)) == 1
            await register(client, 1)
            assert len(await fetch(15.0)) == 2
            await register(client, 2)
            assert len(await fetch(0.0)) == 3
            assert len(await fetch(0.1)) == 3
            await register(client, 3)
            assert len(await fetch(7.5)) == 4
            lookup.close()
