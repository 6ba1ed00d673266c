"""A store that many processes use: the contract over the network, drains, restarts, rights."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import CallError, Client, CompactedError, ConfigError, Server, Status, StoreError
from fastrpc.auth import Identity, Policy, StaticTokens
from fastrpc.coordination import Put, RegistryServer, StoreServer, StoreService, absent, open_store
from fastrpc.coordination.remote import service
from fastrpc.coordination.remote.client import open_remote
from fastrpc.coordination.remote.service import store_config
from fastrpc.registries.base.urls import RegistryURL
from fastrpc.rpc.service import service_definition
from fastrpc.stores.base import StoreBackend, Write
from fastrpc.stores.local import LocalStore, history
from fastrpc.testing import FakeClock
from fastrpc.testing.store_contract import StoreContract
from tests.support.program import run_program
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

TOKENS = StaticTokens(
    {
        "token-of-shop": Identity("shop"),
        "token-of-ann": Identity("ann"),
        "token-of-eve": Identity("eve"),
        "token-of-root": Identity("root"),
    }
)
RULES: list[dict[str, Any]] = [
    {"who": ["shop"], "write_keys": ["shop/**", "locks/shop/**"]},
    {"who": ["ann"], "read_keys": ["shop/**"], "write_keys": ["ann/**"]},
    {"who": ["root"], "read_keys": ["**"]},
    {"who": ["eve"], "allow": ["fastrpc.health.check"]},
]

#: The arguments of each method for the key shop/k, or a lease of it.
METHODS: dict[str, tuple[Any, ...]] = {
    "get": ("shop/k",),
    "list": ("shop/",),
    "changes": ("shop/", 0),
    "watch": ("shop/k",),
    "put": ("shop/k", b"2"),
    "delete": ("shop/k",),
    "transact": ([{"key": "shop/k", "revision": 1}], [], ["shop/k"]),
    "lease": (10.0,),
    "renew": ("LEASE",),
    "revoke": ("LEASE",),
    "backup": (),
}
READS = {"get", "list", "changes", "watch"}


class TestContract(StoreContract):
    """A store on another machine keeps the contract."""

    @pytest.fixture(params=["memory", "sqlite"])
    async def store(self, request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StoreBackend]:
        self.clock = FakeClock()
        folder = tmp_path / "store" if request.param == "sqlite" else None
        self.service = StoreService(folder, clock=self.clock)
        async with Server(self.service, config=store_config(None)) as server:
            address = await server.listen("tcp://127.0.0.1:0")
            async with open_remote(RegistryURL(f"store://{address.host}:{address.port}")) as store:
                yield store

    async def pass_time(self, store: StoreBackend, seconds: float) -> None:
        self.clock.advance(seconds)
        self.service._store.content.expire()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[StoreServer]:
    async with StoreServer("tcp://127.0.0.1:0", data_dir=tmp_path / "kept") as server:
        yield server


async def test_watch_survives_a_restart_of_the_store(tmp_path: Path) -> None:
    async with StoreServer("tcp://127.0.0.1:0", data_dir=tmp_path / "store") as server:
        address = server.address
        store = await open_store(server.url).__aenter__()
        changes = await store.watch("a/", int).__aenter__()
        await store.put("a/1", 1)
        assert (await anext(changes)).revision == 1
        waiting = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(0)
    reading = asyncio.ensure_future(store.get("a/1", int))
    async with StoreServer(address, data_dir=tmp_path / "store"):
        item = await reading
        assert item is not None
        assert await store.put("a/2", 2) == 2
        assert (await waiting).key == "a/2"
        await changes.__aexit__(None, None, None)
        await store.__aexit__(None, None, None)


async def test_store_in_memory_gives_no_revision_twice() -> None:
    async with StoreServer("tcp://127.0.0.1:0") as server:
        async with open_store(server.url) as store:
            latest = await store.put("k", b"")
        address = server.address
    async with StoreServer(address) as server, open_store(server.url) as store:
        assert await store.put("k", b"") > latest
        with pytest.raises(CompactedError):
            async with store.watch("k", after=latest) as changes:
                await anext(changes)


async def test_unreachable_store_is_reported_at_the_deadline(server: StoreServer) -> None:
    async with open_store(server.url) as store:
        await store.put("k", b"")
        await server.close()
        for attempt in (store.get("k"), store.put("k", b"")):
            with fastrpc.timeout(0.3), pytest.raises(StoreError, match="did not end within") as caught:
                await attempt
            assert caught.value.status is Status.DEADLINE_EXCEEDED
            assert caught.value.hint == "is it running? `fastrpc store` serves one"


async def test_silent_store_is_reported_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(*_given: object, **_named: object) -> None:
        await asyncio.Event().wait()

    async with StoreServer("tcp://127.0.0.1:0") as server, open_store(server.url) as store:
        assert await store.get("k") is None
        monkeypatch.setattr(LocalStore, "get", silent)
        monkeypatch.setattr(LocalStore, "put", silent)
        for verb, processed in (("get", "no"), ("put", "unknown")):
            # The time that is left when the verb begins: a little less than two seconds.
            text = f"^{verb} of 'k' did not end within [12][.0-9]* s: "
            with fastrpc.timeout(2.0), pytest.raises(StoreError, match=text) as caught:
                await (store.get("k") if verb == "get" else store.put("k", b""))
            assert (caught.value.status, caught.value.processed) == (Status.DEADLINE_EXCEEDED, processed)
        monkeypatch.undo()
        assert await store.get("k") is None


async def test_errors_of_the_store_come_through(server: StoreServer) -> None:
    backend = open_remote(RegistryURL(server.url))
    async with backend:
        with pytest.raises(StoreError, match="there is no lease") as caught:
            await backend.put("k", b"", lease="none")
        assert (caught.value.status, caught.value.processed) == (Status.NOT_FOUND, "no")
        with pytest.raises(CompactedError, match="not after 7") as compacted:
            await anext(backend.watch("k", after=7))
        assert compacted.value.oldest == 0


async def test_plain_calls_wait_for_changes(server: StoreServer) -> None:
    async with Client(server.address) as client:
        empty = await client.call(StoreService.changes, "a/", 0, 0.0)
        assert (empty.changes, empty.revision) == ([], 0)
        waiting = asyncio.ensure_future(client.call(StoreService.changes, "a/", 0, 60.0))
        await client.call(StoreService.put, "a/k", b"1")
        found = await waiting
        assert [(change.key, change.revision) for change in found.changes] == [("a/k", 1)]
        with pytest.raises(CallError, match="the key 'a/' has a word") as refused:
            await client.call(StoreService.changes, "a//", 0, 0.0)
        assert refused.value.status is Status.INVALID_ARGUMENT


async def test_quiet_watch_outlasts_the_history(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "_CHANGES", 10)
    monkeypatch.setattr(service, "ALIVE_SECONDS", 0.0)
    hosted = StoreService()
    async with Server(hosted, config=store_config(None)) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        async with (
            asyncio.timeout(5),
            Client(address) as client,
            client.stream(StoreService.watch, "quiet/") as batches,
        ):
            before = await anext(aiter(batches))
            for _ in range(5):
                for _ in range(10):
                    await hosted._store.put("busy/k", b"")
                async for batch in batches:
                    if batch.revision == hosted._store.revision:
                        break
            empty = await client.call(StoreService.changes, "quiet/", batch.revision, 0.0)
            await client.call(StoreService.put, "quiet/k", b"")
            async for batch in batches:
                if batch.changes:
                    break
        assert empty.revision == before.revision + 50
        assert [change.revision for change in batch.changes] == [before.revision + 51]


async def test_quiet_watch_continues_after_a_restart_although_the_history_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "_CHANGES", 10)
    monkeypatch.setattr(service, "ALIVE_SECONDS", 0.0)
    async with StoreServer("tcp://127.0.0.1:0", data_dir=tmp_path / "store") as server:
        address = server.address
        store = await open_store(server.url).__aenter__()
        changes = await store.watch("quiet/", int).__aenter__()
        waiting = asyncio.ensure_future(anext(changes))
        for _ in range(30):
            latest = await store.put("busy/k", b"")
        watch = changes._changes
        assert watch is not None
        await eventually(lambda: getattr(watch._source, "reached", 0) == latest)
    async with StoreServer(address, data_dir=tmp_path / "store"):
        assert await store.put("quiet/k", 1) == latest + 1
        assert (await waiting).revision == latest + 1
        await changes.__aexit__(None, None, None)
        await store.__aexit__(None, None, None)


async def test_slow_watcher_gets_whole_transactions() -> None:
    async with LocalStore() as store:
        for _ in range(3):
            await store.transact([], [Write(f"k/{number}", b"x" * 100_000) for number in range(20)])
        found, reached = await store.next_changes("k/", 0)
        assert (len(found), reached) == (20, 1)


async def test_a_change_just_after_the_end_of_a_wait_is_not_lost() -> None:
    async with LocalStore() as store:
        end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = asyncio.ensure_future(store.next_changes("k/", 0, end=end))
        await asyncio.sleep(0)
        end.set_result(None)
        # It begins after the end of the wait, and before the waiting task continues.
        put = asyncio.ensure_future(store.put("k/1", b"x"))
        found, reached = await waiting
        await put
        if not found:
            found, reached = await store.next_changes("k/", reached, seconds=1.0)
        assert ([change.key for change in found], reached) == (["k/1"], 1)


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[StoreServer]:
    kept, policy = tmp_path / "guarded", Policy(RULES)
    async with StoreServer("tcp://127.0.0.1:0", data_dir=kept, authenticate=TOKENS, policy=policy) as server:
        yield server


async def call(server: StoreServer, token: str | None, method: str, *arguments: Any) -> Any:
    async with Client(server.address, credentials=token) as client:
        if method in {"watch", "backup"}:
            async with client.stream(f"fastrpc.store.{method}", *arguments) as messages:
                return await anext(aiter(messages))
        return await client.call(f"fastrpc.store.{method}", *arguments)


@pytest.mark.parametrize("method", ["put", "transact"])
async def test_no_item_is_added_to_the_lease_of_another(guarded: StoreServer, method: str) -> None:
    # Its holder could not renew it any more, which takes the right to write all of its keys.
    lease = await call(guarded, "token-of-shop", "lease", 10.0)
    await call(guarded, "token-of-shop", "put", "shop/k", b"1", None, lease)
    added: dict[str, tuple[Any, ...]] = {
        "put": ("ann/k", b"1", None, lease),
        "transact": ([], [{"key": "ann/k", "value": b"1", "lease": lease}], []),
    }
    with pytest.raises(CallError, match="ann may not write 'shop/k'") as refused:
        await call(guarded, "token-of-ann", method, *added[method])
    assert refused.value.status is Status.PERMISSION_DENIED
    assert await call(guarded, "token-of-shop", "renew", lease)


def test_every_method_of_the_store_is_among_those_that_are_tried() -> None:
    assert set(service_definition(StoreService).methods) == set(METHODS)


@pytest.mark.parametrize("method", METHODS)
async def test_without_the_right_a_method_is_refused(guarded: StoreServer, method: str) -> None:
    lease = await call(guarded, "token-of-shop", "lease", 10.0)
    await call(guarded, "token-of-shop", "put", "shop/k", b"1", None, lease)
    arguments = [lease if one == "LEASE" else one for one in METHODS[method]]
    with pytest.raises(fastrpc.FastRPCError) as refused:
        await call(guarded, None, method, *arguments)
    assert (refused.value.status, refused.value.processed) == (Status.UNAUTHENTICATED, "no")
    tokens = ["token-of-eve"] if method in READS | {"lease"} else ["token-of-eve", "token-of-ann"]
    for token in tokens:
        with pytest.raises(CallError, match=f"{token[9:]} may ") as refused:
            await call(guarded, token, method, *arguments)
        assert refused.value.status is Status.PERMISSION_DENIED
    allowed = (
        "token-of-root" if method == "backup" else "token-of-ann" if method in READS else "token-of-shop"
    )
    await call(guarded, allowed, method, *arguments)


@pytest.mark.parametrize("prefix", ["", "shop/../", "locks/", "locks/shop/../", "shop//", "sho/", "%2e/"])
async def test_right_to_a_prefix_reaches_no_other_key(guarded: StoreServer, prefix: str) -> None:
    for method, arguments in (("list", (prefix,)), ("watch", (prefix, 0)), ("changes", (prefix, 0))):
        with pytest.raises(CallError) as refused:
            await call(guarded, "token-of-shop", method, *arguments)
        assert refused.value.status in {Status.PERMISSION_DENIED, Status.INVALID_ARGUMENT}


async def test_right_to_a_folder_serves_its_users(guarded: StoreServer) -> None:
    async with open_store(guarded.url, credentials="token-of-shop") as store:
        async with store.watch("shop/k", int) as changes, store.mirror("shop/", int) as mirror:
            await store.put("shop/k", 1)
            assert (await anext(changes)).revision == 1
            assert mirror.error is None
        assert (await store.transact([absent("shop/a")], [Put("locks/shop/1", b"")])).succeeded
        with pytest.raises(StoreError, match="shop may not write 'bank/k'") as refused:
            await store.transact([], [Put("shop/a", b""), Put("bank/k", b"")])
        assert (refused.value.processed, refused.value.retryable) == ("no", False)


async def test_policy_needs_identities() -> None:
    with pytest.raises(ConfigError, match="policy is given without authenticate"):
        StoreServer("tcp://127.0.0.1:0", policy=Policy(RULES))
    anonymous = Policy([{"who": ["anonymous"], "read_keys": ["**"]}])
    with pytest.raises(ConfigError, match="a right at the store"):
        StoreServer("tcp://127.0.0.1:0", authenticate=TOKENS, policy=anonymous)


@pytest.mark.parametrize("kind", [StoreServer, RegistryServer])
@pytest.mark.parametrize("form", ["unix://{}", "memory://{}", "fd://{}"])
async def test_address_that_the_url_for_clients_cannot_name_is_refused(
    tmp_path: Path, kind: Callable[[str], Any], form: str
) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "bound"))
        place = bound.fileno() if form.startswith("fd:") else tmp_path / "free"
        with pytest.raises(ConfigError, match="is neither TCP nor TLS"):
            kind(form.format(place))
        assert bound.getsockname() == str(tmp_path / "bound")
    assert not (tmp_path / "free").exists()


@pytest.mark.parametrize("name", ["store", "registry"])
async def test_socket_of_tcp_that_was_passed_on_has_a_url(name: str) -> None:
    kind: Callable[[str], Any] = StoreServer if name == "store" else RegistryServer
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port, descriptor = bound.getsockname()[1], os.dup(bound.fileno())
    async with kind(f"fd://{descriptor}") as server:
        assert server.url == f"{name}://127.0.0.1:{port}"
    os.close(descriptor)


@pytest.mark.parametrize("name", ["store", "registry"])
def test_command_at_an_address_that_its_url_cannot_name_is_a_matter_of_usage(
    tmp_path: Path, name: str
) -> None:
    arguments = ["-m", "fastrpc", name, "-a", "tcp://127.0.0.1:0", "-a", "unix://free"]
    ended = run_program(arguments, tmp_path)
    assert (ended.code, ended.output) == (2, "")
    assert "unix://free is neither TCP nor TLS" in ended.errors


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("store://", "not host and port"),
        ("store://127.0.0.1", "not host and port"),
        ("store://127.0.0.1:1/shop", "more than a store"),
        ("store://127.0.0.1:1,127.0.0.1:2", "names several stores"),
        ("store://127.0.0.1:1?ttl=3", "has no option ttl"),
        ("store://10.0.0.1:1?token=secret", "its token would travel in the clear"),
    ],
)
def test_wrong_url_is_refused(url: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text) as refused:
        open_store(url)
    assert "secret" not in str(refused.value)
