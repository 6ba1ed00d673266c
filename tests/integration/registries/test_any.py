"""`any://`: servers listen in each scope, and calls go to the nearest one."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

import fastrpc
from fastrpc import ConfigError, Endpoint, NoEndpointError, Server
from fastrpc.coordination.registry.server import RegistryServer
from fastrpc.discovery import finding
from fastrpc.discovery.any_registry import AnyRegistry
from fastrpc.discovery.process import process_table
from fastrpc.discovery.scopes import provider_name
from fastrpc.endpoint import copied
from fastrpc.registries import StaticRegistry, open_registry
from fastrpc.registries.host.folder import FOLDER_VARIABLE
from tests.support.arith import Arith
from tests.support.either_client import CLIENTS, Stepped, connected, many_services
from tests.support.feed import Feed
from tests.support.host_folder import host_folder, names_in
from tests.support.waiting import eventually
from tests.support.who import Who

pytestmark = pytest.mark.one_loop


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.delenv("FASTRPC_PROVIDER", raising=False)
    monkeypatch.delenv("FASTRPC_REGISTRY", raising=False)
    # A busy machine does not read the folder within 0.2 seconds.
    monkeypatch.setattr(finding, "ROUND_SECONDS", 1.0)
    with host_folder() as path:
        yield path


@asynccontextmanager
async def serving(name: str, address: str = "any://", **options: Any) -> AsyncIterator[Server]:
    """Serve a name in the scopes of an address."""
    async with Server(Who(name), **options) as server:
        await server.listen(address)
        yield server


def scope_of(reply: Any) -> str:
    return str(reply.endpoint.labels["scope"])


async def answered_by(client: Any, name: str) -> None:
    """Make calls until a server answers them."""
    async with asyncio.timeout(20):
        while await client.call(Who.name_of) != name:
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("kind", CLIENTS)
async def test_calls_go_to_the_nearest_scope_further_out_and_back(kind: str) -> None:
    async with serving("far", "any://?scopes=host"):
        async with connected(kind, "any://who") as client:
            assert scope_of(await client.request(Who.name_of)) == "host"
            for _ in range(2):
                async with serving("near", "any://?scopes=process"):
                    await answered_by(client, "near")
                    assert scope_of(await client.request(Who.name_of)) == "process"
                assert await client.call(Who.name_of) == "far"


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_missing_near_server_holds_no_call_back(kind: str) -> None:
    async with process_table().register("who", Endpoint("memory://not-yet-there")):
        async with serving("far", "any://?scopes=host"), connected(kind, "any://who") as client:
            for _ in range(3):
                assert await client.call(Who.name_of) == "far"
            async with Server(Who("near")) as near:
                await near.listen("memory://not-yet-there")
                await answered_by(client, "near")
            await answered_by(client, "far")


@pytest.mark.parametrize("kind", CLIENTS)
async def test_broadcast_reaches_each_server_of_a_provider_once(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: dict[str, str] = {}
    async with AsyncExitStack() as stack:
        for name in ("edge-1", "edge-2", "core-1"):
            monkeypatch.setenv("FASTRPC_PROVIDER", name)
            await stack.enter_async_context(serving(name))
        monkeypatch.setenv("FASTRPC_PROVIDER", "edge-3")
        await stack.enter_async_context(serving("edge-3", "any://?scopes=host"))
        async with connected(kind, "any://who?provider=edge-*") as client:
            async with asyncio.timeout(20):
                while await reached(client, found) != 3:
                    await asyncio.sleep(0.01)
    assert found == {"edge-1": "process", "edge-2": "process", "edge-3": "host"}


async def reached(client: Any, found: dict[str, str]) -> int:
    found.clear()
    outcomes = await client.broadcast(Who.name_of)
    for endpoint, reply in outcomes.items():
        assert endpoint.labels["provider"] == reply.value
        found[reply.value] = endpoint.labels["scope"]
    assert len(found) == len(outcomes)
    return len(found)


@pytest.mark.parametrize("kind", CLIENTS)
async def test_scopes_narrow_the_called_servers(kind: str) -> None:
    async with serving("one"):
        for scope in ("process", "host"):
            async with connected(kind, f"any://who?scopes={scope}") as client:
                assert scope_of(await client.request(Who.name_of)) == scope


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_client_of_many_services_takes_the_nearest_of_each(kind: str) -> None:
    async with serving("one"), many_services(kind, "any://") as services:
        assert scope_of(await services.request(Who.name_of)) == "process"


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_service_without_servers_has_no_endpoint(kind: str) -> None:
    async with serving("one"):
        client = (
            fastrpc.Client("any://other") if kind == "async" else Stepped(fastrpc.SyncClient("any://other"))
        )
        with pytest.raises(NoEndpointError, match="any://"):
            await client.call("other.call")
        await client.close()


async def test_all_kinds_of_calls_have_equal_results_in_each_scope() -> None:
    results = []
    async with Server(Arith, Feed) as server:
        await server.listen("any://")
        for scope in ("process", "host"):
            async with fastrpc.Client(f"any://arith?scopes={scope}") as client:
                unary = await client.call(Arith.mul, 6, 7)
                with pytest.raises(fastrpc.CallError) as refused:
                    await client.call(Arith.fail, "refuse")
                with pytest.raises(TimeoutError):
                    await client.with_options(timeout=0.05).call(Arith.fail, "wait")
            async with fastrpc.Client(f"any://feed?scopes={scope}") as client:
                streamed = [item async for item in client.stream(Feed.count, 3)]
            results.append((unary, refused.value.status, refused.value.message, streamed))
    assert results[0] == results[1]


async def test_a_server_with_a_registry_lists_its_other_addresses_there() -> None:
    registry = StaticRegistry()
    async with Server(Who("one"), registry=registry) as server:
        await server.listen("any://")
        bound = await server.listen("tcp://127.0.0.1:0")
        with registry.watch("who") as watch:
            (listed,) = watch.latest.endpoints
        assert listed.address == bound
        assert listed.labels["provider"] == provider_name()
        async with fastrpc.Client("who", registry=AnyRegistry(wan=registry)) as client:
            assert scope_of(await client.request(Who.name_of)) == "process"
            # Each server once, with any number of addresses.
            assert len(await client.broadcast(Who.name_of)) == 1


@pytest.mark.parametrize("addresses", [("any://", "tcp://127.0.0.1:0"), ("tcp://127.0.0.1:0", "any://")])
async def test_broadcast_calls_a_server_once_for_any_order_of_its_addresses(
    addresses: tuple[str, ...],
) -> None:
    registry = StaticRegistry()
    async with Server(Who("one"), registry=registry) as server:
        for address in addresses:
            await server.listen(address)
        assert registry.services() == ["who"]
        async with fastrpc.Client("who", registry=AnyRegistry(wan=registry)) as client:
            assert len(await client.broadcast(Who.name_of)) == 1
    assert registry.services() == []


@pytest.mark.parametrize("addresses", [("any://", "tcp://127.0.0.1:0"), ("tcp://127.0.0.1:0", "any://")])
async def test_the_named_registry_lists_the_other_addresses_in_each_order(
    addresses: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with RegistryServer("tcp://127.0.0.1:0") as registry:
        monkeypatch.setenv("FASTRPC_REGISTRY", registry.url)
        async with Server(Who("one")) as server:
            for address in addresses:
                await server.listen(address)
            [found] = await fastrpc.discover("who", registry="any://?scopes=wan", timeout=20)
            assert (found.scope, found.provider) == ("wan", provider_name())


async def test_a_record_names_no_nearer_scope_than_the_scope_of_its_registry() -> None:
    registry = StaticRegistry({"who": [Endpoint("tcp://127.0.0.1:9", labels={"scope": "process"})]})
    scopes = AnyRegistry(wan=registry)
    with scopes.watch("who") as watch:
        await eventually(lambda: watch.latest is not None)
        assert [one.labels["scope"] for one in watch.latest.endpoints] == ["wan"]
    await scopes.aclose()


async def test_a_changed_record_keeps_the_labels_of_its_server_in_each_scope(folder: Path) -> None:
    async with RegistryServer("tcp://127.0.0.1:0") as wan, serving("near", "any://?scopes=host"):
        [socket] = [f"unix://{folder}/{name}" for name in names_in(folder) if name.endswith(".sock")]
        async with AnyRegistry(("process", "host", "wan"), wan=wan.url) as registry:
            for address, scope in (("memory://a", "process"), (socket, "host"), ("tcp://127.0.0.1:1", "wan")):
                await changes_in(registry, Endpoint(address), scope)


async def changes_in(registry: AnyRegistry, endpoint: Endpoint, scope: str) -> None:
    """Change the weight of a record, and see it with all labels of the server."""
    async with registry.register("shop", endpoint) as registration:
        assert registration.is_registered
        before = await found_in(registry, 1)
        await registration.change(copied(endpoint, weight=5))
        after = await found_in(registry, 5)
        assert (after.address, dict(after.labels)) == (before.address, dict(before.labels))
        assert after.labels.keys() == {"provider", "scope", "server"}
        assert after.labels["scope"] == scope


async def found_in(registry: AnyRegistry, weight: int) -> Endpoint:
    """Return the endpoint of `shop` once it has a weight."""
    async with registry.watch("shop") as watch, asyncio.timeout(20):
        async for snapshot in watch:
            if [one.weight for one in snapshot.endpoints] == [weight]:
                return snapshot.endpoints[0]
    raise AssertionError("the watch ended")


async def test_a_server_without_a_registry_keeps_its_other_addresses_to_itself() -> None:
    async with serving("one") as server:
        await server.listen("tcp://127.0.0.1:0")
        assert {one.scope for one in await fastrpc.discover("who")} == {"process", "host"}


async def test_discover_finds_by_patterns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTRPC_PROVIDER", "edge-1")
    async with serving("one"):
        found = await fastrpc.discover("who")
        assert [(one.service, one.provider, one.scope) for one in found] == [
            ("who", "edge-1", "process"),
            ("who", "edge-1", "host"),
        ]
        assert await fastrpc.discover("*", provider="edge-*") == found
        assert await fastrpc.discover("**", provider="core-*") == []
        with pytest.raises(TypeError, match="a pattern of providers is 1, it must be text"):
            await fastrpc.discover("who", provider=1)  # type: ignore[arg-type]
        assert await fastrpc.discover("who.*") == []
        assert [one.scope for one in await fastrpc.discover("who", registry="host://")] == ["host"]
    with pytest.raises(ConfigError, match="service"):
        await fastrpc.discover("shop..orders")


@pytest.mark.parametrize(
    ("provider", "pattern", "is_found"),
    [
        ("edge[1]", "edge[1]", True),
        ("edge[1]", "edge*", True),
        ("edge[1]", "*[*]", True),
        ("edge1", "edge[1]", False),
        ("edge1", "edge?", False),
        ("edge1", "edge.", False),
        ("Edge1", "edge1", False),
    ],
)
async def test_only_a_star_stands_for_other_text_in_a_provider(
    monkeypatch: pytest.MonkeyPatch, provider: str, pattern: str, is_found: bool
) -> None:
    monkeypatch.setenv("FASTRPC_PROVIDER", provider)
    async with serving("one"):
        assert (await fastrpc.discover("who", provider=pattern) != []) == is_found
        with open_registry(f"any://?provider={quote(pattern)}") as registry, registry.watch("who") as watch:
            await eventually(lambda: watch.latest is not None and bool(watch.latest.endpoints) == is_found)


async def test_discover_waits_for_no_registry_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    answering = threading.Event()

    class Silent(StaticRegistry):
        def services(self) -> list[str]:
            answering.wait(20)
            return []

    try:
        async with serving("one"):
            found = await fastrpc.discover("**", registry=AnyRegistry(wan=Silent()))
    finally:
        answering.set()
    assert [one.scope for one in found] == ["process", "host"]


@pytest.mark.parametrize("timeout", [20.0, None])
async def test_discover_waits_for_the_first(timeout: float | None) -> None:
    waiting = asyncio.ensure_future(fastrpc.discover("*", timeout=timeout))
    await asyncio.sleep(0)
    async with serving("one"):
        assert {one.service for one in await waiting} == {"who"}


async def test_a_search_that_is_cancelled_leaves_nothing() -> None:
    waiting = asyncio.ensure_future(fastrpc.discover("who", timeout=None))
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    async with serving("one"):
        assert await fastrpc.discover("who") != []


async def test_many_waiting_clients_see_one_server_at_once() -> None:
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(fastrpc.Client("any://who")) for _ in range(20)]
        waiting = [asyncio.ensure_future(client.ready(timeout=20)) for client in clients]
        await asyncio.sleep(0.01)
        async with serving("one"):
            await asyncio.gather(*waiting)


def test_the_provider_defaults_to_an_id_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(provider_name()) == 12
    int(provider_name(), 16)
    monkeypatch.setenv("FASTRPC_PROVIDER", "edge-7")
    assert provider_name() == "edge-7"
    monkeypatch.setenv("FASTRPC_PROVIDER", "two\nlines")
    with pytest.raises(ConfigError, match="FASTRPC_PROVIDER"):
        provider_name()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("any://place", "no place"),
        ("any://?scopes=moon", "process, host"),
        ("any://?scopes=", "process, host"),
        ("any://?scopes=wan", "FASTRPC_REGISTRY"),
        ("any://?ttl=3", "no option"),
    ],
)
def test_a_url_that_cannot_work_is_refused(url: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        open_registry(url)
    assert said in str(refused.value)


async def test_a_server_gives_any_no_further_address() -> None:
    async with Server(Who("one")) as server:
        with pytest.raises(ConfigError, match="advertise"):
            await server.listen("any://", advertise="tcp://10.0.0.1:80")


async def test_a_socket_outside_the_host_folder_is_not_listed(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "fastrpc.registry")
    async with serving("one") as server:
        for path in (folder / "own.sock", folder.parent / "0123456789abcdef.sock"):
            await server.listen(f"unix://{path}")
            async with fastrpc.Client(f"unix://{path}") as client:
                assert await client.call(Who.name_of) == "one"
            assert f"who: unix://{path} is not listed" in caplog.text
        assert {one.scope for one in await fastrpc.discover("who")} == {"process", "host"}
        assert len([name for name in names_in(folder) if name.endswith(".json")]) == 1


async def test_the_path_of_the_host_folder_may_end_with_a_slash(folder: Path) -> None:
    # Undone before the fixture removes the variable.
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv(FOLDER_VARIABLE, f"{folder}/")
        async with serving("one", "any://?scopes=host"):
            assert [one.scope for one in await fastrpc.discover("who")] == ["host"]


@pytest.mark.parametrize("registry", [None, "any://", AnyRegistry, "any://?scopes=process,host"])
@pytest.mark.parametrize("scope", ["process", "host"])
async def test_the_address_of_a_server_decides_its_scopes_with_any_registry(
    registry: Any, scope: str
) -> None:
    opened = registry() if isinstance(registry, type) else registry
    async with serving("one", f"any://?scopes={scope}", registry=opened):
        assert {one.scope for one in await fastrpc.discover("who")} == {scope}


async def test_a_narrow_address_keeps_the_registry_beyond_the_host() -> None:
    registry = StaticRegistry()
    async with serving("one", "any://?scopes=process,host", registry=AnyRegistry(wan=registry)) as server:
        await server.listen("tcp://127.0.0.1:0")
        assert registry.services() == []
    async with serving("one", registry=AnyRegistry(("process",), wan=registry)) as server:
        await server.listen("tcp://127.0.0.1:0")
        assert {one.scope for one in await fastrpc.discover("who")} == {"process", "host"}


async def test_a_server_listens_at_one_choice_of_scopes() -> None:
    async with serving("one", "any://?scopes=process") as server:
        with pytest.raises(ConfigError, match="scopes=host") as refused:
            await server.listen("any://?scopes=host")
        assert "one address any://" in (refused.value.hint or "")
        assert {one.scope for one in await fastrpc.discover("who")} == {"process"}
    with pytest.raises(ConfigError, match="scopes=host"):
        fastrpc.serve(Who("one"), address=["any://?scopes=host", "any://"])


async def test_a_server_chooses_no_providers() -> None:
    async with Server(Who("one")) as server:
        with pytest.raises(ConfigError, match="provider=edge") as refused:
            await server.listen("any://?provider=edge-*")
    assert "FASTRPC_PROVIDER" in (refused.value.hint or "")


@pytest.mark.parametrize("option", ["reuse_port", "allow_plain"])
async def test_a_server_refuses_options_that_have_no_effect_at_any(option: str) -> None:
    async with Server(Who("one")) as server:
        with pytest.raises(ConfigError, match=option):
            await server.listen("any://", **{option: True})


async def test_a_server_that_drains_leaves_no_file(folder: Path) -> None:
    async with serving("one"):
        assert len(names_in(folder)) == 2
    assert names_in(folder) == []
    assert process_table().services() == []


async def test_a_removed_service_is_no_longer_listed(folder: Path) -> None:
    async with serving("one") as server:
        await server.remove("who")
        assert await fastrpc.discover("who") == []
        server.add(Who("two"))
        assert await fastrpc.discover("who", timeout=20) != []


@pytest.mark.measures
async def test_a_server_on_the_host_is_found_within_700_milliseconds() -> None:
    async with fastrpc.Client("any://who?scopes=host") as client:
        ready = asyncio.ensure_future(client.ready(timeout=20))
        async with serving("one"):
            began = time.perf_counter()
            await ready
            assert time.perf_counter() - began <= 0.7
