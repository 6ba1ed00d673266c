"""The latest changes of a store, and the tasks that wait for further changes."""

import asyncio
import bisect
import math
from collections.abc import Sequence
from typing import Final, Protocol, TypeAlias

from fastrpc.errors import CompactedError
from fastrpc.stores.base import ItemChange

__all__ = ["History", "HistoryObserver", "change_size", "is_watched"]

#: _CHANGES: the most changes of the history; the oldest are dropped in batches of a tenth. _BYTES: the most bytes of
#: these changes.
_CHANGES: Final = 10_000
_BYTES: Final = 64 * 1024 * 1024

#: Waits of at least this many seconds share one timer per second, so they may end a second early.
_LONG_SECONDS: Final = 10.0

#: A future whose result is a revision, and whether a change follows the revision.
_Waiter: TypeAlias = asyncio.Future[tuple[int, bool]]


class HistoryObserver(Protocol):
    """The interface of an object that a store notifies of commits and of its end."""

    def committed(self, revision: int) -> None:
        """Called with the revision of the latest committed change."""

    def ended(self) -> None:
        """Called when the store has failed or was closed. Closing a failed store calls this again."""


class History:
    """The latest committed changes, in the order of their revisions."""

    def __init__(self, compacted: int = 0) -> None:
        self._changes: list[ItemChange] = []
        self._bytes = 0
        #: The revision of the last change that was dropped.
        self.compacted = compacted
        # The revision with which the store was opened. It may be greater than lost revisions.
        self._opened_at = compacted
        self.observer: HistoryObserver | None = None
        # Futures of waiting watchers, by watched key or prefix.
        self._waiting: dict[str, set[_Waiter]] = {}
        # Waiters that time out in a second of the loop's clock, with the timer, by second.
        self._giving_up: dict[int, tuple[set[_Waiter], asyncio.TimerHandle]] = {}
        # The latest waiter of each watcher, by the future that ends the watcher's waits.
        self._ends: dict[asyncio.Future[None], _Waiter] = {}

    @property
    def latest(self) -> int:
        """The revision of the latest change."""
        return self._changes[-1].revision if self._changes else self.compacted

    @property
    def watchers(self) -> int:
        """The number of waiting watchers."""
        return sum(map(len, self._waiting.values()))

    def restore(self, changes: Sequence[ItemChange], compacted: int, revision: int) -> None:
        """Load the history of a journal.

        Args:
            revision: the revision of the store. It is greater than the last change if a journal may have lost commits.
        """
        self._changes, self.compacted, self._opened_at = list(changes), compacted, revision
        self._bytes = sum(map(change_size, changes))

    def add(self, added: Sequence[ItemChange]) -> None:
        """Add committed changes, and wake their watchers."""
        self._changes += added
        self._bytes += sum(map(change_size, added))
        while len(self._changes) > _CHANGES * 1.1 or self._bytes > _BYTES * 1.1:
            # Drop whole revisions, so that a watcher gets all changes of a transaction or none.
            self.compacted = self._changes[max(len(self._changes) // 11 - 1, 0)].revision
            end = self._end_of(self.compacted)
            self._bytes -= sum(map(change_size, self._changes[:end]))
            del self._changes[:end]
        for change in added:
            words = change.key.split("/")
            prefixes = ("".join(f"{word}/" for word in words[:end]) for end in range(len(words)))
            self._wake(change.revision - 1, change.key, *prefixes)
        if self.observer is not None:
            self.observer.committed(self.latest)

    def after(self, reached: int, revision: int) -> Sequence[ItemChange]:
        """Return the changes after a revision.

        Args:
            revision: the present revision of the store.

        Raises:
            CompactedError: the history starts after the requested revision or ends before it, or the revision was lost.
        """
        end = self._end_of(reached)
        if not self.compacted <= reached <= revision or self._is_lost(reached, end):
            raise CompactedError(
                f"the history has revisions after {self.compacted} up to {revision}, not after {reached}",
                oldest=self.compacted,
                hint="list the items again, and watch after the revision of that list",
            )
        return self._changes[end:]

    def _is_lost(self, reached: int, end: int) -> bool:
        """Return whether a revision, which may have been reported before, was lost before the store was opened.

        A store that may have lost commits continues after its last commit with the revision of its opening. It has all
        revisions except those in between.

        Args:
            end: the number of changes in the history up to the revision.
        """
        before = self._changes[end - 1].revision if end else self.compacted
        behind = self._changes[end].revision - 1 if end < len(self._changes) else self._opened_at
        return before < reached < behind

    async def changed(
        self, watched: str, seconds: float | None = None, end: asyncio.Future[None] | None = None
    ) -> tuple[int, bool]:
        """Wait for the next change of a key or prefix, or the end of the store.

        Args:
            end: a future that ends the waits of one watcher. The caller has to complete it eventually.

        Returns a revision and True if a change follows the revision. After `seconds`, or once `end` is done, returns a
        revision up to which nothing has changed, and False; later changes may exist.
        """
        loop = asyncio.get_running_loop()
        changed: _Waiter = loop.create_future()
        # A change may wake thousands of watchers. So a wait is a future without a task, and long waits share timers.
        timer, second = None, 0
        if seconds is not None and seconds < _LONG_SECONDS:
            timer = loop.call_later(seconds, self._give_up, (changed,))
        elif seconds is not None:
            second = math.floor(loop.time() + seconds)
            self._give_up_in(loop, second, changed)
        waiting = self._waiting.setdefault(watched, set())
        waiting.add(changed)
        if end is not None:
            if end not in self._ends:
                end.add_done_callback(self._end_wait)
            self._ends[end] = changed
        try:
            return await changed
        finally:
            if timer is not None:
                timer.cancel()
            if second:
                self._stay_beyond(second, changed)
            waiting.discard(changed)
            if not waiting and self._waiting.get(watched) is waiting:
                del self._waiting[watched]

    def _give_up_in(self, loop: asyncio.AbstractEventLoop, second: int, changed: _Waiter) -> None:
        """Let a waiter time out in a second of the loop's clock. All waiters of a second share a timer."""
        if second not in self._giving_up:
            self._giving_up[second] = set(), loop.call_at(second, self._end_second, second)
        self._giving_up[second][0].add(changed)

    def _stay_beyond(self, second: int, changed: _Waiter) -> None:
        """Remove a waiter from a second. Cancel the timer if it was the last waiter."""
        if second in self._giving_up:
            others, timer = self._giving_up[second]
            others.discard(changed)
            if not others:
                timer.cancel()
                del self._giving_up[second]

    def _end_second(self, second: int) -> None:
        self._give_up(tuple(self._giving_up.pop(second)[0]))

    def _end_wait(self, end: "asyncio.Future[None]") -> None:
        self._give_up((self._ends.pop(end),))

    def _give_up(self, waiters: Sequence[_Waiter]) -> None:
        for changed in waiters:
            if not changed.done():
                # Use the latest revision: changes that are made before the task continues have later revisions.
                changed.set_result((self.latest, False))

    def end(self) -> None:
        """Wake all watchers and notify the observer, because the store has stopped."""
        self._wake(0, *self._waiting)
        if self.observer is not None:
            self.observer.ended()

    def _wake(self, reached: int, *watched: str) -> None:
        for name in watched:
            for changed in self._waiting.pop(name, ()):
                if not changed.done():
                    changed.set_result((reached, True))

    def _end_of(self, revision: int) -> int:
        # Check the usual cases first: watchers that keep up request the end of the history or the last change.
        changes = self._changes
        if not changes or changes[-1].revision <= revision:
            return len(changes)
        if len(changes) > 1 and changes[-2].revision <= revision:
            return len(changes) - 1
        return bisect.bisect_right(self._changes, revision, key=lambda change: change.revision)


def is_watched(watched: str, key: str) -> bool:
    """Return whether a watch of a key or prefix yields the changes of a key."""
    return key == watched or ((not watched or watched.endswith("/")) and key.startswith(watched))


def change_size(change: ItemChange) -> int:
    """Return the bytes of the key and value of a change."""
    return len(change.key) + (0 if change.item is None else len(change.item.value))
