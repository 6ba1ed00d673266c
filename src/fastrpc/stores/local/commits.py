"""Group commits to a journal: all changes that arrive during a commit form the next commit.

Stores and brokers use it, so it knows only the size of a change. If the journal is full, a commit is undone, and its
changes are refused. After any other failed commit there is no further commit.
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


#: Most waiting callers that are woken in one iteration of the loop.
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
    """A journal that keeps changes across restarts. One thread calls it."""

    def open(self) -> Kept_co:
        """Return what is kept."""

    def commit(self, changes: Sequence[Change_contra]) -> None:
        """Write changes, all or none.

        FastRPCError with RESOURCE_EXHAUSTED: the journal is full, and no change is kept. After any other error the
        changes may be kept.
        """

    def close(self) -> None: ...

    def room(self) -> int:
        """Return the free space in bytes; negative if the journal is full. Any thread may call it."""


class _Commit:
    """A commit that is due or in progress. Cancelling a waiting caller does not affect the commit or other callers."""

    __slots__ = ("_is_kept", "_waiting")

    def __init__(self) -> None:
        self._is_kept: bool | None = None
        self._waiting: list[asyncio.Future[bool]] = []

    def settled(self) -> "asyncio.Future[bool]":
        """Return a future whose result says whether the changes were kept."""
        ended: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if self._is_kept is None:
            self._waiting.append(ended)
        else:
            ended.set_result(bool(self._is_kept))
        return ended

    def end(self, is_kept: bool, on_woken: Callable[[], None]) -> None:
        """Wake the waiting callers; call `on_woken` once all of them have continued."""
        self._is_kept = is_kept
        self._wake(on_woken)

    def _wake(self, on_woken: Callable[[], None]) -> None:
        """Wake some callers, and others in later iterations of the loop, so that the first can continue earlier."""
        if not self._waiting:
            on_woken()
            return
        for ended in self._waiting[:_WOKEN_AT_ONCE]:
            if not ended.done():
                ended.set_result(bool(self._is_kept))
        del self._waiting[:_WOKEN_AT_ONCE]
        asyncio.get_running_loop().call_soon(self._wake, on_woken, context=Context())


class Commits(Generic[Change, Kept]):
    """Passes changes to a journal, in the journal's thread, and reports the outcomes to the owner, in the loop.

    Args:
        name: the name of the thread.
        keep: called with the changes of a commit that was kept, in order.
        undo: called with the changes that were not kept because the journal is full, in order.
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
        # `_pending`: changes that are in no commit yet. `_commit`: the latest commit that is due or in progress.
        self._pending: list[Change] = []
        self._commit: _Commit | None = None
        # Bytes of all changes that are not committed yet.
        self._bytes = 0
        # The free space of the journal if it was queried since the latest commit, else None.
        self._room: int | None = None
        # True while a commit is due or in progress, or while callers of the latest commit are being woken.
        self._is_committing = False
        self._is_over = False
        self._finishing: list[asyncio.Future[None]] = []

    async def open(self) -> Kept:
        """Open the journal; return its content."""
        try:
            return await self._thread.result(self._journal.open)
        except BaseException:
            # If this was cancelled, the thread may still be opening the journal: close it afterwards.
            self.close()
            raise

    async def finish(self) -> None:
        """Wait until all changes are committed."""
        while self._is_committing:
            ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._finishing.append(ended)
            await ended

    def close(self) -> "asyncio.Future[None]":
        """Accept no more changes. The future is done once the running commit has ended and the journal is closed."""
        self._is_over = True
        closing = self._thread.result(self._journal.close)
        self._thread.end()
        return closing

    async def read(self, look: Callable[[], Found]) -> Found:
        """Call a function in the journal's thread, between two commits; return its result."""
        return await self._thread.result(look)

    def is_full(self, size: int) -> bool:
        """Return whether `size` bytes do not fit in addition to the bytes that wait for their commit.

        The free space is queried once per commit and not for each write. While the journal is full, each write queries
        it.
        """
        needed = self._bytes + size
        if self._room is None or self._room < needed:
            self._room = self._journal.room()
        if self._room >= needed:
            return False
        self._room = None
        return True

    def add(self, changes: Iterable[Change]) -> None:
        """Add changes to the next commit."""
        for one in changes:
            self.add_one(one)

    def add_one(self, change: Change) -> None:
        """Add a change to the next commit."""
        if not self._pending:
            self._commit = _Commit()
            if not self._is_committing:
                self._is_committing = True
                self._begin_soon()
        self._pending.append(change)
        self._bytes += change.size

    @property
    def is_waiting(self) -> bool:
        """True if a commit is due or in progress."""
        return self._commit is not None

    def settled(self) -> "asyncio.Future[bool]":
        """Return a future whose result says whether all changes so far were kept. Requires `is_waiting`."""
        assert self._commit is not None
        return self._commit.settled()

    def _begin_soon(self) -> None:
        """Start the next commit in the next iteration of the loop."""
        asyncio.get_running_loop().call_soon(self._begin, context=Context())

    def _begin(self) -> None:
        """Start the next commit."""
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
        """Undo a commit that did not fit, and all later changes, which depend on it."""
        later, self._pending = self._pending, []
        self._bytes -= sum(one.size for one in later)
        self._undo([*batch, *later])

    def _end(
        self, batch: Sequence[Change], commit: _Commit, later: _Commit | None = None, *, is_kept: bool
    ) -> None:
        """Wake the callers of a commit, then start the next commit.

        The next commit starts one iteration of the loop after the woken callers have continued, so that their answers
        are sent before. Otherwise the thread of the commit would compete with the loop for the GIL and delay them.

        Args:
            later: the commit of later changes that were undone, too.
        """
        self._bytes -= sum(one.size for one in batch)
        self._room = None
        if not self._pending:
            self._commit = None
        commit.end(is_kept, self._go_on if later is None else partial(later.end, is_kept, self._go_on))

    def _go_on(self) -> None:
        """Start the next commit, if any, after all callers of the latest commit have continued."""
        if self._pending:
            self._begin_soon()
            return
        self._is_committing = False
        finishing, self._finishing = self._finishing, []
        for wait in finishing:
            if not wait.done():
                wait.set_result(None)
