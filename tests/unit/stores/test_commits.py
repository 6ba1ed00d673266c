"""Group commit of changes that are no items: of messages and acknowledgements, as a broker keeps them."""

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from fastrpc import BrokerError, Status
from fastrpc.stores.local.commits import Commits
from tests.support.waiting import eventually

FULL = BrokerError("the disk is full", status=Status.RESOURCE_EXHAUSTED)


@dataclass(frozen=True)
class Message:
    """A change with bytes."""

    content: bytes

    @property
    def size(self) -> int:
        return len(self.content)


@dataclass(frozen=True)
class Acknowledgement:
    """A change without bytes."""

    number: int
    size: int = 0


Change = Message | Acknowledgement


class NotedJournal:
    """Notes each commit, which waits while commits are held and may fail."""

    def __init__(self) -> None:
        self.commits: list[list[Change]] = []
        self.error: Exception | None = None
        self.free, self.looks = 100, 0
        self.is_closed = False
        self.is_committing, self.may_commit = threading.Event(), threading.Event()
        self.may_commit.set()

    def open(self) -> str:
        return "kept so far"

    def commit(self, changes: Sequence[Change]) -> None:
        self.is_committing.set()
        self.may_commit.wait(20.0)
        if self.error is not None:
            raise self.error
        self.commits.append(list(changes))

    def close(self) -> None:
        self.is_closed = True

    def room(self) -> int:
        self.looks += 1
        return self.free


class Owner:
    """A broker's side of its commits: the reports that it got."""

    def __init__(self, journal: NotedJournal) -> None:
        self.kept: list[Change] = []
        self.undone: list[Change] = []
        self.errors: list[Exception] = []
        self.commits: Commits[Change, str] = Commits(
            journal, "fastrpc broker", keep=self.kept.extend, undo=self.undone.extend, fail=self.errors.append
        )

    async def add(self, *changes: Change) -> bool:
        self.commits.add(changes)
        return await self.commits.settled()


def no_end(outcome: object) -> None:
    raise AssertionError(f"a commit has failed: {outcome}")


@pytest.fixture
def journal() -> NotedJournal:
    return NotedJournal()


@pytest.fixture
def owner(journal: NotedJournal) -> Owner:
    return Owner(journal)


async def while_a_commit_is_held(journal: NotedJournal, owner: Owner) -> "asyncio.Future[bool]":
    """Begin a commit of one message, which ends once `may_commit` is set."""
    journal.may_commit.clear()
    first = asyncio.ensure_future(owner.add(Message(b"first")))
    await eventually(journal.is_committing.is_set)
    return first


async def test_changes_that_arrive_during_a_commit_are_the_next_one_in_their_order(
    journal: NotedJournal, owner: Owner
) -> None:
    assert await owner.commits.open() == "kept so far"
    first = await while_a_commit_is_held(journal, owner)
    later = [asyncio.ensure_future(owner.add(Message(b"later"), Acknowledgement(1)))]
    later.append(asyncio.ensure_future(owner.add(Acknowledgement(2))))
    await asyncio.sleep(0)
    assert owner.kept == []
    journal.may_commit.set()
    assert await asyncio.gather(first, *later) == [True, True, True]
    assert journal.commits == [
        [Message(b"first")],
        [Message(b"later"), Acknowledgement(1), Acknowledgement(2)],
    ]
    assert owner.kept == [change for commit in journal.commits for change in commit]
    assert not owner.commits.is_waiting
    await owner.commits.close()
    assert journal.is_closed


@pytest.mark.parametrize("count", [1, 64])
async def test_the_answers_to_a_commit_leave_before_the_next_one_begins(
    journal: NotedJournal, owner: Owner, count: int
) -> None:
    events: list[str] = []

    def begin(changes: Sequence[Change]) -> Sequence[Change]:
        events.append("commit")
        return changes

    async def answer(number: int) -> None:
        await owner.add(Acknowledgement(number))
        # A server writes its answers at the end of the turn.
        asyncio.get_running_loop().call_soon(events.append, "answer")

    owner.commits = Commits(
        journal, "fastrpc broker", keep=owner.kept.extend, undo=no_end, fail=no_end, complete=begin
    )
    journal.may_commit.clear()
    answers = [asyncio.ensure_future(answer(number)) for number in range(count)]
    await eventually(journal.is_committing.is_set)
    answers.append(asyncio.ensure_future(answer(count)))
    await asyncio.sleep(0)
    journal.may_commit.set()
    await asyncio.gather(*answers)
    await asyncio.sleep(0)
    assert events == ["commit", *["answer"] * count, "commit", "answer"]


async def test_callers_that_write_again_after_a_commit_share_the_next_one(
    journal: NotedJournal, owner: Owner
) -> None:
    async def write_twice(number: int) -> None:
        await owner.add(Acknowledgement(number))
        await owner.add(Acknowledgement(number))

    await asyncio.gather(*map(write_twice, range(64)))
    assert [len(commit) for commit in journal.commits] == [64, 64]


async def test_a_commit_without_waits_is_followed_in_the_next_turn(
    journal: NotedJournal, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.may_commit.clear()
    owner.commits.add([Acknowledgement(1)])
    await eventually(journal.is_committing.is_set)
    journal.is_committing.clear()
    owner.commits.add([Acknowledgement(2)])
    noted: list[int] = []
    turns = 0

    def note(changes: Sequence[Change]) -> Sequence[Change]:
        noted.append(turns)
        return changes

    monkeypatch.setattr(owner.commits, "_keep", note)
    monkeypatch.setattr(owner.commits, "_complete", note)
    journal.may_commit.set()
    while len(noted) < 2:
        turns += 1
        await asyncio.sleep(0)
    end_of_first, begin_of_next = noted
    assert begin_of_next - end_of_first <= 1
    await owner.commits.finish()
    await owner.commits.close()


async def test_a_commit_without_room_is_undone_with_the_changes_after_it_and_others_follow(
    journal: NotedJournal, owner: Owner
) -> None:
    journal.error = FULL
    first = await while_a_commit_is_held(journal, owner)
    later = asyncio.ensure_future(owner.add(Message(b"later")))
    await asyncio.sleep(0)
    journal.may_commit.set()
    assert [*await asyncio.gather(first, later)] == [False, False]
    assert owner.undone == [Message(b"first"), Message(b"later")]
    assert (owner.kept, owner.errors) == ([], [])
    journal.error = None
    assert await owner.add(Acknowledgement(1))
    assert owner.kept == [Acknowledgement(1)]
    await owner.commits.close()


@pytest.mark.parametrize("error", [OSError("sync failed"), BrokerError("sync failed")])
async def test_a_commit_that_failed_otherwise_is_reported_and_is_the_last_one(
    journal: NotedJournal, owner: Owner, error: Exception
) -> None:
    journal.error = error
    assert not await owner.add(Message(b"lost"))
    assert owner.errors == [error]
    journal.error = None
    assert not await owner.add(Message(b"later"))
    assert (journal.commits, owner.kept, owner.undone) == ([], [], [])
    await owner.commits.close()


async def test_bytes_that_wait_for_their_commit_take_room_which_is_asked_once_for_each_commit(
    journal: NotedJournal, owner: Owner
) -> None:
    first = await while_a_commit_is_held(journal, owner)
    assert not owner.commits.is_full(95)
    assert not owner.commits.is_full(1)
    assert journal.looks == 1
    assert owner.commits.is_full(96)
    # A change without bytes finds room as long as other changes do.
    assert not owner.commits.is_full(0)
    journal.may_commit.set()
    assert await first
    assert not owner.commits.is_full(100)
    await owner.commits.close()


async def test_a_cancelled_wait_ends_no_commit_and_no_other_wait(journal: NotedJournal, owner: Owner) -> None:
    first = await while_a_commit_is_held(journal, owner)
    other = asyncio.ensure_future(owner.commits.settled())
    await asyncio.sleep(0)
    first.cancel()
    journal.may_commit.set()
    assert await other
    assert owner.kept == [Message(b"first")]
    await owner.commits.finish()
    await owner.commits.close()
