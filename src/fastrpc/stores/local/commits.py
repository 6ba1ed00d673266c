"""Group commit into a journal: all changes that arrive during a commit form the next one.

It knows only the size of a change: items of a store and messages of a broker are kept by the same rules. A commit
without room is undone, and its changes are refused. Any other failed commit is the last one.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextvars import Context
from functools import partial
from typing import Final, Generic, Protocol, TypeVar

from fastrpc.errors import FastRPCError
from fastrpc.status import Status
from fastrpc.stores.local.journal_thread import JournalThread
from fastrpc.user_code import as_error

__all__ = ["CommitJournal", "Commits", "PendingChange"]


#: Waits that end in one turn of the loop.
_WOKEN_AT_ONCE: Final = 16


class PendingChange(Protocol):
    """A change that waits for its commit."""

    @property
    def size(self) -> int:
        """The size of the change in the journal, in bytes."""


Change = TypeVar("Change", bound=PendingChange)
Change_contra = TypeVar("Change_contra", bound=PendingChange, contravariant=True)
Kept = TypeVar("Kept")
Kept_co = TypeVar("Kept_co", covariant=True)
Found = TypeVar("Found")


class CommitJournal(Protocol[Change_contra, Kept_co]):
    """Keeps changes across restarts. One thread calls it."""

    def open(self) -> Kept_co:
        """Return what is kept."""

    def commit(self, changes: Sequence[Change_contra]) -> None:
        """Keep changes, all or none.

        A FastRPCError with RESOURCE_EXHAUSTED: there is no room, and none is kept. After any other error they may be
        kept.
        """

    def close(self) -> None: ...

    def room(self) -> int:
        """Return the room in bytes; negative: no room is left. Any thread may ask."""


class _Commit:
    """One commit that is under way or due. The cancel of one wait ends neither it nor the other waits."""

    __slots__ = ("_is_kept", "_waiting")

    def __init__(self) -> None:
        self._is_kept: bool | None = None
        self._waiting: list[asyncio.Future[bool]] = []

    def settled(self) -> "asyncio.Future[bool]":
        """Return a future of whether its changes were kept."""
        ended: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if self._is_kept is None:
            self._waiting.append(ended)
        else:
            ended.set_result(bool(self._is_kept))
        return ended

    def end(self, is_kept: bool, on_woken: Callable[[], None]) -> None:
        """Wake the waiting callers; call a function once all of them have gone on."""
        self._is_kept = is_kept
        self._wake(on_woken)

    def _wake(self, on_woken: Callable[[], None]) -> None:
        """Wake some waiting callers, and a turn later the others: callers go on while others are still answered."""
        if not self._waiting:
            on_woken()
            return
        for ended in self._waiting[:_WOKEN_AT_ONCE]:
            if not ended.done():
                ended.set_result(bool(self._is_kept))
        del self._waiting[:_WOKEN_AT_ONCE]
        asyncio.get_running_loop().call_soon(self._wake, on_woken, context=Context())


class Commits(Generic[Change, Kept]):
    """Passes changes on to a journal, in its thread, and reports each outcome to its owner, in the loop.

    Args:
        name: names the thread.
        keep: called with the changes of a commit that was kept, in their order.
        undo: called with the changes that were not kept, as there is no room for them, in their order.
        fail: called with the error of a commit that may have been kept; no other commit follows.
        complete: called in the loop with the changes of the next commit; returns the changes for the journal.
    """

    def __init__(
        self,
        journal: CommitJournal[Change, Kept],
        name: str,
        *,
        keep: Callable[[Sequence[Change]], None],
        undo: Callable[[Sequence[Change]], None],
        fail: Callable[[Exception], None],
        complete: Callable[[Sequence[Change]], Sequence[Change]] = lambda changes: changes,
    ) -> None:
        self._journal = journal
        self._keep = keep
        self._undo = undo
        self._fail = fail
        self._complete = complete
        self._thread = JournalThread(name)
        # Changes that no commit has taken yet, and the result of the latest commit that is under way or due: whether
        # they are kept.
        self._pending: list[Change] = []
        self._commit: _Commit | None = None
        # Bytes of changes that are not committed.
        self._bytes = 0
        # The room of the journal, as of the last question after the latest commit; None: it has to be asked.
        self._room: int | None = None
        # Whether a commit is under way or due, or the callers of the latest one go on.
        self._is_committing = False
        self._is_over = False
        self._finishing: list[asyncio.Future[None]] = []

    async def open(self) -> Kept:
        """Open the journal; return the kept content."""
        try:
            return await self._thread.result(self._journal.open)
        except BaseException:
            # A cancelled wait leaves the thread opening it.
            self.close()
            raise

    async def finish(self) -> None:
        """Return once there is no change left to commit."""
        while self._is_committing:
            ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._finishing.append(ended)
            await ended

    def close(self) -> "asyncio.Future[None]":
        """Accept no more changes; the future is done once the thread has closed the journal, after a running commit."""
        self._is_over = True
        closing = self._thread.result(self._journal.close)
        self._thread.end()
        return closing

    async def read(self, look: Callable[[], Found]) -> Found:
        """Return what a function finds, called in the journal's thread between two commits."""
        return await self._thread.result(look)

    def is_full(self, size: int) -> bool:
        """Return whether `size` bytes do not fit beside the bytes that wait for their commit.

        The journal is asked once for each commit, not for each write. While it is full each write asks again.
        """
        needed = self._bytes + size
        if self._room is None or self._room < needed:
            self._room = self._journal.room()
        if self._room >= needed:
            return False
        self._room = None
        return True

    def add(self, changes: Iterable[Change]) -> None:
        """Hand changes to the next commit."""
        for one in changes:
            self.add_one(one)

    def add_one(self, change: Change) -> None:
        """Hand a change to the next commit."""
        if not self._pending:
            self._commit = _Commit()
            if not self._is_committing:
                self._is_committing = True
                self._begin_soon()
        self._pending.append(change)
        self._bytes += change.size

    @property
    def is_waiting(self) -> bool:
        """Whether a commit is under way or due."""
        return self._commit is not None

    def settled(self) -> "asyncio.Future[bool]":
        """Return a future of whether all changes so far were kept; one of them is waiting."""
        assert self._commit is not None
        return self._commit.settled()

    def _begin_soon(self) -> None:
        """Begin the next commit in the next turn of the loop."""
        asyncio.get_running_loop().call_soon(self._begin, context=Context())

    def _begin(self) -> None:
        """Begin the next commit."""
        batch, self._pending, commit = self._complete(self._pending), [], self._commit
        assert commit is not None
        if self._is_over:
            self._end(batch, commit, is_kept=False)
        else:
            self._thread.call(
                partial(self._journal.commit, batch), partial(self._on_committed, batch, commit)
            )

    def _on_committed(
        self, batch: Sequence[Change], commit: _Commit, _: None, error: BaseException | None
    ) -> None:
        later = None
        if error is None:
            self._keep(batch)
        elif isinstance(error, FastRPCError) and error.status is Status.RESOURCE_EXHAUSTED:
            later = self._commit if self._pending else None
            self._undo_all(batch)
        else:
            self._is_over = True
            self._fail(as_error(error, "the journal"))
        self._end(batch, commit, later, is_kept=error is None)

    def _undo_all(self, batch: Sequence[Change]) -> None:
        """Undo a commit without room and all later changes, which were based on it."""
        later, self._pending = self._pending, []
        self._bytes -= sum(one.size for one in later)
        self._undo([*batch, *later])

    def _end(
        self, batch: Sequence[Change], commit: _Commit, later: _Commit | None = None, *, is_kept: bool
    ) -> None:
        """Tell the waits for a commit that it has ended, and begin the next one.

        The next commit begins a turn after the woken callers have gone on, and their answers leave in that turn. The
        thread of a commit shares the interpreter with the loop, and would hold up the answers.

        Args:
            later: has the waits for changes that were undone with the commit.
        """
        self._bytes -= sum(one.size for one in batch)
        self._room = None
        if not self._pending:
            self._commit = None
        commit.end(is_kept, self._go_on if later is None else partial(later.end, is_kept, self._go_on))

    def _go_on(self) -> None:
        """Begin the next commit, or rest: all callers of the latest commit have gone on."""
        if self._pending:
            self._begin_soon()
            return
        self._is_committing = False
        finishing, self._finishing = self._finishing, []
        for wait in finishing:
            if not wait.done():
                wait.set_result(None)
