"""The dialect of Deimos during a commit: neither results nor refusals show changes that the disk may not keep."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from fastrpc import Status, StoreError
from fastrpc.auth import Identity, Policy, StaticTokens
from fastrpc.coordination import StoreService
from fastrpc.hosted.rights import rights_of
from fastrpc.stores.sqlite import SqliteJournal
from tests.support.deimos_vectors import DeimosServer, deimos_server
from tests.support.http_talk import WAIT_SECONDS, Response, soon

pytestmark = pytest.mark.one_loop

TOKENS = StaticTokens({"shop": Identity("shop"), "ann": Identity("ann")})
RULES: list[dict[str, Any]] = [
    {"who": ["shop"], "write_keys": ["a", "a/**"]},
    {"who": ["ann"], "read_keys": ["a"]},
]
FULL = StoreError("full", status=Status.RESOURCE_EXHAUSTED)

_commit: Callable[..., None] = SqliteJournal.commit


class Disk:
    """A disk that fails one commit, once it is released."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.is_reached = threading.Event()
        self.is_released = threading.Event()

    def commit(self, journal: SqliteJournal, *changes: Any) -> None:
        error, self.error = self.error, None
        if error is None:
            _commit(journal, *changes)
            return
        self.is_reached.set()
        self.is_released.wait(WAIT_SECONDS)
        raise error


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr(SqliteJournal, "commit", lambda journal, *changes: disk.commit(journal, *changes))
    return disk


@pytest.fixture
async def server(disk: Disk, tmp_path: Path) -> AsyncIterator[DeimosServer]:
    rights = rights_of(TOKENS, Policy(RULES), command="store")
    async with deimos_server(StoreService(tmp_path / "store", rights=rights), authenticate=TOKENS) as server:
        yield server


async def begun(server: DeimosServer, verb: str, target: str, *, who: str = "shop") -> asyncio.Task[Response]:
    """Send a request; return once it has read the keys."""
    tree, has_read = server.app.tree, asyncio.Event()

    def find(key: str) -> Any:
        has_read.set()
        return type(tree).find(tree, key)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tree, "find", find)
        found = asyncio.create_task(server.ask(verb, target, Authorization=f"Bearer {who}"))
        await soon(has_read)
    return found


async def test_refusal_names_committed_keys(server: DeimosServer, disk: Disk) -> None:
    disk.error = FULL
    first = await begun(server, "PUT", "/keys/a?prevExists=false&value=1")
    await asyncio.to_thread(disk.is_reached.wait, WAIT_SECONDS)
    second = await begun(server, "PUT", "/keys/a?prevExists=false&value=2")
    disk.is_released.set()
    assert ((await first).status, (await second).status) == (507, 201)


async def test_rights_are_those_to_the_keys_that_are_read(server: DeimosServer, disk: Disk) -> None:
    await server.store.put("a/secret", b"1")
    disk.error = FULL
    deletion = await begun(server, "DELETE", "/keys/a?recursive=true")
    await asyncio.to_thread(disk.is_reached.wait, WAIT_SECONDS)
    file = await begun(server, "PUT", "/keys/a?value=1")
    found = await begun(server, "GET", "/keys/a", who="ann")
    disk.is_released.set()
    assert ((await deletion).status, (await file).status) == (507, 507)
    assert ((await found).status, (await found).value["errorCode"]) == (403, 110)


async def test_ended_store_refuses_nothing_by_its_keys(server: DeimosServer, disk: Disk) -> None:
    disk.error = OSError("broken")
    disk.is_released.set()
    for request in (
        "PUT /keys/a?value=1",
        "GET /keys/a",
        "GET /keys/a/none",
        "PUT /keys/a?prevExists=false",
        "PUT /keys/a?prevIndex=99",
    ):
        verb, target = request.split(" ")
        found = await server.ask(verb, target, Authorization="Bearer shop")
        assert (found.status, found.value["errorCode"]) == (500, 300), request
