"""The latest changes of a store, and those who wait for the next one."""

import asyncio
import bisect
from collections.abc import Sequence
from typing import Final, Protocol

from fastrpc.errors import CompactedError
from fastrpc.stores.base import ItemChange

__all__ = ["History", "HistoryObserver", "change_size", "is_watched"]

#: Changes of the history: the first ones go when there are a tenth more.
_CHANGES: Final = 10_000
_BYTES: Final = 64 * 1024 * 1024


class HistoryObserver(Protocol):
    """Learns of the commits of a store, and of its end."""

    def committed(self, revision: int) -> None:
        """Take the revision of the latest change that is committed."""

    def ended(self) -> None:
        """Learn that no change follows: the store failed or is closed. A failed store calls this at its close again."""


class History:
    """Keeps committed changes, in order of revision."""

    def __init__(self, compacted: int = 0) -> None:
        self._changes: list[ItemChange] = []
        self._bytes = 0
        #: The revision of the last change that was dropped.
        self.compacted = compacted
        self.observer: HistoryObserver | None = None
        # Futures of watchers, by their key or prefix.
        self._waiting: dict[str, set[asyncio.Future[tuple[int, bool]]]] = {}

    @property
    def latest(self) -> int:
        """The revision of the latest change."""
        return self._changes[-1].revision if self._changes else self.compacted

    @property
    def watchers(self) -> int:
        """How many watchers wait."""
        return sum(map(len, self._waiting.values()))

    def restore(self, changes: Sequence[ItemChange], compacted: int) -> None:
        """Begin with the history of a journal."""
        self._changes, self.compacted = list(changes), compacted
        self._bytes = sum(map(change_size, changes))

    def add(self, added: Sequence[ItemChange]) -> None:
        """Add committed changes, and wake their watchers."""
        self._changes += added
        self._bytes += sum(map(change_size, added))
        while len(self._changes) > _CHANGES * 1.1 or self._bytes > _BYTES * 1.1:
            # Whole revisions: a watcher gets all changes of a transaction.
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
            revision: that of the store.

        Raises:
            CompactedError: the history does not reach back, or not yet up, to it.
        """
        if not self.compacted <= reached <= revision:
            raise CompactedError(
                f"the history has revisions after {self.compacted} up to {revision}, not after {reached}",
                oldest=self.compacted,
                hint="list the items again, and watch after the revision of that list",
            )
        return self._changes[self._end_of(reached) :]

    async def changed(
        self, watched: str, seconds: float | None = None, end: asyncio.Future[None] | None = None
    ) -> tuple[int, bool]:
        """Wait for the next change of a key or prefix, or the end of the store.

        Returns a revision before it, and True. False: so many seconds passed, or `end` is done, without one up to that
        revision. Later ones may have come since.
        """
        loop = asyncio.get_running_loop()
        changed: asyncio.Future[tuple[int, bool]] = loop.create_future()

        def give_up(_: object = None) -> None:
            if not changed.done():
                # The waiting task goes on in another turn of the loop: a change in between is behind this revision.
                changed.set_result((self.latest, False))

        waiting = self._waiting.setdefault(watched, set())
        waiting.add(changed)
        # A change wakes thousands: each waits for one future, without a task.
        timer = None if seconds is None else loop.call_later(seconds, give_up)
        if end is not None:
            end.add_done_callback(give_up)
        try:
            return await changed
        finally:
            if timer is not None:
                timer.cancel()
            if end is not None:
                end.remove_done_callback(give_up)
            waiting.discard(changed)
            if not waiting and self._waiting.get(watched) is waiting:
                del self._waiting[watched]

    def end(self) -> None:
        """Wake all watchers, and tell the observer: the store ended."""
        self._wake(0, *self._waiting)
        if self.observer is not None:
            self.observer.ended()

    def _wake(self, reached: int, *watched: str) -> None:
        for name in watched:
            for changed in self._waiting.pop(name, ()):
                if not changed.done():
                    changed.set_result((reached, True))

    def _end_of(self, revision: int) -> int:
        return bisect.bisect_right(self._changes, revision, key=lambda change: change.revision)


def is_watched(watched: str, key: str) -> bool:
    """Return whether a watch of a key or prefix yields the changes of a key."""
    return key == watched or ((not watched or watched.endswith("/")) and key.startswith(watched))


def change_size(change: ItemChange) -> int:
    """Return the bytes of the key and value of a change."""
    return len(change.key) + (0 if change.item is None else len(change.item.value))
