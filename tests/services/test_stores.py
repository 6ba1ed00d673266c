"""The stores in etcd and Consul: the promises of every store, and effects that only these have."""

import asyncio
import base64
import itertools
import signal
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from fastrpc import ConfigError, Status, StoreError
from fastrpc.errors import CompactedError
from fastrpc.registries.base.urls import RegistryURL
from fastrpc.stores import etcd as etcd_module
from fastrpc.stores.base import Deletion, ItemChange, StoreBackend, Unchanged, Write
from fastrpc.stores.consul import open_consul_store
from fastrpc.stores.consul.keys import ConsulKeys
from fastrpc.stores.etcd import open_etcd_store
from fastrpc.testing.store_contract import StoreContract
from tests.support.cluster import in_thread
from tests.support.registry_servers import ConsulAgent, EtcdServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

_numbers = itertools.count(1)

LEAST_LEASE = {"etcd": 2.0, "consul": 10.0}


def opened(url: str) -> Any:
    found = RegistryURL(url)
    return open_consul_store(found) if found.scheme == "consul" else open_etcd_store(found)


@pytest.fixture(params=["etcd", "consul"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(kind: str, request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(kind)


@pytest.fixture
async def store(server: Any) -> AsyncIterator[StoreBackend]:
    async with opened(f"{server.url}?base=stores/{next(_numbers)}") as store:
        yield store


class TestEtcd(StoreContract):
    """The contract of stores, on etcd."""

    @pytest.fixture
    def kind(self) -> str:
        return "etcd"


class TestConsul(StoreContract):
    """The contract of stores, on Consul."""

    @pytest.fixture
    def kind(self) -> str:
        return "consul"

    async def test_watch_yields_the_changes_after_a_revision(self, store: StoreBackend) -> None:
        """The changes after the latest one that this store has listed: Consul has no history."""
        await store.put("a/1", b"1")
        first = (await store.list("a/")).revision
        await store.put("a/1", b"2")
        await store.put("a/2", b"2")
        await store.delete("a/1")
        changes = store.watch("a/", after=first)
        assert await taken(changes, 2) == [("a/2", b"2"), ("a/1", None)]
        await changes.aclose()

    @pytest.mark.conformance
    async def test_items_end_with_their_lease(self, store: StoreBackend) -> None:
        """It takes half a minute with the shortest lease of Consul, so `make soak` runs it."""
        await super().test_items_end_with_their_lease(store)


async def keys(store: StoreBackend, prefix: str = "", **options: Any) -> list[str]:
    return [item.key for item in (await store.list(prefix, **options)).items]


async def taken(changes: AsyncGenerator[ItemChange, None], count: int) -> list[tuple[str, bytes | None]]:
    """Return the next changes of a watch."""
    async with asyncio.timeout(10):
        found = [await anext(changes) for _ in range(count)]
    assert [change.revision for change in found] == sorted(change.revision for change in found)
    return [(change.key, change.item and change.item.value) for change in found]


async def test_list_of_many_long_values_is_one_moment(store: StoreBackend) -> None:
    for number in range(45):
        await store.put(f"k/{number:02}", b"x" * 256 * 1024 if number < 35 else b"")
    page = await store.list("k/")
    assert [len(item.value) for item in page.items] == [256 * 1024] * 35 + [0] * 10
    assert not page.is_cut


async def test_transaction_with_conditions_has_64_steps(store: StoreBackend) -> None:
    absent = [Unchanged(f"a/{number}", 0) for number in range(32)]
    writes = [Write(f"a/{number}", b"") for number in range(32)]
    assert (await store.transact(absent, writes)).succeeded
    assert not (await store.transact(absent, writes)).succeeded


async def test_failed_transaction_shows_one_moment(store: StoreBackend) -> None:
    over = asyncio.Event()

    async def change() -> None:
        # Both keys exist with one value, or neither exists.
        for number in itertools.count():
            if over.is_set():
                return
            await store.transact([], [Write(key, b"%d" % number) for key in "ab"])
            await store.transact([], [Deletion(key) for key in "ab"])

    changing = asyncio.ensure_future(change())
    when = [Unchanged(key, 1) for key in ("a", "none", "b")]
    for _ in range(100):
        a, none, b = (item and item.value for item in (await store.transact(when, [])).items)
        assert (a, none) == (b, None)
    over.set()
    await changing


async def test_failed_transaction_of_absent_keys_tells_where_a_watch_begins(store: StoreBackend) -> None:
    await store.put("other", b"")
    outcome = await store.transact([Unchanged("a", 1), Unchanged("b", 1)], [Write("a", b"")])
    assert (outcome.succeeded, outcome.items) == (False, (None, None))
    changes = store.watch("a", after=outcome.revision)
    await store.put("a", b"1")
    assert await taken(changes, 1) == [("a", b"1")]
    await changes.aclose()


async def test_key_has_any_printable_characters(store: StoreBackend) -> None:
    await store.put("ü/%2e/a b?c#d", b"\0\xff")
    assert (await store.list("ü/")).items[0].value == b"\0\xff"


async def test_watch_begins_with_its_call(store: StoreBackend) -> None:
    changes = store.watch("k")
    revision = await store.put("k", b"1")
    assert (await anext(changes)).revision == revision
    await changes.aclose()


async def test_watch_shows_the_changes_of_a_prefix(store: StoreBackend) -> None:
    await store.put("a/1", b"1")
    page = await store.list("a/")
    await store.transact([], [Write("a/1", b"2"), Write("a/2", b"2"), Write("ab", b"2")])
    changes = store.watch("a/", after=page.revision)
    assert await taken(changes, 2) == [("a/1", b"2"), ("a/2", b"2")]
    await store.put("b", b"")
    await store.delete("a/1")
    assert await taken(changes, 1) == [("a/1", None)]
    await changes.aclose()


async def test_cancelled_watch_continues_after_its_last_change(store: StoreBackend) -> None:
    await store.put("a/0", b"")
    page = await store.list("a/")
    changes = store.watch("a/", after=page.revision)
    revision = await store.put("a/1", b"1")
    assert await taken(changes, 1) == [("a/1", b"1")]
    waiting = asyncio.ensure_future(anext(changes))
    await store.get("a/1")
    waiting.cancel()
    await asyncio.wait([waiting])
    await store.delete("a/0")
    await store.put("a/2", b"2")
    changes = store.watch("a/", after=revision - 1)
    assert sorted(await taken(changes, 3)) == [("a/0", None), ("a/1", b"1"), ("a/2", b"2")]
    await changes.aclose()


async def test_watch_of_a_key_tells_a_deletion_before_it(store: StoreBackend) -> None:
    revision = await store.put("k", b"1")
    await store.delete("k")
    changes = store.watch("k", after=revision)
    assert await taken(changes, 1) == [("k", None)]
    await changes.aclose()


async def test_item_leaves_its_lease_with_the_next_write(store: StoreBackend, kind: str) -> None:
    lease = await store.lease(LEAST_LEASE[kind])
    await store.put("a", b"1", lease=lease)
    item = await store.get("a")
    assert item is not None
    assert item.lease == lease
    # An item leaves a lease with its next write, and goes from one to another.
    await store.put("permanent", b"1", lease=lease)
    await store.put("permanent", b"2")
    other = await store.lease(LEAST_LEASE[kind])
    await store.put("other", b"1", lease=lease)
    await store.put("other", b"2", lease=other)
    assert await store.renew(lease)
    assert await store.revoke(lease)
    assert [(item.key, item.lease) for item in (await store.list()).items] == [
        ("other", other),
        ("permanent", None),
    ]
    assert not await store.revoke(lease)
    assert not await store.renew(lease)
    for name in (lease, "nonsense/../x"):
        with pytest.raises(StoreError, match="there is no lease") as caught:
            await store.put("c", b"", lease=name)
        assert (caught.value.status, caught.value.processed) == (Status.NOT_FOUND, "no")
    await store.revoke(other)
    assert await keys(store) == ["permanent"]
    # The key is free at once.
    lease = await store.lease(LEAST_LEASE[kind])
    await store.put("a", b"1", lease=lease, expect=0)
    await store.revoke(lease)


@pytest.mark.parametrize(
    ("kind", "seconds", "message"),
    [
        ("etcd", 1.0, "it must be from 2 s"),
        ("etcd", 2.5, "whole seconds"),
        ("consul", 9.0, "it must be from 10 s to 86400 s"),
        ("consul", 86_401.0, "it must be from 10 s to 86400 s"),
    ],
)
async def test_lease_that_the_store_does_not_keep_is_refused(
    store: StoreBackend, seconds: float, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        await store.lease(seconds)


async def test_closed_store_ends_its_watches(server: Any) -> None:
    async with opened(server.url) as store:
        waiting = asyncio.ensure_future(anext(store.watch("nothing")))
        await store.get("nothing")
    with pytest.raises(StoreError, match="the store is closed"):
        await waiting
    with pytest.raises(StoreError, match="the store is closed"):
        await store.put("k", b"")


def write_consul(agent: ConsulAgent, operation: dict[str, Any]) -> None:
    # Not by its path, which an agent cleans.
    agent.ask("/v1/txn", method="PUT", data=[{"KV": operation}])


async def test_key_of_another_program_is_left_out(server: Any, kind: str) -> None:
    base = f"foreign/{next(_numbers)}"
    async with opened(f"{server.url}?base={base}") as store:
        changes = store.watch("", after=(await store.list()).revision)
        for key in (f"{base}/a//b", f"{base}/dir/", f"{base}/plain"):
            if kind == "etcd":
                await in_thread(server.ask, "kv/put", {"key": key, "value": "theirs"})
            else:
                operation = {"Verb": "set", "Key": key, "Value": "dGhlaXJz"}
                await in_thread(write_consul, server, operation)
        assert await keys(store) == ["plain"]
        assert await taken(changes, 1) == [("plain", b"theirs")]
        await changes.aclose()


async def test_unreachable_store_reports_the_outcome_of_a_write(
    kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = request.getfixturevalue(f"own_{kind}")
    async with opened(server.url) as store:
        await store.put("k", b"1")
        # A write to Consul begins with a read, which does nothing.
        monkeypatch.setattr(ConsulKeys, "_present", lambda *_: {"k": None})
        server.signal(signal.SIGSTOP)
        with pytest.raises(StoreError) as caught:
            await store.put("k", b"2")
        assert (caught.value.processed, caught.value.retryable) == ("unknown", True)
        await in_thread(server.kill)
        with pytest.raises(StoreError) as caught:
            await store.put("k", b"2")
        assert (caught.value.processed, caught.value.retryable) == ("no", True)
    monkeypatch.undo()
    async with opened(server.url) as store:
        with pytest.raises(StoreError):
            await store.get("k")
        await in_thread(server.start)
        await store.put("k", b"3")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("etcd://10.0.0.1?user=a&password=b", "its password would travel in the clear"),
        ("etcd://127.0.0.1?base=a//b", "a word that is empty"),
        ("etcd://127.0.0.1?ttl=3", "has no option ttl"),
        ("consul://10.0.0.1?token=a", "its token would travel in the clear"),
        ("consul://127.0.0.1?layout=rpcx", "has no option layout"),
        ("consul://127.0.0.1,127.0.0.2", "names 2 agents"),
    ],
)
def test_option_that_cannot_work_is_refused(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        opened(url)


async def test_consul_refuses_a_watch_after_changes_it_no_longer_shows(consul: ConsulAgent) -> None:
    async with opened(f"{consul.url}?base=stores/{next(_numbers)}") as store:
        revision = await store.put("a/1", b"1")
        latest = await store.put("a/2", b"1")
        with pytest.raises(CompactedError) as caught:
            await anext(store.watch("a/", after=revision))
        assert caught.value.oldest == latest


async def test_consul_deletes_keys_that_others_change_meanwhile(
    consul: ConsulAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = f"stores/{next(_numbers)}"
    present = ConsulKeys._present

    def change_after_a_read(verb: str) -> None:
        def changed(*arguments: Any) -> Any:
            found = present(*arguments)
            monkeypatch.undo()
            write_consul(consul, {"Verb": verb, "Key": f"{base}/k", "Value": ""})
            return found

        monkeypatch.setattr(ConsulKeys, "_present", changed)

    async with opened(f"{consul.url}?base={base}") as store:
        await store.put("k", b"1")
        change_after_a_read("delete")
        assert not await store.delete("k")
        change_after_a_read("set")
        assert (await store.transact([], [Write("a", b""), Deletion("k")])).succeeded
        assert await keys(store) == ["a"]


async def test_etcd_watch_refuses_compacted_and_future_revisions(own_etcd: EtcdServer) -> None:
    async with opened(own_etcd.url) as store:
        for number in range(5):
            revision = await store.put("a/1", b"%d" % number)
        await in_thread(own_etcd.ask, "kv/compaction", {"revision": revision - 1})
        with pytest.raises(CompactedError) as caught:
            await anext(store.watch("a/", after=revision - 4))
        assert caught.value.oldest == revision - 1
        changes = store.watch("a/", after=caught.value.oldest)
        assert await taken(changes, 1) == [("a/1", b"4")]
        await changes.aclose()
        with pytest.raises(CompactedError) as caught:
            await anext(store.watch("a/", after=revision + 1))
        assert caught.value.oldest == revision


async def test_quiet_etcd_watch_continues_from_the_last_reported_revision(
    etcd_path: str, tmp_path: Path
) -> None:
    options = ["--experimental-watch-progress-notify-interval", "100ms"]
    with EtcdServer(etcd_path, tmp_path, options=options).running() as server:
        async with opened(server.url) as store:
            changes = store.watch("a/", after=await store.put("a/1", b"1"))
            waiting = asyncio.ensure_future(anext(changes))
            revision = await store.put("other", b"")
            await eventually(lambda: changes.reached >= revision)
            # The watch is cut, and its last change no longer in the history.
            await in_thread(server.ask, "kv/compaction", {"revision": revision})
            await in_thread(server.kill)
            with pytest.raises(StoreError):
                await waiting
            await in_thread(server.start)
            await store.put("a/1", b"2")
            changes = store.watch("a/", after=changes.reached)
            assert await taken(changes, 1) == [("a/1", b"2")]
            await changes.aclose()


async def test_dead_etcd_watch_is_reported(etcd: EtcdServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(etcd_module, "PROOF_SECONDS", 0.05)
    async with opened(f"{etcd.url}?base=stores/{next(_numbers)}") as store:
        changes = store.watch("a/")
        await store.put("a/1", b"1")
        assert await taken(changes, 1) == [("a/1", b"1")]
        waiting = asyncio.ensure_future(anext(changes))
        # Proofs of a watch without changes.
        await asyncio.wait([waiting], timeout=0.3)
        assert not waiting.done()
        # A connection without its other side: no change arrives, and no error.
        is_dead = threading.Event()
        monkeypatch.setattr(etcd_module.KeyWatch, "receive", lambda watch, seconds: is_dead.set())
        await in_thread(is_dead.wait)
        await store.delete("a/1")
        with pytest.raises(StoreError, match="does not show a change") as caught:
            await waiting
        assert caught.value.retryable


@pytest.mark.parametrize("version", ["3.3.27", "3.5.0", "3.5.1", "3.5.2"])
async def test_etcd_version_that_loses_writes_is_refused(
    etcd: EtcdServer, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setattr(etcd_module.EtcdStore, "_versions", lambda store, gateway: {"3.4.23", version})
    with pytest.raises(ConfigError, match=f"a member of etcd has version {version}"):
        async with opened(etcd.url):
            pass


@pytest.fixture
def guarded_etcd(etcd_path: str, tmp_path: Path) -> Iterator[EtcdServer]:
    """A member that asks for a login: `root`, and `shop` with its own keys."""
    with EtcdServer(etcd_path, tmp_path, options=["--auth-token", "simple"]).running() as server:
        for user in ("root", "shop"):
            server.ask("auth/user/add", {"name": user, "password": "pl4nted"})
            server.ask("auth/role/add", {"name": user})
            server.ask("auth/user/grant", {"user": user, "role": user})
        start, end = (base64.b64encode(key).decode() for key in (b"shop/", b"shop0"))
        perm = {"permType": "READWRITE"}
        # `ask` encodes the names of bytes at the top only.
        server.ask("auth/role/grant", {"name": "shop", "perm": perm | {"key": start, "range_end": end}})
        server.ask("auth/enable", {})
        yield server


async def test_etcd_login_reaches_its_own_keys(guarded_etcd: EtcdServer) -> None:
    async with opened(f"{guarded_etcd.url}?user=shop&password=pl4nted") as store:
        await store.put("shop/a", b"1")
        changes = store.watch("shop/", after=(await store.list("shop/")).revision)
        # A restart forgets the tokens.
        await in_thread(guarded_etcd.kill)
        await in_thread(guarded_etcd.start)
        await store.put("shop/a", b"2")
        assert await taken(changes, 1) == [("shop/a", b"2")]
        await changes.aclose()
        for attempt in (store.get("other"), store.put("other", b""), anext(store.watch("other/", after=1))):
            with pytest.raises(StoreError, match="permission denied") as caught:
                await attempt
            assert (caught.value.status, caught.value.processed) == (Status.PERMISSION_DENIED, "no")
            assert not caught.value.retryable
    async with opened(f"{guarded_etcd.url}?user=shop&password=wrong") as store:
        with pytest.raises(StoreError, match="authentication failed") as caught:
            await store.put("shop/a", b"3")
        assert (caught.value.status, caught.value.processed) == (Status.UNAUTHENTICATED, "no")


async def test_consul_session_has_no_checks(consul: ConsulAgent) -> None:
    async with opened(consul.url) as store:
        lease = await store.lease(10.0)
        (session,) = await in_thread(consul.ask, f"/v1/session/info/{lease}")
        assert not session.get("Checks")
        assert not session.get("NodeChecks")
        assert (session["TTL"], session["Behavior"], session["LockDelay"]) == ("10.0s", "delete", 0)
        await store.revoke(lease)
