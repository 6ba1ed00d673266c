"""Power cuts: each content that the disk may have afterwards opens, and has every acknowledged write."""

import copy
import json
import random
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from fastrpc import StoreError
from fastrpc.stores.base import Item, ItemChange, LeaseChange, Saved
from fastrpc.stores.sqlite import SqliteJournal
from tests.conftest import Scale
from tests.support.crash_states import (
    ACKNOWLEDGED,
    Disk,
    Record,
    build_recorder,
    cut_states,
    cut_states_of_each_step,
    recorded,
    write_files,
)
from tests.support.recorded_store import TASKS, number_in, step_of

#: More revisions than any program of these tests makes.
_LEAST_JUMP = 10_000

#: The numbers of the writes that a task has had, of its key and of its pair; None: it is not there.
Numbers = tuple[int | None, int | None]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_recorder(tmp_path_factory.mktemp("recorder"))


def after(numbers: Numbers, number: int) -> Numbers:
    """Return the state of a task after its write of a number."""
    step = step_of(number)
    return (None if step == "delete" else number, number if step == "pair" else numbers[1])


class Expected:
    """The acknowledged writes up to an instant."""

    def __init__(self) -> None:
        self.leases: set[str] = set()
        #: By task: all that it has left so far; the last one is acknowledged.
        self.left: list[list[Numbers]] = [[(None, None)] for _ in range(TASKS)]
        self.next = [0] * TASKS
        #: Task and number of each revision.
        self.revisions: dict[int, tuple[int, int]] = {}
        self.repeated: set[int] = set()

    def take(self, record: Record) -> None:
        """Take an acknowledgement."""
        told = json.loads(record.data)
        if "lease" in told:
            self.leases.add(told["lease"])
            return
        task, number, revision = told["task"], told["number"], told["revision"]
        self.left[task].append(after(self.left[task][-1], number))
        self.next[task] = number + 1
        if revision in self.revisions:
            self.repeated.add(revision)
        if revision:
            self.revisions[revision] = task, number

    def go_on(self, saved: Saved, first: int) -> "Expected":
        """Return the expected state of the next program, which begins with the files after a cut, and this number."""
        found = copy.deepcopy(self)
        found.left = [[left] for left in left_in(saved)]
        found.next = [first] * TASKS
        # A write that was under way may exist, and its revision as well: nothing tells.
        return found

    def faults(self, saved: Saved, sync: str) -> Iterator[str]:
        """Return the differences of a store from the expected state."""
        if self.repeated:
            yield f"the revisions {self.repeated} came twice"
        latest = max(self.revisions, default=0)
        if saved.revision < latest:
            yield f"the revision is {saved.revision}, and {latest} was given"
        for task, found in enumerate(left_in(saved)):
            *earlier, last = self.left[task]
            allowed = {last, after(last, self.next[task]), *(earlier if sync == "normal" else ())}
            if found not in allowed:
                yield f"task {task} has {found}, expected is one of {allowed}"
        if sync == "normal":
            return
        if not self.leases <= {lease.name for lease in saved.leases}:
            yield "a lease is missing"
        revisions = sorted({0, *(change.revision for change in saved.history)})
        steps = [next - one for one, next in pairwise(revisions)]
        # Behind a cut the next revision is above those that were reserved.
        if any(1 < step < _LEAST_JUMP for step in steps):
            yield "the history lacks revisions"
        items, kept = {}, {}
        for change in saved.history:
            items[change.key] = change.item
            if change.item is not None:
                kept[change.revision] = int(change.key.partition("/")[2]), number_in(change.item.value)
        if [item for _, item in sorted(items.items()) if item is not None] != saved.items:
            yield "the history leads to other items"
        if any(kept.get(revision) != told for revision, told in self.revisions.items()):
            yield "a revision is that of another write, or missing"


def left_in(saved: Saved) -> list[Numbers]:
    """Return the state of each task in a store."""
    numbers = {item.key: number_in(item.value) for item in saved.items}
    return [(numbers.get(f"k/{task}"), numbers.get(f"pair/{task}")) for task in range(TASKS)]


def opened(files: Mapping[str, bytes]) -> Saved:
    """Return the content that a store finds in files."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as place:
        folder = Path(place, "store")
        write_files(folder, files)
        journal = SqliteJournal(folder)
        try:
            return journal.open()
        finally:
            journal.close()


def tried(
    library: Path,
    place: Path,
    sync: str,
    count: int,
    chance: random.Random,
    firsts: Sequence[int] = (0, 1000),
) -> list[str]:
    """Cut the power of programs, each of which continues with the files after the cut before; return the faults.

    Args:
        firsts: the first number of each.
    """
    files: Mapping[str, bytes] = {}
    expected = Expected()
    faults: list[str] = []
    for first in firsts:
        options = sync, str(first), "40"
        records = recorded(library, place / str(first), files, "tests.support.recorded_store", *options)
        going_on = files, expected
        end = chance.randrange(count)
        for number, left in enumerate(cut_states(records, files, expected.take, count, chance)):
            try:
                saved = opened(left)
            except StoreError as error:
                faults.append(f"state {number}: {error}")
                continue
            faults += (f"state {number}: {fault}" for fault in expected.faults(saved, sync))
            if number <= end:
                going_on = left, expected.go_on(saved, first + 1000)
        files, expected = going_on
    return faults


def test_acknowledged_writes_survive_a_power_cut(library: Path, tmp_path: Path, scale: Scale) -> None:
    assert tried(library, tmp_path, "full", 25 if scale.factor <= 1 else scale(100), scale.random(1)) == []


def test_a_cut_while_a_store_is_closed_loses_nothing(library: Path, tmp_path: Path, scale: Scale) -> None:
    records = recorded(library, tmp_path / "store", {}, "tests.support.recorded_store", "full", "0", "5")
    expected, chance = Expected(), scale.random(4)
    # Behind the last acknowledgement: the last checkpoint, the note of a clean end, the removal of the log.
    last = max(at for at, record in enumerate(records) if record.kind == ACKNOWLEDGED) + 1
    disk = Disk({})
    for at, record in enumerate(records):
        if record.kind == ACKNOWLEDGED:
            expected.take(record)
        else:
            disk.apply(record)
        if at >= last:
            for _ in range(5):
                assert list(expected.faults(opened(disk.after_cut(chance)), "full")) == []


def left_open(place: Path, *, is_torn: bool = False) -> dict[str, bytes]:
    """Return the files of a killed store: an item, and a log with two leases and, if it is torn, a part of a third."""
    journal = SqliteJournal(place)
    journal.open()
    journal.commit([ItemChange("k/0", 1, Item("k/0", b"0", 1))], 0)
    journal.close()
    journal.open()
    for name in "ab":
        journal.commit([LeaseChange(name, 30.0)], 0)
    files = {path.name: path.read_bytes() for path in place.iterdir() if path.suffix != ".db-shm"}
    if is_torn:
        journal.commit([LeaseChange("torn", 30.0)], 0)
        whole = (place / "store.db-wal").read_bytes()
        files["store.db-wal"] = whole[:-1] + bytes([whole[-1] ^ 1])
    journal.close()
    return files


def openings(
    library: Path, place: Path, files: Mapping[str, bytes], chance: random.Random
) -> Iterator[Mapping[str, bytes]]:
    """Yield what cuts leave at each step of a program that opens a store and closes it."""
    records = recorded(library, place, files, "tests.support.recorded_opening")
    yield from cut_states_of_each_step(records, files, 6, chance)


def test_a_cut_while_a_torn_log_is_emptied_loses_no_history(
    library: Path, tmp_path: Path, scale: Scale, caplog: pytest.LogCaptureFixture
) -> None:
    files = left_open(tmp_path / "alive", is_torn=True)
    for left in openings(library, tmp_path / "store", files, scale.random(5)):
        saved = opened(left)
        assert [change.revision for change in saved.history] == [1]
        assert [lease.name for lease in saved.leases] == ["a", "b"]
    assert "has lost its last commits" not in caplog.text


def test_a_cut_while_a_store_that_was_closed_is_opened_loses_no_history(
    library: Path, tmp_path: Path, scale: Scale, caplog: pytest.LogCaptureFixture
) -> None:
    write_files(tmp_path / "alive", left_open(tmp_path / "killed"))
    SqliteJournal(tmp_path / "alive").open()
    journal = SqliteJournal(tmp_path / "alive")
    journal.open()
    journal.commit([LeaseChange("c", 30.0)], 0)
    journal.close()
    files = {path.name: path.read_bytes() for path in (tmp_path / "alive").iterdir()}
    assert "store.db-wal" not in files
    for left in openings(library, tmp_path / "store", files, scale.random(6)):
        assert [change.revision for change in opened(left).history] == [1]
    assert caplog.text == ""


@pytest.mark.parametrize("log", ["missing", "torn"])
def test_a_cut_while_lost_commits_are_found_keeps_no_history(
    library: Path, tmp_path: Path, scale: Scale, log: str
) -> None:
    """The lost commits are of leases, which have no revision: only the first opening can see it."""
    files = left_open(tmp_path / "alive", is_torn=True)
    whole = files["store.db-wal"]
    files["store.db-wal"] = whole[: len(whole) // 2] if log == "torn" else b""
    for left in openings(library, tmp_path / "store", files, scale.random(7)):
        saved = opened(left)
        assert saved.history == []
        assert saved.compacted == saved.revision > 1_000_000


def test_a_cut_while_the_store_of_an_earlier_version_is_opened_gives_no_revision_twice(
    library: Path, tmp_path: Path, scale: Scale
) -> None:
    files = left_open(tmp_path / "alive", is_torn=True)
    del files["store.revisions"]
    for left in openings(library, tmp_path / "store", files, scale.random(8)):
        assert opened(left).revision > 1_000_000


def test_store_that_may_lose_commits_gives_no_revision_twice(
    library: Path, tmp_path: Path, scale: Scale
) -> None:
    assert tried(library, tmp_path, "normal", scale(5), scale.random(2)) == []


def test_commit_without_a_sync_is_found(library: Path, tmp_path: Path, scale: Scale) -> None:
    # Of 20 states one alone may show it.
    faults = tried(library, tmp_path, "unsynced", 80, scale.random(3), [0])
    # The log shows a bad frame before later commits; otherwise missing items show it.
    assert any("expected is one of" in fault or "is damaged" in fault for fault in faults)
