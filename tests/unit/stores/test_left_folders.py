"""Folders that nobody closes: the program ends, the store is garbage, or a fork has it. No commit counts as lost."""

import contextlib
import gc
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from fastrpc import StoreError
from fastrpc.stores.base import Item, ItemChange, Saved
from fastrpc.stores.local import LocalStore
from fastrpc.stores.sqlite import SqliteJournal
from fastrpc.stores.sqlite.checkpoints import Checkpoints
from tests.support.forking import in_child
from tests.support.source_tree import ROOT

#: Seconds for a program: a hanging program fails.
WAIT_SECONDS = 60

#: Keeps three items in the folder of the first argument, and leaves the store open.
LEAVING = """
import asyncio, os, sys
from fastrpc.stores.local import LocalStore
from fastrpc.stores.sqlite import SqliteJournal

async def main():
    store = await LocalStore(SqliteJournal(sys.argv[1], sync=sys.argv[2])).__aenter__()
    for number in range(3):
        await store.put(f"k/{number}", b"%d" % number)
    return store

loop = asyncio.new_event_loop()
store = loop.run_until_complete(main())
"""

#: Forks before it closes its store. When its input ends, the child may open the folder, and ends as usual: a later
#: process has the folder.
FORKING = """
import os, sys
from fastrpc import StoreError
from fastrpc.stores.base import Item, ItemChange, LeaseChange
from fastrpc.stores.sqlite import SqliteJournal

journal = SqliteJournal(sys.argv[1])
journal.open()
journal.commit([ItemChange("k/0", 1, Item("k/0", b"0", 1))], 0)
if os.fork() == 0:
    sys.stdin.buffer.read()
    if len(sys.argv) > 2:
        try:
            again = SqliteJournal(sys.argv[1])
            again.commit([LeaseChange(f"a{again.open().revision}", 30.0)], 0)
        except StoreError as error:
            print(error, flush=True)
    sys.exit()
journal.close()
"""

#: Forks while a thread is in the middle of a commit; prints how its child ended.
FORKING_IN_A_COMMIT = """
import os, sys, threading
from pathlib import Path
from fastrpc.stores.sqlite.folder import SqliteFolder
from fastrpc.stores.sqlite.tables import StoreTables

folder = SqliteFolder(Path(sys.argv[1]), StoreTables())
folder.open(lambda connection: None)
has_begun, may_go_on = threading.Event(), threading.Event()

def hold(connection):
    def wait():
        has_begun.set()
        may_go_on.wait()
        return 1

    connection.create_function("held", 0, wait)
    connection.execute("UPDATE revisions SET latest = held()")

committing = threading.Thread(target=lambda: folder.commit(hold, number=1, size=1))
committing.start()
has_begun.wait()
child = os.fork()
if child == 0:
    del folder
    sys.exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
may_go_on.set()
committing.join()
folder.close()
"""

#: Leaves its store to the collector while it has a lock of `threading` and the thread of a pass ends, which needs it.
COLLECTING = """
import gc, sys, threading
from fastrpc.stores.base import Item, ItemChange
from fastrpc.stores.sqlite import SqliteJournal, checkpoints

checkpoints._LOG_BYTES = 1
has_begun, may_go_on, move = threading.Event(), threading.Event(), checkpoints.Checkpoints._move_with

def held(part, mover):
    has_begun.set()
    may_go_on.wait()
    move(part, mover)

checkpoints.Checkpoints._move_with = held
journal = SqliteJournal(sys.argv[1])
journal.open()
journal.commit([ItemChange("k/0", 1, Item("k/0", b"0", 1))], 0)
has_begun.wait()
(passing,) = (one for one in threading.enumerate() if one.name.startswith("checkpoint"))
with threading._active_limbo_lock:
    may_go_on.set()
    # The arguments of the thread keep the folder until the pass has ended.
    while hasattr(passing, "_args"):
        pass
    del journal
    gc.collect()
"""

#: Ends by a Ctrl-C while it ends, before its store is closed.
INTERRUPTED = """
import weakref

def interrupt():
    raise KeyboardInterrupt

class Owner:
    pass

owner = Owner()
weakref.finalize(owner, interrupt)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


def opened(folder: Path, sync: Literal["full", "normal"] = "full") -> Saved:
    journal = SqliteJournal(folder, sync=sync)
    try:
        return journal.open()
    finally:
        journal.close()


def commit(journal: SqliteJournal, revision: int) -> None:
    key = f"k/{revision}"
    journal.commit([ItemChange(key, revision, Item(key, b"v", revision))], 0)


def run(program: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=WAIT_SECONDS, check=False
    )


@contextlib.contextmanager
def no_descriptors() -> Iterator[None]:
    """Refuse each new file of this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("sync", ["full", "normal"])
@pytest.mark.parametrize(
    ("end", "status"), [("", 0), ("sys.exit(3)", 3), ("raise ValueError", 1), ("del store, loop", 0)]
)
def test_a_program_that_ends_without_a_close_loses_neither_commits_nor_history(
    folder: Path, caplog: pytest.LogCaptureFixture, end: str, status: int, sync: Literal["full", "normal"]
) -> None:
    assert run(LEAVING + end, str(folder), sync).returncode == status
    saved = opened(folder, sync)
    assert [change.revision for change in saved.history] == [1, 2, 3]
    assert (saved.revision, saved.compacted, caplog.text) == (3, 0, "")


def test_a_program_that_ends_at_once_leaves_its_log(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    run(LEAVING + "os._exit(0)", str(folder), "full")
    assert (folder / "store.db-wal").exists()
    assert [change.revision for change in opened(folder).history] == [1, 2, 3]
    assert caplog.text == ""


@pytest.mark.parametrize("has_cycle", [False, True])
def test_a_journal_that_is_garbage_is_closed(
    folder: Path, caplog: pytest.LogCaptureFixture, has_cycle: bool
) -> None:
    journal = SqliteJournal(folder)
    journal.open()
    commit(journal, 1)
    if has_cycle:
        # The collector may finalize the connection of a cycle before its owner.
        vars(journal)["cycle"] = journal
    del journal
    gc.collect()
    saved = opened(folder)
    assert ([change.revision for change in saved.history], saved.revision, caplog.text) == ([1], 1, "")


@pytest.mark.parametrize(("options", "told"), [([], b""), (["open"], b"when this process was forked")])
def test_a_forked_child_leaves_the_log_of_a_later_process(
    folder: Path, options: list[str], told: bytes
) -> None:
    command = [sys.executable, "-c", FORKING, str(folder), *options]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as forking:
        assert forking.wait(WAIT_SECONDS) == 0
        assert forking.stdin is not None
        assert forking.stdout is not None
        run(LEAVING + "os._exit(0)", str(folder), "full")
        log = (folder / "store.db-wal").read_bytes()
        forking.stdin.close()
        # The child has the other end until it ends.
        output = forking.stdout.read()
        assert told in output
        assert bool(told) == bool(output)
    assert (folder / "store.db-wal").read_bytes() == log
    assert [item.key for item in opened(folder).items] == ["k/0", "k/1", "k/2"]


def test_a_folder_with_a_connection_that_lives_on_is_not_opened_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(part: Checkpoints) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    journal = SqliteJournal(folder)
    journal.open()
    commit(journal, 1)
    with monkeypatch.context() as failing, no_descriptors():
        failing.setattr(Checkpoints, "_moved", fail)
        journal.close()
    run(LEAVING + "os._exit(0)", str(folder), "full")
    with pytest.raises(StoreError, match="could not be closed"):
        journal.open()
    keys = "print(*[item.key for item in SqliteJournal(sys.argv[1]).open().items])"
    reading = run(f"import sys; from fastrpc.stores.sqlite import SqliteJournal; {keys}", str(folder))
    assert reading.stdout == "k/0 k/1 k/2\n"


def test_a_program_whose_end_is_interrupted_leaves_its_log(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert "KeyboardInterrupt" in run(LEAVING + INTERRUPTED, str(folder), "full").stderr
    assert [change.revision for change in opened(folder).history] == [1, 2, 3]
    assert caplog.text == ""


def test_the_collector_closes_a_journal_as_the_thread_of_its_pass_ends(folder: Path) -> None:
    assert run(COLLECTING, str(folder)).returncode == 0
    assert opened(folder).revision == 1


def test_a_child_that_was_forked_during_a_commit_ends(folder: Path) -> None:
    assert run(FORKING_IN_A_COMMIT, str(folder)).stdout == "7\n"
    assert opened(folder).revision == 1


def test_a_forked_child_has_no_open_folder(folder: Path) -> None:
    journal = SqliteJournal(folder)
    journal.open()

    def use() -> None:
        with pytest.raises(StoreError, match="is closed"):
            commit(journal, 1)
        journal.close()

    in_child(use)
    commit(journal, 1)
    journal.close()
    assert opened(folder).revision == 1


def test_the_log_stays_after_an_error_without_descriptors(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(part: Checkpoints) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    journal = SqliteJournal(folder)
    journal.open()
    commit(journal, 1)
    log = (folder / "store.db-wal").read_bytes()
    monkeypatch.setattr(Checkpoints, "_moved", fail)
    with no_descriptors():
        journal.close()
    assert (folder / "store.db-wal").read_bytes() == log


async def test_no_write_is_acknowledged_after_the_log_was_removed(folder: Path) -> None:
    async with LocalStore(SqliteJournal(folder)) as store:
        await store.put("k/0", b"")
        (folder / "store.db-wal").unlink()
        with pytest.raises(StoreError, match=r"another program has removed .*store\.db-wal"):
            await store.put("k/1", b"")
    # The end of the store moves its commits into the file.
    assert [item.key for item in opened(folder).items] == ["k/0", "k/1"]


async def test_the_first_commit_needs_no_descriptor(folder: Path) -> None:
    async with LocalStore(SqliteJournal(folder)) as store:
        with no_descriptors():
            assert await store.put("k", b"") == 1
