"""The store `deimos://` against the faults of a real Deimos: its errors, lost events, no leader."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fastrpc import CompactedError, Status, StoreConflictError, StoreError
from fastrpc.registries.base.urls import RegistryURL
from fastrpc.stores.deimos import DeimosStore, open_deimos_store, watching
from tests.support.deimos_vectors import deimos_server
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

SECOND_LINE = b"Internal Server Error\n"


class Faulty:
    """An application with the faults of a Deimos around our dialect."""

    def __init__(self) -> None:
        self.requests = 0
        #: Whether it has no leader, loses events, or ends watches at once.
        self.is_lost = self.is_deaf = self.is_short = False
        self._app: Any = None

    def __call__(self, app: Any) -> Any:
        self._app = app
        return self._handle

    async def _handle(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        self.requests += 1
        is_watch = b"wait=true" in scope["query_string"]
        if self.is_lost and not is_watch:
            await answered(send, 500, 2 * SECOND_LINE)
        elif is_watch and self.is_short:
            await answered(send, 200, b"")
        elif is_watch and self.is_deaf:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"", "more_body": True})
            while (await receive())["type"] != "http.disconnect":
                pass
        else:
            await self._app(scope, receive, _second_line(send))


async def answered(send: Any, status: int, body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": body})


def _second_line(send: Any) -> Any:
    """Return a function that sends errors as a Deimos does."""

    async def sent(event: dict[str, Any]) -> None:
        if event["type"] == "http.response.body" and event["body"].startswith(b'{"errorCode"'):
            event = {**event, "body": event["body"] + SECOND_LINE}
        await send(event)

    return sent


@pytest.fixture
def faulty() -> Faulty:
    return Faulty()


@pytest.fixture
async def store(faulty: Faulty) -> AsyncIterator[DeimosStore]:
    async with deimos_server(around=faulty) as server:
        url = RegistryURL(f"deimos://127.0.0.1:{server.address.port}")
        async with open_deimos_store(url) as store:
            yield store


async def test_error_with_a_second_line_is_read(store: DeimosStore) -> None:
    assert await store.get("k") is None
    revision = await store.put("k", b"1", expect=0)
    with pytest.raises(StoreConflictError) as caught:
        await store.put("k", b"2", expect=revision + 1)
    assert caught.value.item == await store.get("k")
    changes = store.watch("k", after=1)
    with pytest.raises(CompactedError) as cleared:
        await anext(changes)
    assert cleared.value.oldest == 2


async def test_write_without_a_leader_may_have_been_done(store: DeimosStore, faulty: Faulty) -> None:
    lease = await store.lease(2)
    await store.put("a", b"", lease=lease)
    faulty.is_lost = True
    for attempt in (store.put("k", b"", expect=0), store.delete("a"), store.renew(lease)):
        with pytest.raises(StoreError) as caught:
            await attempt
        error = caught.value
        assert (error.status, error.retryable, error.processed) == (Status.UNAVAILABLE, True, "unknown")
    faulty.is_lost = False
    assert await store.renew(lease)


async def test_lost_events_are_found_by_reading(
    store: DeimosStore, faulty: Faulty, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "READ_SECONDS", 0.0)
    changes = store.watch("a/", after=await store.put("b", b""))
    faulty.is_deaf = True
    waiting = asyncio.ensure_future(anext(changes))
    revision = await store.put("a/1", b"1")
    assert (await waiting).revision == revision
    await changes.aclose()


async def test_quiet_watch_reports_its_read_revision(
    store: DeimosStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "READ_SECONDS", 0.0)
    changes = store.watch("a/", after=await store.put("b", b""))
    waiting = asyncio.ensure_future(anext(changes))
    revision = await store.put("b", b"1")
    await eventually(lambda: changes.reached >= revision)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await changes.aclose()


@pytest.mark.measures
async def test_watch_that_ends_at_once_is_no_busy_loop(store: DeimosStore, faulty: Faulty) -> None:
    faulty.is_short = True
    changes = store.watch("a/")
    begun, faulty.requests = time.monotonic(), 0
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(2):
            await anext(changes)
    assert faulty.requests <= 5 * (time.monotonic() - begun) + 1
    await changes.aclose()
