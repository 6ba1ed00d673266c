"""The history of a store's events in the form of Deimos, and watches for further events."""

import asyncio
import bisect
import itertools
from collections import deque
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Final, Self

from fastrpc.coordination.deimos.answers import DialectError, KeyEvent

__all__ = ["EventLog", "EventWatch"]

#: The most events of the history (_EVENTS), and the most bytes of them (_BYTES).
_EVENTS: Final = 10_000
_BYTES: Final = 64 * 1024 * 1024

#: The most unsent events of a watch (_BEHIND), and the most bytes of them (_BEHIND_BYTES). With more, the watch ends,
#: and its client continues from the history.
_BEHIND: Final = 1_000
_BEHIND_BYTES: Final = 16 * 1024 * 1024


class EventLog:
    """The events in the order of their revisions. An event becomes visible once its change is committed.

    Args:
        start: the first revision whose events are known.
    """

    def __init__(self, start: int) -> None:
        self._start = start
        self._events: list[KeyEvent] = []
        self._bytes = 0
        self._coming: deque[KeyEvent] = deque()
        self._watches: dict[str, set[EventWatch]] = {}
        self._is_over = False

    def add(self, event: KeyEvent) -> None:
        """Add the event of a change that is not committed yet."""
        self._coming.append(event)

    def commit(self, revision: int) -> None:
        """Make the events up to a revision visible."""
        while self._coming and self._coming[0].revision <= revision:
            event = self._coming.popleft()
            self._events.append(event)
            self._bytes += event.size()
            self._tell(event)
        while self._bytes > _BYTES or len(self._events) > _EVENTS * 1.1:
            # Remove some tenth of the events together, since a removal moves all other events.
            count = max(len(self._events) // 11, 1)
            self._start = self._events[count - 1].revision + 1
            self._bytes -= sum(event.size() for event in self._events[:count])
            del self._events[:count]

    def forget(self) -> None:
        """Drop the events whose changes were not committed."""
        self._coming.clear()

    def end(self) -> None:
        """End all watches and refuse new watches, because the store has stopped."""
        self._is_over = True
        for watches in self._watches.values():
            for watch in watches:
                watch.close()

    def after(self, key: str, since: int, *, is_recursive: bool) -> Iterator[KeyEvent]:
        """Yield the events of a key in the history from a revision on; if `is_recursive`, also of the keys below it.

        Raises:
            DialectError: 401: the history starts after the requested revision.
        """
        if since < self._start:
            cause = f"the requested history has been cleared [{self._start}/{since}]"
            raise DialectError(401, cause, self._latest)
        begin = bisect.bisect_left(self._events, since, key=lambda event: event.revision)
        below = f"{key}/" if key else ""
        for event in self._events[begin:]:
            found = event.node.key
            # Include the removal of a directory above the key, as a live watch does.
            has_gone = key.startswith(found) and key in event.removed
            if found == key or has_gone or (is_recursive and found.startswith(below)):
                yield event

    def watch(
        self,
        key: str,
        since: int,
        *,
        is_recursive: bool,
        is_stream: bool,
        shows: Callable[[KeyEvent], bool] = lambda event: True,
    ) -> "EventWatch":
        """Return a watch from a revision on; 0 means from now.

        Args:
            shows: returns whether the client may see an event. It is called now if a single event of the history is
                requested, otherwise before each event is sent.

        Raises:
            DialectError: 401, see `after`; 300: the store has stopped.
        """
        if self._is_over:
            raise DialectError(300, "the store has ended", self._latest)
        kept: Iterator[KeyEvent] = self.after(key, since, is_recursive=is_recursive) if since else iter(())
        events = list(itertools.islice(filter(shows, kept), None if is_stream else 1))
        # A single event of the history was checked above and is not checked again: the watch has no further event.
        asks = shows if is_stream or not events else lambda event: True
        return EventWatch(self._watches, key, since, events, asks, is_recursive=is_recursive)

    @property
    def _latest(self) -> int:
        return self._events[-1].revision if self._events else self._start - 1

    def _tell(self, event: KeyEvent) -> None:
        key = event.node.key
        words = key.split("/")
        for end in range(len(words)):
            above = "/".join(words[:end])
            # Events of hidden keys are sent only to watches of these keys.
            if "/_" not in f"/{key.removeprefix(above).lstrip('/')}":
                for watch in self._watches.get(above, ()):
                    if watch.is_recursive:
                        watch.tell(event)
        for one in (key, *event.removed):
            for watch in self._watches.get(one, ()):
                watch.tell(event)


class EventWatch:
    """A watch of a key, as a context manager: events of the history, then events as they happen."""

    def __init__(
        self,
        watches: "dict[str, set[EventWatch]]",
        key: str,
        since: int,
        events: list[KeyEvent],
        shows: Callable[[KeyEvent], bool],
        *,
        is_recursive: bool,
    ) -> None:
        self._watches = watches
        self._key = key
        self._since = since
        self._events = deque(events)
        self._shows = shows
        self._bytes = sum(event.size() for event in events)
        self._most, self._most_bytes = len(events) + _BEHIND, self._bytes + _BEHIND_BYTES
        self._is_open = True
        self._changed = asyncio.Event()
        self.is_recursive = is_recursive

    def __enter__(self) -> Self:
        self._watches.setdefault(self._key, set()).add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        found = self._watches[self._key]
        found.discard(self)
        if not found:
            del self._watches[self._key]

    def tell(self, event: KeyEvent) -> None:
        """Add an event. End the watch if it has too many unsent events."""
        if not self._is_open:
            return
        if event.revision >= self._since:
            self._events.append(event)
            self._bytes += event.size()
            self._changed.set()
        # A single event may exceed the limit of bytes.
        if len(self._events) > self._most or (len(self._events) > 1 and self._bytes > self._most_bytes):
            self.close()

    def close(self) -> None:
        """End the watch immediately and drop its events, since its client may notice the end late."""
        self._is_open = False
        self._events.clear()
        self._bytes = 0
        self._changed.set()

    async def next(self) -> KeyEvent | None:
        """Wait for the next event; None at the end of the watch."""
        while self._is_open:
            while self._events:
                event = self._events.popleft()
                self._bytes -= event.size()
                if self._shows(event):
                    return event
            self._changed.clear()
            await self._changed.wait()
        return None
