"""Failures of stores and locks: the rows of the design's table, each with its tests.

`ROWS` names them; a row whose test is here is one that only a whole program can show.
"""

import asyncio
import errno
import json
import re
import signal
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from fastrpc import CallError, Client, Server, Status, StoreError
from fastrpc.coordination import Store, StoreServer, StoreService, open_store
from fastrpc.coordination.remote.service import store_config
from fastrpc.stores.base import ItemChange, LeaseChange
from fastrpc.stores.local import LocalStore
from fastrpc.stores.sqlite import SqliteJournal
from tests.support.disk_and_clock import DiskAndClock
from tests.support.program import Program, command_line, run_program

pytestmark = pytest.mark.one_loop

COORDINATION = Path(__file__).parents[2] / "unit" / "coordination"
STORES = COORDINATION.with_name("stores")
HERE = Path(__file__)

#: The tests of each row, by their files.
ROWS: dict[str, dict[Path, tuple[str, ...]]] = {
    "holder dies": {COORDINATION / "test_fencing.py": ("test_tokens_rise_with_each_hold",)},
    "holder is paused past its ttl": {
        COORDINATION / "test_locks.py": (
            "test_suspension_counts",
            "test_block_that_ends_too_late_without_a_wait_is_reported",
        ),
    },
    "link cut between holder and store": {
        COORDINATION / "test_locks.py": ("test_holder_is_cancelled_before_the_store_gives_its_lock_away",),
    },
    "embedded store restarts": {
        STORES / "test_sqlite.py": ("test_restart_keeps_items_history_revision_and_leases",),
        HERE: ("test_holder_continues_and_waiter_waits_when_the_store_restarts",),
    },
    "store away longer than the ttl": {
        COORDINATION / "test_locks.py": ("test_reason_of_a_loss_names_the_failure",),
        COORDINATION / "test_settings.py": ("test_store_that_is_away_changes_nothing_but_the_error",),
        COORDINATION / "test_store.py": ("test_mirror_lists_again_when_the_history_is_gone",),
    },
    "a waiter dies, a wait is cancelled": {
        COORDINATION / "test_locks.py": (
            "test_waiter_that_gives_up_is_not_noticed_by_waiters_after_it",
            "test_waiter_loses_its_place_with_its_lease",
        ),
        COORDINATION / "test_waking.py": ("test_waiters_that_leave_admit_the_waiters_after_them",),
    },
    "wall clock jumps": {
        COORDINATION / "test_schedules.py": ("test_wall_clock_that_jumps_starts_no_instant_twice",),
        HERE: ("test_wall_clock_that_is_moved_a_day_changes_nothing",),
    },
    "an older backup is restored": {
        STORES / "test_copies.py": ("test_restored_store_has_all_items_and_later_revisions",),
    },
    "disk full": {
        STORES / "test_full_disk.py": ("test_write_without_room_is_refused_and_the_rest_continues",),
        HERE: ("test_full_disk_refuses_writes_alone", "test_store_that_cannot_be_written_ends_and_says_so"),
    },
    "file damaged, of a newer schema, or held by another process": {
        STORES / "test_sqlite.py": ("test_damaged_file_is_refused",),
        HERE: ("test_file_that_cannot_be_used_is_exit_code_3", "test_second_process_is_exit_code_3"),
    },
}


@pytest.mark.parametrize("row", ROWS)
def test_row_has_its_tests(row: str) -> None:
    for path, names in ROWS[row].items():
        found = set(re.findall(r"def (test_\w+)", path.read_text(encoding="utf-8")))
        assert all(any(one.startswith(name) for one in found) for name in names), path


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DiskAndClock]:
    with DiskAndClock(tmp_path_factory.mktemp("faults")) as faults:
        yield faults


@pytest.fixture
def program(faults: DiskAndClock, tmp_path: Path) -> Iterator[Program]:
    """`fastrpc store` on a folder, with the disk and the clock of the test."""
    faults.set()
    arguments = ["store", "--address", "tcp://127.0.0.1:0", "--data-dir", "kept", "--json"]
    with Program(["-m", "fastrpc", *arguments], tmp_path, faults.environment, is_anew=True) as program:
        yield program


@asynccontextmanager
async def opened(program: Program) -> AsyncIterator[Store]:
    (url,) = json.loads(program.wait_output(r"^\{.*\}$")[0])["urls"]
    async with open_store(url) as store:
        yield store


async def test_full_disk_refuses_writes_alone(program: Program, faults: DiskAndClock) -> None:
    async with opened(program) as store, store.lease(60) as lease:
        revision = await store.put("k", b"1", lease=lease)
        await store.put("other", b"1")
        # With little space, and with no space, which another program has taken meanwhile.
        for refused, faulty in (("k", {"is_small": True}), ("k", {"write_error": errno.ENOSPC})):
            faults.set(**faulty)  # type: ignore[arg-type]
            with pytest.raises(StoreError, match="the disk of the store is full") as caught:
                await store.put(refused, b"2")
            assert (caught.value.status, caught.value.processed) == (Status.RESOURCE_EXHAUSTED, "no")
            item = await store.get("k")
            assert item is not None
            assert (item.value, item.revision) == (b"1", revision)
            assert await store.backend.renew(lease.id)
        faults.set(is_small=True)
        assert await store.delete("other")
        faults.set()
        assert await store.put("k", b"2", expect=revision, lease=lease) == revision + 3


@pytest.mark.parametrize("fault", ["write_error", "sync_error"])
async def test_store_that_cannot_be_written_ends_and_says_so(
    program: Program, faults: DiskAndClock, tmp_path: Path, fault: str
) -> None:
    async with opened(program) as store:
        await store.put("k", b"1")
        faults.set(**{fault: errno.EIO})  # type: ignore[arg-type]
        with pytest.raises(StoreError, match="the store cannot be written: disk I/O error"):
            # Into the log, then from the log into the file: several times what the log holds, as
            # writers go on while the items are moved.
            for _ in range(512):
                await store.put("other", b"x" * 256 * 1024)
    ended = program.wait()
    assert ended.code == 1
    assert "error: the store cannot be written: disk I/O error" in ended.errors
    # The next process has all that was acknowledged.
    async with LocalStore(SqliteJournal(tmp_path / "kept")) as again:
        item = await again.get("k")
        assert item is not None
        assert item.value == b"1"


async def test_wall_clock_that_is_moved_a_day_changes_nothing(program: Program, faults: DiskAndClock) -> None:
    async with opened(program) as store, store.lock("a", ttl=60) as lock, store.lease(60) as lease:
        revision = await store.put("k", b"", lease=lease)
        for days in (1, -1):
            faults.set(clock_seconds=days * 86_400)
            assert await store.backend.renew(lease.id)
            revision += 1
            assert await store.put("other", b"") == revision
            assert (await store.transact([lock.held()], [])).succeeded
            assert await store.get("k") is not None


async def test_holder_continues_and_waiter_waits_when_the_store_restarts(tmp_path: Path) -> None:
    async with StoreServer("tcp://127.0.0.1:0", data_dir=tmp_path / "store") as server:
        address = server.address
        store = await open_store(server.url).__aenter__()
        lock = await store.lock("a", ttl=60).__aenter__()
        waiting = asyncio.ensure_future(store.lock("a", ttl=60).__aenter__())
        await until_waiting(store, 1)
    async with StoreServer(address, data_dir=tmp_path / "store"):
        await until_waiting(store, 1)
        assert lock.is_held
        assert (await store.transact([lock.held()], [])).succeeded
        assert not waiting.done()
        await lock.__aexit__(None, None, None)
        second = await waiting
        assert second.token > lock.token
        await second.__aexit__(None, None, None)
        await store.__aexit__(None, None, None)


async def until_waiting(store: Store, count: int) -> None:
    """Wait until so many wait for the lock `a`."""
    async with asyncio.timeout(20):
        while (holder := await store.holder("a")) is None or holder.waiting != count:
            pass


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)


def renumber(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 2")


@pytest.mark.parametrize(("spoil", "text"), [(damage, "is damaged"), (renumber, "has schema 2")])
async def test_file_that_cannot_be_used_is_exit_code_3(
    tmp_path: Path, spoil: Callable[[Path], None], text: str
) -> None:
    path = tmp_path / "kept" / "store.db"
    async with LocalStore(SqliteJournal(path.parent)) as store:
        await store.put("k", b"1")
    spoil(path)
    before = path.read_bytes()
    arguments = ["store", "--address", "tcp://127.0.0.1:0", "--data-dir", "kept"]
    ended = await asyncio.to_thread(run_program, ["-m", "fastrpc", *arguments], tmp_path)
    assert (ended.code, ended.output) == (3, "")
    assert text in ended.errors
    assert "fastrpc store restore FILE FOLDER" in ended.errors
    assert path.read_bytes() == before
    assert sorted(one.name for one in path.parent.iterdir()) == ["store.db", "store.revisions"]


def test_second_process_is_exit_code_3(tmp_path: Path) -> None:
    arguments = ["store", "--address", "tcp://127.0.0.1:0", "--data-dir", "kept"]
    with command_line([*arguments, "--json"], tmp_path) as first:
        first.wait_output("urls")
        ended = run_program(["-m", "fastrpc", *arguments], tmp_path)
        assert (ended.code, ended.output) == (3, "")
        assert "another store holds" in ended.errors
        assert "fastrpc store check FOLDER" in ended.errors
        first.signal(signal.SIGTERM)
        assert first.wait().code == 0


class FailingJournal(SqliteJournal):
    """Fails its commits, from one on."""

    is_failing = True

    def commit(self, changes: Sequence[ItemChange | LeaseChange], compacted: int) -> None:
        if self.is_failing:
            raise sqlite3.OperationalError("disk I/O error")
        super().commit(changes, compacted)


async def test_reads_watches_and_waiters_outlast_a_store_that_ended(tmp_path: Path) -> None:
    service = StoreService(tmp_path / "store")
    journal = service._journal = FailingJournal(tmp_path / "store")
    journal.is_failing = False
    async with Server(service, config=store_config(None)) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        store = await open_store(f"store://{address.host}:{address.port}").__aenter__()
        lock = await store.lock("a", ttl=60).__aenter__()
        waiting = asyncio.ensure_future(store.lock("a", ttl=60).__aenter__())
        changes = await store.watch("k", int).__aenter__()
        watching = asyncio.ensure_future(anext(changes))
        await until_waiting(store, 1)
        journal.is_failing = True
        with pytest.raises(StoreError, match="disk I/O error") as caught:
            await store.put("k", 1)
        assert caught.value.processed == "unknown"
        reading = asyncio.ensure_future(store.get("k"))
        await asyncio.sleep(0)
    async with StoreServer(address, data_dir=tmp_path / "store"):
        assert await reading is None
        await store.put("k", 2)
        change = await watching
        assert change.item is not None
        assert change.item.value == 2
        await lock.__aexit__(None, None, None)
        await (await waiting).__aexit__(None, None, None)
        await changes.__aexit__(None, None, None)
        await store.__aexit__(None, None, None)


async def test_health_of_a_store_that_has_ended_is_not_serving(tmp_path: Path) -> None:
    service = StoreService(tmp_path / "store")
    service._journal = FailingJournal(tmp_path / "store")
    async with Server(service, config=store_config(None)) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        async with Client(address) as client, client.stream("fastrpc.health.watch", "fastrpc.store") as told:
            states = aiter(told)
            assert await anext(states) == "SERVING"
            with pytest.raises(CallError, match="disk I/O error"):
                await client.call(StoreService.put, "k", b"")
            assert await anext(states) == "NOT_SERVING"
            assert await client.call("fastrpc.health.check", "") == "NOT_SERVING"
    assert service.failure is not None
    assert service.failure.processed == "unknown"


async def test_store_opened_again_after_a_failure_serves(tmp_path: Path) -> None:
    service = StoreService(tmp_path / "store")
    working, service._journal = service._journal, FailingJournal(tmp_path / "store")
    async with service:
        with pytest.raises(CallError, match="disk I/O error"):
            await service.put("k", b"")
        assert "disk I/O error" in (await service.failed()).message
    service._journal = working
    async with Server(service, config=store_config(None)) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        async with Client(address) as client:
            assert await client.call(StoreService.put, "k", b"") > 0
            assert await client.call("fastrpc.health.check", "fastrpc.store") == "SERVING"
        assert service.failure is None
        assert not service._failed.is_set()
