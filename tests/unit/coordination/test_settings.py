"""Settings that follow a key."""

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fastrpc.coordination.settings import Following
from fastrpc.errors import ConfigError, DecodeError, Status, StoreError
from fastrpc.stores.base import Item, ItemChange
from fastrpc.stores.local import LocalStore
from tests.support.virtual_time import pass_time


@dataclass
class Limits:
    rate: int = 1


class AwayStore(LocalStore):
    """A store that can be away: requests fail, and watches end."""

    def __init__(self) -> None:
        super().__init__()
        self.is_away = asyncio.Event()

    async def get(self, key: str, *, stale: bool = False) -> Item[bytes] | None:
        self._answer()
        return await super().get(key)

    async def watch(self, watched: str, *, after: int | None = None) -> AsyncGenerator[ItemChange, None]:  # type: ignore[override]
        self._answer()
        changes = super().watch(watched, after=after)
        while True:
            change = asyncio.ensure_future(anext(changes))
            away = asyncio.ensure_future(self.is_away.wait())
            try:
                await asyncio.wait([change, away], return_when=asyncio.FIRST_COMPLETED)
            finally:
                away.cancel()
                if not change.done():
                    change.cancel()
            self._answer()
            yield await change

    def _answer(self) -> None:
        if self.is_away.is_set():
            raise StoreError("the store is away", processed="no", retryable=True)


@pytest.fixture
async def store() -> AsyncIterator[AwayStore]:
    async with AwayStore() as store:
        yield store


def following(store: LocalStore, **options: Any) -> Following[Limits]:
    return Following(store, "shop/limits", Limits, **options)


async def settled(store: LocalStore, follower: Following[Any]) -> None:
    """Wait until a follower has judged the newest value."""
    item = await LocalStore.get(store, "shop/limits")
    while follower._judged != (item.revision if item else 0):
        await pass_time(0.01)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await pass_time(0.1)


def state(follower: Following[Limits]) -> tuple[Limits, Exception | None]:
    return follower.value, follower.error


@pytest.mark.virtual_time
class TestFollowing:
    async def test_value_is_the_newest_good_one(self, store: AwayStore) -> None:
        first = await store.put("shop/limits", b'{"rate": 10}')
        async with following(store) as limits:
            assert (limits.value, limits.revision, limits.error) == (Limits(10), first, None)
            revision = await store.put("shop/limits", b'{"rate": 20}')
            await settled(store, limits)
            assert (limits.value, limits.revision, limits.error) == (Limits(20), revision, None)

    @pytest.mark.parametrize(
        ("bad", "place"),
        [
            (b'{"rate": "fast"}', r"at \$.rate, DecodeError"),
            (b'{"rat": 1}', r"at \$.rat, DecodeError"),
            (b'{"rate": -1}', "ValueError"),
            (b"{", "DecodeError"),
        ],
    )
    async def test_bad_value_keeps_the_last_good_one_and_is_told_by_its_field(
        self, store: AwayStore, bad: bytes, place: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        def check(limits: Limits) -> None:
            if limits.rate < 0:
                raise ValueError(f"rate is {limits.rate}")

        first = await store.put("shop/limits", b'{"rate": 10}')
        async with following(store, check=check) as limits:
            await store.put("shop/limits", bad)
            await settled(store, limits)
            assert (limits.value, limits.revision) == (Limits(10), first)
            assert isinstance(limits.error, DecodeError | ValueError)
            [record] = caplog.records
            assert record.levelno == logging.WARNING
            assert "the setting 'shop/limits' is refused" in record.getMessage()
            assert re.search(place, record.getMessage())
            assert "fast" not in record.getMessage()
            await store.put("shop/limits", b'{"rate": 30}')
            await settled(store, limits)
            assert state(limits) == (Limits(30), None)

    async def test_deleted_value_is_kept_and_told(
        self, store: AwayStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        await store.put("shop/limits", b'{"rate": 10}')
        async with following(store) as limits:
            await store.delete("shop/limits")
            await settled(store, limits)
            assert limits.value == Limits(10)
            assert isinstance(limits.error, StoreError)
            assert limits.error.status is Status.NOT_FOUND
            assert "was deleted" in caplog.text
            await store.put("shop/limits", b'{"rate": 20}')
            await settled(store, limits)
            assert state(limits) == (Limits(20), None)

    async def test_absent_key_begins_with_the_default(self, store: AwayStore) -> None:
        async with following(store, default=Limits(7)) as limits:
            assert (limits.value, limits.revision, limits.error) == (Limits(7), 0, None)
            await store.put("shop/limits", b'{"rate": 20}')
            await settled(store, limits)
            assert limits.value == Limits(20)

    async def test_history_of_an_absent_key_is_no_value(self, store: AwayStore) -> None:
        await store.put("shop/limits", b'{"rate": 10}')
        await store.delete("shop/limits")
        async with following(store, default=Limits(7)) as limits:
            async with aclosing(limits.changes()) as changes:
                await store.put("shop/limits", b'{"rate": 20}')
                assert await anext(changes) == Limits(20)

    async def test_absent_key_without_a_default_is_refused(self, store: AwayStore) -> None:
        with pytest.raises(StoreError, match="'shop/limits' has no value") as caught:
            await following(store).__aenter__()
        assert caught.value.status is Status.NOT_FOUND
        await store.put("shop/limits", b"[]")
        with pytest.raises(StoreError, match="has no good value") as caught:
            await following(store).__aenter__()
        assert isinstance(caught.value.__cause__, DecodeError)

    async def test_refusal_of_the_store_is_not_a_missing_value(self) -> None:
        class RefusingStore(LocalStore):
            async def get(self, key: str, *, stale: bool = False) -> Item[bytes] | None:
                raise StoreError("no right", status=Status.PERMISSION_DENIED)

        async with RefusingStore() as store:
            with pytest.raises(StoreError, match="no right"):
                await following(store, default=Limits()).__aenter__()

    async def test_store_that_is_away_changes_nothing_but_the_error(self, store: AwayStore) -> None:
        await store.put("shop/limits", b'{"rate": 10}')
        async with following(store) as limits:
            store.is_away.set()
            await until(lambda: limits.error is not None)
            assert limits.value == Limits(10)
            await LocalStore.put(store, "shop/limits", b'{"rate": 20}')
            store.is_away.clear()
            await settled(store, limits)
            assert state(limits) == (Limits(20), None)
            store.is_away.set()
            await until(lambda: limits.error is not None)
            store.is_away.clear()
            await until(lambda: limits.error is None)

    async def test_compacted_history_is_read_again(self, store: AwayStore) -> None:
        await store.put("shop/limits", b'{"rate": 10}')
        for _ in range(11_001):
            await store.put("others", b"")
        async with following(store) as limits:
            assert limits.value == Limits(10)
            await pass_time(1)
            await store.put("shop/limits", b'{"rate": 20}')
            await settled(store, limits)
            assert state(limits) == (Limits(20), None)

    async def test_changes_are_each_good_value_until_the_end(self, store: AwayStore) -> None:
        await store.put("shop/limits", b'{"rate": 1}')
        seen: list[int] = []
        async with following(store) as limits:

            async def read() -> None:
                async for value in limits.changes():
                    seen.append(value.rate)

            reader = asyncio.create_task(read())
            await pass_time(1)
            for rate in (2, -1, 3):
                await store.put("shop/limits", b'{"rate": %d}' % rate if rate > 0 else b"bad")
                await settled(store, limits)
                await pass_time(1)
        await reader
        assert seen == [2, 3]

    async def test_slow_reader_of_changes_gets_the_latest(self, store: AwayStore) -> None:
        await store.put("shop/limits", b'{"rate": 1}')
        async with following(store) as limits:
            async with aclosing(limits.changes()) as changes:
                for rate in range(2, 6):
                    await store.put("shop/limits", b'{"rate": %d}' % rate)
                    await settled(store, limits)
                assert await anext(changes) == Limits(5)

    async def test_no_reader_sees_a_bad_value(self, store: AwayStore, scale: Any) -> None:
        await store.put("shop/limits", b'{"rate": 0}')
        async with following(store) as limits:
            for number in range(1, scale(1_000)):
                await store.put("shop/limits", b'{"rate": %d}' % number if number % 2 else b'{"rate": "x"}')
                await asyncio.sleep(0)
                assert limits.value.rate % 2 or not limits.value.rate
            await settled(store, limits)
            assert limits.value.rate == scale(1_000) - 1


async def test_start_without_the_store_takes_the_cache_file(
    store: AwayStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastrpc.hosted.verbs.PATIENCE_SECONDS", 0.01)
    file = tmp_path / "limits.json"
    await store.put("shop/limits", b'{"rate": 10}')
    async with following(store, cache_file=file):
        assert file.read_bytes() == b'{"rate": 10}'
        assert file.stat().st_mode & 0o777 == 0o600
    store.is_away.set()
    async with following(store, cache_file=file, default=Limits(7)) as limits:
        assert (limits.value, limits.revision) == (Limits(10), 0)
        assert isinstance(limits.error, StoreError)
    file.write_bytes(b"damaged")
    async with following(store, cache_file=file, default=Limits(7)) as limits:
        assert limits.value == Limits(7)
    with pytest.raises(StoreError, match="has no value") as caught:
        await following(store, cache_file=file).__aenter__()
    assert caught.value.status is Status.UNAVAILABLE


def test_wrong_key_is_refused() -> None:
    with pytest.raises(ConfigError):
        Following(LocalStore(), "shop//limits", Limits)


class AsyncCheck:
    async def __call__(self, limits: Limits) -> None: ...


@pytest.mark.parametrize("check", [AsyncCheck(), AsyncCheck().__call__, partial(AsyncCheck.__call__, None)])
def test_async_check_is_refused(check: Any) -> None:
    with pytest.raises(TypeError, match=r"write a plain one: def check\(value\)"):
        following(LocalStore(), check=check)


async def test_check_that_returns_a_coroutine_refuses_the_value(store: AwayStore) -> None:
    await store.put("shop/limits", b'{"rate": 10}')
    check = AsyncCheck()
    async with following(store, check=lambda limits: check(limits), default=Limits(7)) as limits:
        assert limits.value == Limits(7)
        assert isinstance(limits.error, TypeError)
