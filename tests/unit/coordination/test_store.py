"""The facade of stores: types, conditions, watches, mirrors, deadlines and repeats."""

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import pytest

import fastrpc
from fastrpc import ConfigError, DecodeError, EncodeError, Status, StoreError
from fastrpc.coordination import (
    Change,
    Delete,
    Holder,
    Item,
    Lock,
    Put,
    Store,
    absent,
    open_store,
    unchanged,
)
from fastrpc.errors import CompactedError, LockHeldError, StoreConflictError
from fastrpc.stores.base import ItemChange, StoreBackend, StoreLimits, Write
from fastrpc.stores.local import LocalStore
from tests.support.waiting import eventually


@dataclass
class Limits:
    rate: int
    zone: str = "west"


@dataclass
class Shares:
    """Its own check raises something else than ValueError."""

    parts: int
    more: Any = None

    def __post_init__(self) -> None:
        self.share = 100 / self.parts


DEEP = b'{"parts": 1, "more": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    async with open_store("memory://test") as store:
        yield store


async def test_values_are_json_and_bytes_stay_bytes(store: Store) -> None:
    revision = await store.put("shop/limits", Limits(10))
    assert await store.get("shop/limits", Limits) == Item("shop/limits", Limits(10), revision, None, revision)
    for value in (b"\x00\xff", bytearray(b"1"), memoryview(b"2")):
        await store.put("raw", value)
        item = await store.get("raw")
        assert item is not None
        assert item.value == bytes(value)
    await store.put("text", "é")
    assert (await store.list("", limit=3))[2].value == '"é"'.encode()
    assert await store.get("nothing", Limits) is None


@pytest.mark.parametrize("value", [b"{}", b'{"rate": "10"}', b"not JSON"])
async def test_value_that_does_not_fit_names_its_key(store: Store, value: bytes) -> None:
    await store.put("shop/limits", value)
    for attempt in (store.get("shop/limits", Limits), store.list("shop/", Limits)):
        with pytest.raises(DecodeError, match="the value of 'shop/limits' is not of type Limits"):
            await attempt


@pytest.mark.parametrize("value", [b'{"parts": 0}', DEEP])
async def test_any_exception_of_decoding_is_a_value_that_does_not_fit(store: Store, value: bytes) -> None:
    await store.put("shop/shares", value)
    async with store.watch("", Shares, after=0) as changes:
        for attempt in (store.get("shop/shares", Shares), store.list("shop/", Shares), anext(changes)):
            with pytest.raises(DecodeError, match="the value of 'shop/shares' is not of type Shares"):
                await attempt


async def test_value_that_cannot_be_json_is_refused(store: Store) -> None:
    cyclic: list[Any] = []
    cyclic.append(cyclic)
    for value in (object(), float("nan"), cyclic):
        with pytest.raises(EncodeError, match="the value of 'k' cannot be JSON"):
            await store.put("k", value)
    with pytest.raises(ConfigError, match="262145 bytes, the limit is 262144"):
        await store.put("k", b"x" * (256 * 1024 + 1))


async def test_expected_revision_is_required(store: Store) -> None:
    revision = await store.put("k", 1, expect=0)
    with pytest.raises(StoreConflictError) as caught:
        await store.put("k", 2, expect=0)
    assert caught.value.item == await store.get("k")
    with pytest.raises(StoreConflictError):
        await store.delete("k", expect=revision + 1)
    assert await store.delete("k", expect=revision)
    assert not await store.delete("k")


async def test_list_is_a_sequence_by_key(store: Store) -> None:
    for key in ("b/2", "b/1", "a", "b/3"):
        await store.put(key, len(key))
    found = await store.list("b/", int, limit=2)
    assert [(item.key, item.value) for item in found] == [("b/1", 3), ("b/2", 3)]
    assert (len(found), found.revision, found.is_cut) == (2, 4, True)
    assert found[-1] == found[1:][0]
    assert not (await store.list("b/", int, after="b/2")).is_cut


async def test_transaction_does_all_operations_or_reports_the_present_values(store: Store) -> None:
    revision = await store.put("a", 1)
    done = await store.transact([unchanged("a", revision), absent("b")], [Put("b", 2), Delete("a")])
    assert (done.succeeded, done.revision, done.items) == (True, revision + 1, ())
    failed = await store.transact([absent("a"), absent("b")], [Put("c", 3)])
    assert not failed.succeeded
    assert failed.items == (None, await store.get("b"))
    assert await store.get("c") is None
    with pytest.raises(ConfigError, match="65 steps, the limit is 64"):
        await store.transact([], [Put(f"k/{number}", 0) for number in range(65)])


@pytest.mark.parametrize("watched", ["a/", "a/k"])
async def test_watch_begins_when_its_block_is_entered(store: Store, watched: str) -> None:
    await store.put("a/k", 0)
    async with store.watch(watched, int) as changes:
        revision = await store.put("a/k", 1)
        await store.put("b", 1)
        await store.delete("a/k")
        assert await anext(changes) == Change("put", "a/k", Item("a/k", 1, revision, None, 1), revision)
        assert await anext(changes) == Change("deleted", "a/k", None, revision + 2)


async def test_watch_continues_after_a_value_that_does_not_fit_and_a_cancelled_wait(store: Store) -> None:
    async with store.watch("", int) as changes:
        waiting = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        await store.put("k", "text")
        await store.put("k", 2)
        with pytest.raises(DecodeError):
            await anext(changes)
        assert (await anext(changes)).revision == 2
    with pytest.raises(CompactedError):
        async with store.watch("", after=3) as late:
            await anext(late)


async def test_mirror_keeps_the_last_good_value(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    await store.put("a/1", 1)
    await store.put("a/2", 2)
    async with store.mirror("a/", int) as mirror:
        assert dict(mirror) == {"a/1": 1, "a/2": 2}
        await store.put("a/1", "text")
        await store.delete("a/2")
        await store.put("a/3", 3)
        await eventually(lambda: "a/3" in mirror)
        assert dict(mirror) == {"a/1": 1, "a/3": 3}
        assert (mirror.error, mirror.revision) == (None, 5)
    # Without the text of the decoder, which may have the value in it.
    assert caplog.messages == ["the mirror keeps the last good value of 'a/1': DecodeError"]


@pytest.mark.parametrize("value", [b'{"parts": 0}', DEEP])
async def test_mirror_outlasts_any_exception_of_decoding(store: Store, value: bytes) -> None:
    await store.put("a/1", value)
    await store.put("a/2", Shares(2))
    async with store.mirror("a/", Shares) as mirror:
        assert dict(mirror) == {"a/2": Shares(2)}
        await store.put("a/2", value)
        await store.put("a/3", Shares(3))
        await eventually(lambda: "a/3" in mirror)
        assert dict(mirror) == {"a/2": Shares(2), "a/3": Shares(3)}
        assert (mirror.error, mirror.revision) == (None, 4)


class Unsteady:
    """A local store whose verbs raise errors that a test puts in line, before they begin."""

    limits = StoreLimits(every_change=False)

    def __init__(self) -> None:
        self.store = LocalStore()
        self.errors: list[StoreError] = []
        self.calls = 0

    async def __aenter__(self) -> StoreBackend:
        await self.store.__aenter__()
        return cast(StoreBackend, self)

    async def __aexit__(self, *error: Any) -> None:
        await self.store.__aexit__(None, None, None)

    def __getattr__(self, verb: str) -> Any:
        async def attempt(*arguments: Any, **options: Any) -> Any:
            self.calls += 1
            if self.errors:
                raise self.errors.pop(0)
            return await getattr(self.store, verb)(*arguments, **options)

        return attempt

    async def watch(self, watched: str, *, after: int | None) -> AsyncGenerator[ItemChange, None]:
        async for change in self.store.watch(watched, after=after):
            yield change
            if self.errors:
                raise self.errors.pop(0)


@pytest.fixture
async def unsteady() -> AsyncIterator[tuple[Store, Unsteady]]:
    backend = Unsteady()
    async with Store(backend) as store:
        yield store, backend


def away(processed: fastrpc.errors.Processed = "no") -> StoreError:
    return StoreError("away", processed=processed, retryable=True)


async def test_reads_are_repeated_and_writes_that_did_not_start(unsteady: tuple[Store, Unsteady]) -> None:
    store, backend = unsteady
    backend.errors = [away("unknown")]
    assert await store.get("k") is None
    backend.errors = [away()]
    assert await store.put("k", 1) == 1
    backend.calls, backend.errors = 0, [away("unknown")]
    with pytest.raises(StoreError, match="away"):
        await store.put("k", 1)
    backend.errors = [StoreError("refused", processed="no")]
    with pytest.raises(StoreError, match="refused"):
        await store.get("k")
    assert backend.calls == 2


async def test_watch_continues_after_the_store_was_away(unsteady: tuple[Store, Unsteady]) -> None:
    store, backend = unsteady
    async with store.watch("") as changes:
        await backend.store.transact([], [Write("a", b""), Write("b", b"")])
        await backend.store.put("a", b"")
        backend.errors = [away(), away()]
        found = [await anext(changes) for _ in range(3)]
    assert [(change.key, change.revision) for change in found] == [("a", 1), ("b", 1), ("a", 2)]
    with pytest.raises(ConfigError, match="only the latest change of a key"):
        store.watch("", every_change=True)


async def test_mirror_lists_again_when_the_history_is_gone(
    unsteady: tuple[Store, Unsteady], caplog: pytest.LogCaptureFixture
) -> None:
    store, backend = unsteady
    await store.put("a/1", 1)
    await store.put("a/2", 2)
    async with store.mirror("a/", int) as mirror:
        backend.errors = [CompactedError("gone")]
        await backend.store.transact([], [Write("a/1", b"3"), Write("a/3", b"3")])
        await backend.store.delete("a/2")
        await eventually(lambda: mirror.error is None and mirror.revision == 4)
        assert dict(mirror) == {"a/1": 3, "a/3": 3}
    assert "the mirror of 'a/' keeps its values: gone" in caplog.text


async def test_bad_value_is_not_in_the_log_of_a_mirror(
    unsteady: tuple[Store, Unsteady], caplog: pytest.LogCaptureFixture
) -> None:
    store, _ = unsteady
    await store.put("a/mode", "secret-word")
    async with store.mirror("a/", Literal["on", "off"]) as mirror:  # type: ignore[arg-type]
        assert not mirror
    assert "the last good value of 'a/mode': DecodeError" in caplog.text
    assert "secret-word" not in caplog.text


@pytest.mark.parametrize(("verb", "processed"), [("get", "no"), ("put", "unknown")])
async def test_verb_ends_at_the_deadline(
    unsteady: tuple[Store, Unsteady], monkeypatch: pytest.MonkeyPatch, verb: str, processed: str
) -> None:
    store, backend = unsteady

    async def hang(*arguments: Any, **options: Any) -> None:
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(backend, verb, hang, raising=False)
    arguments = ("k", b"") if verb == "put" else ("k",)
    with fastrpc.timeout(0), pytest.raises(StoreError, match=f"{verb} of 'k' did not end") as caught:
        await getattr(store, verb)(*arguments)
    assert (caught.value.status, caught.value.processed) == (Status.DEADLINE_EXCEEDED, processed)


async def test_memory_store_lasts_while_it_is_open() -> None:
    async with (
        open_store("memory://a") as one,
        open_store("memory://a") as two,
        open_store("memory://b") as three,
    ):
        await one.put("k", 1)
        assert await two.get("k") is not None
        assert await three.get("k") is None
    async with open_store("memory://a") as one:
        assert await one.get("k") is None


async def test_memory_store_belongs_to_one_loop(store: Store) -> None:
    async def enter() -> None:
        async with open_store("memory://test"):
            pass

    with pytest.raises(ConfigError, match="open in another event loop"):
        await asyncio.to_thread(asyncio.run, enter())


async def test_sqlite_store_keeps_a_folder(tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path}/store?sync=normal"
    async with open_store(url) as store:
        await store.put("k", 1)
    async with open_store(url) as store:
        assert (await store.get("k", int)) is not None
    assert (tmp_path / "store" / "store.db").exists()


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("memory", "not the URL of a store"),
        ("memory://", "not the name of a store"),
        ("memory://a/b", "not the name of a store"),
        ("memory://a?sync=full", "has no option sync"),
        ("sqlite://host/folder", "no absolute path"),
        ("sqlite:///", "no absolute path"),
        ("sqlite:///folder?sync=off", "the option sync is 'off'"),
        ("nosuch://a", "no store has the scheme 'nosuch'"),
    ],
)
def test_wrong_url_is_refused(url: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        open_store(url)


def test_credentials_are_refused_for_a_store_that_takes_none() -> None:
    with pytest.raises(ConfigError, match="memory://a does not accept credentials"):
        open_store("memory://a", credentials="token")


async def test_store_is_for_the_process_that_opened_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    process = os.getpid()
    with monkeypatch.context() as patched:
        patched.setattr(os, "getpid", lambda: process + 1)
        for use in (lambda: store.backend, lambda: store.watch("k"), lambda: store.mirror("")):
            with pytest.raises(RuntimeError, match="before a fork"):
                use()
        with pytest.raises(RuntimeError, match="before a fork"):
            await store.get("k")


async def test_store_is_entered_first(tmp_path: Path) -> None:
    store = open_store(f"sqlite://{tmp_path}/store")
    with pytest.raises(StoreError, match="the store is closed"):
        await store.get("k")


async def test_store_is_entered_once(tmp_path: Path) -> None:
    for url in ("memory://a", f"sqlite://{tmp_path}/store"):
        store = open_store(url)
        async with store:
            with pytest.raises(RuntimeError, match="is open already"):
                await store.__aenter__()
        with pytest.raises(RuntimeError, match="a store is entered once; open another one"):
            await store.__aenter__()


async def test_store_whose_entry_failed_is_not_entered_again(tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path}/store"
    async with open_store(url):
        store = open_store(url)
        with pytest.raises(StoreError):
            await store.__aenter__()
    with pytest.raises(RuntimeError, match="a store is entered once; open another one"):
        await store.__aenter__()
    async with open_store(url) as another:
        await another.put("k", 1)


async def test_store_has_locks_leaders_leases_and_settings(store: Store) -> None:
    async with store.lock("jobs/nightly", value="host-1") as lock:
        assert await store.holder("jobs/nightly") == Holder("host-1", lock.token, 0)
        with pytest.raises(LockHeldError):
            await store.lock("jobs/nightly", wait=0).__aenter__()
        done = await store.transact([lock.held()], [Put("report", 1)])
        assert done.succeeded
    assert not (await store.transact([lock.held()], [Put("report", 2)])).succeeded
    async with store.semaphore("slots", 1), store.lead("shop", "tcp://a:1"):
        with pytest.raises(LockHeldError):
            await store.semaphore("slots", 1, wait=0).__aenter__()
        leader = await store.leader("shop")
        assert leader is not None
        assert leader.value == "tcp://a:1"
        async with aclosing(store.watch_leader("shop")) as leaders:
            assert await anext(leaders) == leader
    async with store.lease(5) as lease:
        await store.put("k", 1, lease=lease)
    assert await store.get("k") is None

    async def lead(lock: Lock) -> int:
        return lock.token

    assert await store.run_while_leading("shop", lead) > lock.token


async def test_followed_setting_ends_with_its_store() -> None:
    async with open_store("memory://followed") as store:
        limits = await store.follow("limits", int, default=7)
        changes = limits.changes()
        await store.put("limits", 8)
        assert await anext(changes) == 8
    with pytest.raises(StopAsyncIteration):
        await anext(changes)
    assert limits.value == 8


@pytest.mark.parametrize("url", ["memory://a", "sqlite:///a"])
def test_certificates_are_refused_where_there_is_no_connection(url: str) -> None:
    with pytest.raises(ConfigError, match="has no connection that tls could encrypt"):
        open_store(url, tls=fastrpc.TLS())
