"""The embedded broker of a process. It keeps messages in memory, or in a journal that is written by group commits."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextvars import Context
from datetime import UTC, datetime
from functools import partial
from logging import getLogger
from math import inf
from types import TracebackType
from typing import Final, Self

from msgspec.structs import replace

from fastrpc.brokers.base import (
    BrokerLimits,
    DeadLetter,
    GroupSettings,
    GroupState,
    OutgoingMessage,
    Place,
    Published,
    TopicSettings,
)
from fastrpc.brokers.embedded.faults import closed, closed_full, full_disk
from fastrpc.brokers.embedded.group_states import CoreGroups
from fastrpc.brokers.embedded.id_readings import IdReadings
from fastrpc.brokers.embedded.keeping import BrokerKeeping, KeptBroker, KeptChanges, Tell
from fastrpc.brokers.embedded.membership import EmbeddedMembership
from fastrpc.brokers.embedded.takes import Takes
from fastrpc.brokers.local.core import BrokerCore
from fastrpc.brokers.local.counts import TopicCounts
from fastrpc.brokers.local.records import Change, MessagesAppended
from fastrpc.brokers.local.repeats import UnreadError
from fastrpc.brokers.observed.figures import BrokerFigures
from fastrpc.errors import BrokerError
from fastrpc.stores.local.commits import Commits

__all__ = ["EmbeddedBroker", "utc_now"]

#: Longest delay of a timer, in seconds; for a later instant it is set again. Event loops refuse far instants.
_LONGEST_TIMER: Final = 86_400.0

#: Bytes of messages that stay in memory although the journal has them.
_CACHE_BYTES: Final = 64 * 1024 * 1024

#: Seconds after which the journal counts a started delivery, if no other commit counts it earlier.
_PROGRESS_SECONDS: Final = 0.01

#: Bytes of a message's row in a journal besides its body.
_ROW_BYTES: Final = 200

_logger = getLogger("fastrpc.broker")


def utc_now() -> datetime:
    """Return the time of day."""
    return datetime.now(UTC)


class EmbeddedBroker:
    """A broker inside one process, for one event loop.

    All changes that arrive during a commit form the next commit. If the journal has no space for a commit, the messages
    in it are refused, and its other changes are kept. Any other failed commit stops the broker.

    Args:
        journal: None keeps nothing across restarts.
        clock: returns an instant in seconds that never decreases. If it does not follow the loop's time, call
            `catch_up` each time it advances.
        wall: returns the time of day, in UTC.
        on_failed: called with the error of the commit that stopped the broker.
        cache_bytes: the most bytes of messages that stay in memory although the journal has them.
    """

    #: The figures that monitors read while the broker is open.
    figures: BrokerFigures

    def __init__(
        self,
        limits: BrokerLimits,
        journal: BrokerKeeping | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], datetime] = utc_now,
        on_failed: Callable[[BrokerError], None] = lambda error: None,
        cache_bytes: int = _CACHE_BYTES,
    ) -> None:
        self.limits = limits
        self.wall = wall
        #: True while the broker accepts requests.
        self.is_open = False
        self._clock = clock
        self._noted: list[Change] = []
        is_kept = journal is not None
        self.core = BrokerCore(
            self._noted.append if is_kept else None,
            _logger.error,
            cache_bytes=cache_bytes if is_kept else None,
        )
        self.takes = Takes(self.core, clock)
        self._journal = journal
        self._commits = None if journal is None else self._commits_to(journal)
        self._on_failed = on_failed
        self._failure: BrokerError | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = inf
        self._progress: asyncio.TimerHandle | None = None
        # The number of noted changes that may wait until another change needs a commit.
        self._riding = 0
        # `_tells`: functions to call after the commit of the noted changes. `_untold`: all functions not called yet.
        self._tells: list[Tell] = []
        self._untold: set[Tell] = set()
        self._readings: set[asyncio.Task[None]] = set()
        self._id_readings = IdReadings(self._read_ids, self.core.repeats.feed)

    def _commits_to(self, journal: BrokerKeeping) -> Commits[KeptChanges, KeptBroker]:
        return Commits(
            journal,
            "fastrpc broker",
            keep=self._keep,
            undo=self._undo,
            fail=self._fail,
            complete=self._complete,
        )

    async def __aenter__(self) -> Self:
        if self._commits is not None:
            kept = await self._commits.open()
            self.core.restore(kept.topics, kept.groups, self._clock())
        self.is_open = True
        self.figures = BrokerFigures(self.counts, CoreGroups(self.core, self._clock), self.file_bytes)
        self.figures.begin()
        self.dispatch()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.is_open = False
        try:
            await self._close()
        finally:
            self.figures.end()

    async def _close(self) -> None:
        for timer in (self._timer, self._progress):
            if timer is not None:
                timer.cancel()
        self.takes.fail(closed())
        if self._commits is None or self._journal is None:
            return
        self._journal.stop_waiting()
        try:
            self._keep_progress()
            await self._commits.finish()
        finally:
            closing = self._commits.close()
        await closing

    async def declare(self, topic: TopicSettings) -> None:
        """Create a topic and its groups."""
        self.core.declare(topic, self.now())
        await self._done()

    async def topics(self) -> Sequence[TopicSettings]:
        """Return the declared topics, sorted by name."""
        return sorted((topic.settings for topic in self.core.topics), key=lambda topic: topic.name)

    async def covering(self, pattern: str) -> TopicSettings | None:
        """Return the topic that covers every name of a pattern; None if there is no such topic."""
        self.now()
        return self.core.covering(pattern)

    async def publish(self, messages: Sequence[OutgoingMessage]) -> Sequence[Published]:
        """Publish messages, all or none, in this order."""
        while True:
            now = self.now()
            if self._commits is not None:
                self._check_disk(self._commits, messages)
            try:
                published, records = self.core.publish(messages, now, self.wall())
            except UnreadError as unread:
                await self._id_readings.finish(unread)
                messages = _older(messages, self.now() - now)
                continue
            if self._commits is None:
                self.core.committed(records, now)
                self.dispatch()
                return published
            self._commit()
            if await self._is_kept():
                return published
            if records:
                raise full_disk()
            # All messages are duplicates, but the earlier messages with these ids may not have been stored: try again.

    async def join(self, group: GroupSettings) -> EmbeddedMembership:
        """Become a member of a group."""
        found, member = self.core.join(group, self.now(), self.wall())
        membership = EmbeddedMembership(self, found, member)
        try:
            await self._done()
        except BaseException:
            await membership.close()
            raise
        return membership

    async def groups(self) -> Sequence[GroupState]:
        """Return all groups but broadcasts, sorted by name."""
        return self.core.groups(self.now())

    async def seek(self, group: str, to: Place) -> None:
        """Move a group to another place."""
        self.core.seek(group, to, self.now(), self.wall())
        await self._done()

    async def remove_group(self, group: str) -> None:
        """Remove a group with its dead letters."""
        self.core.remove_group(group, self.now())
        await self._done()

    async def dead_letters(self, group: str) -> Sequence[DeadLetter]:
        """Return the dead letters of a group, the oldest death first."""
        bodies = await self._bodies(group, ())
        self.now()
        return self.core.dead_letters(group, bodies)

    async def replay(self, group: str, ids: Sequence[str]) -> int:
        """Redeliver the dead letters with these ids, or all, to the group."""
        bodies = await self._bodies(group, ids)
        count = self.core.group(group).replay(ids, self.now(), bodies)
        await self._done()
        return count

    async def discard(self, group: str, ids: Sequence[str]) -> int:
        """Discard the dead letters with these ids, or all if no id is given."""
        self.now()
        count = self.core.group(group).discard(ids)
        await self._done()
        return count

    async def _bodies(self, group: str, ids: Sequence[str]) -> Mapping[int, bytes] | None:
        """Read the bodies of dead letters, by number; None: the bodies are in memory."""
        self.now()
        found = self.core.group(group)
        if self._commits is None or self._journal is None:
            return None
        # The latest dead letters may still wait for their commit.
        self.dispatch()
        await self.kept()
        numbers = {number for number, _ in found.dead.of(ids)}
        self.now()
        bodies = await self._commits.read(partial(self._journal.read_letters, group, numbers))
        return bodies if self.core.group(group) is found else {}

    def counts(self) -> Mapping[str, TopicCounts]:
        """Return the message counters of each topic since the start."""
        return {topic.settings.name: topic.counts for topic in self.core.topics}

    def file_bytes(self) -> int:
        """Return the size of the journal on the disk in bytes; 0 without a journal."""
        return 0 if self._journal is None else self._journal.file_bytes()

    def catch_up(self) -> None:
        """Do all work that is due. The loop's timer calls it, too."""
        now = self._clock()
        while (due := self.core.next_due()) is not None and due <= now:
            self.core.advance(now)
        self.dispatch()

    def next_due(self) -> float | None:
        """Return the instant at which something is due next; None: never."""
        return self.core.next_due()

    # Called by the memberships

    def now(self) -> float:
        """Do all work that is due, and return the present instant. BrokerError: the broker is closed or has failed."""
        if not self.is_open:
            raise self._ended()
        now = self._clock()
        if now >= self._timer_due:
            self.core.advance(now)
            self.dispatch()
        return now

    def dispatch(self) -> bool:
        """Serve waiting takes, set the timer, and add the changes to the next commit.

        Return True if there were changes, other than acks that may wait.
        """
        left = self.core.left
        if left.roused:
            self.takes.serve()
        due = self.core.next_due()
        if due is not None and due < self._timer_due and self.is_open:
            self._set_timer(due)
        if left.reading:
            self._begin_reading()
        return self._commit()

    def when_kept(self, tell: Tell, *, may_wait: bool = False) -> None:
        """Add the changes to the next commit. Call a function once they are kept, or with the error of the broker.

        Args:
            may_wait: whether the changes may wait until another change needs a commit, or until the commit that
                counts started deliveries.
        """
        if not self._noted:
            tell(None)
        else:
            self._tells.append(tell)
            self._untold.add(tell)
            if may_wait:
                self._riding = len(self._noted)
        self.dispatch()

    async def kept(self) -> None:
        """Return once all changes are kept, except messages that did not fit. BrokerError: they may not be kept."""
        while not await self._is_kept():
            if not self.is_open:
                raise closed_full()

    async def _done(self) -> None:
        if self.dispatch():
            await self.kept()

    def _ended(self) -> BrokerError:
        failure = self._failure
        return closed() if failure is None else BrokerError(failure.message, processed=failure.processed)

    def _set_timer(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_due = due
        delay = min(max(0.0, due - self._clock()), _LONGEST_TIMER)
        # In an empty context: the timer would keep the caller's context alive.
        self._timer = asyncio.get_running_loop().call_later(delay, self._on_timer, context=Context())

    def _on_timer(self) -> None:
        self._timer, self._timer_due = None, inf
        self.core.advance(self._clock())
        self.dispatch()

    # Commits

    def _commit(self) -> bool:
        if len(self._noted) > self._riding:
            if self._commits is not None and self._failure is None:
                self._commits.add_one(self._taken())
                return True
        elif self._progress is None and self.core.left.moved and self.is_open:
            loop = asyncio.get_running_loop()
            self._progress = loop.call_later(_PROGRESS_SECONDS, self._keep_progress, context=Context())
        return False

    def _keep_progress(self) -> None:
        self._progress = None
        self._riding = 0
        self.core.note_progress()
        self._commit()

    def _taken(self) -> KeptChanges:
        changes = self._noted[:]
        self._noted.clear()
        self._riding = 0
        size = 0
        for change in changes:
            if type(change) is MessagesAppended:
                size += sum([len(record.body) + _ROW_BYTES for record in change.records])
        tells, self._tells = self._tells, []
        return KeptChanges(changes, size, tells)

    def _complete(self, batch: Sequence[KeptChanges]) -> Sequence[KeptChanges]:
        """Return the changes of a commit with the present cursors of the groups added."""
        self.core.note_progress()
        return [*batch, self._taken()]

    def _tell(self, tells: Sequence[Tell], error: BrokerError | None = None) -> None:
        for tell in tells:
            self._untold.discard(tell)
            tell(error)

    async def _is_kept(self) -> bool:
        """Return whether all changes so far are kept; False: the journal was too full for some messages."""
        commits = self._commits
        if commits is None or not commits.is_waiting:
            return True
        is_kept = await commits.settled()
        if self._failure is not None:
            raise self._ended()
        return is_kept

    def _keep(self, batch: Sequence[KeptChanges]) -> None:
        for one in batch:
            self._tell(one.tells)
        records = [
            record
            for one in batch
            for change in one.changes
            if type(change) is MessagesAppended
            for record in change.records
        ]
        if records:
            self.core.committed(records, self._clock())
        self.dispatch()

    def _undo(self, lost: Sequence[KeptChanges]) -> None:
        """Drop the messages of commits that did not fit. Changes that the journal has not kept are committed again."""
        self.core.undo()
        later = [one for one in lost if not one.has_rest]
        rest = [change for one in later for change in one.changes if type(change) is not MessagesAppended]
        for one in lost:
            if one.has_rest:
                self._tell(one.tells)
            elif self.is_open:
                self._tells += one.tells
            else:
                self._tell(one.tells, closed_full())
        if self.is_open:
            self._noted[:0] = rest
            self.dispatch()

    def _begin_reading(self) -> None:
        for topic, numbers in self.core.wanted():
            reading = asyncio.create_task(self._read(topic, numbers), context=Context())
            self._readings.add(reading)
            reading.add_done_callback(self._readings.discard)

    async def _read(self, topic: str, numbers: Sequence[int]) -> None:
        """Read the next messages of groups from the journal into memory."""
        assert self._commits is not None
        assert self._journal is not None
        try:
            records, damaged = await self._commits.read(partial(self._journal.read, topic, numbers))
        except Exception as error:
            if self.is_open:
                self._fail(error)
            return
        if self.is_open:
            for record in records:
                # Copy each body in this thread: the copies reuse the memory of bodies that the cache has dropped.
                record.body = bytes(memoryview(record.body))
            self.core.feed(topic, records, damaged, self._clock())
            self.dispatch()

    async def _read_ids(self, topic: str, first: int, last: int) -> Mapping[str, int]:
        assert self._commits is not None
        assert self._journal is not None
        # Raises if the broker is closed: the thread that reads has ended then.
        self.now()
        return await self._commits.read(partial(self._journal.read_ids, topic, first, last))

    def _fail(self, error: Exception) -> None:
        self._failure = failure = BrokerError(f"the broker cannot be written: {error}")
        self.is_open = False
        self.takes.fail(failure)
        self._tell([*self._untold], failure)
        self._on_failed(failure)

    def _check_disk(
        self, commits: Commits[KeptChanges, KeptBroker], messages: Sequence[OutgoingMessage]
    ) -> None:
        try:
            size = 0
            for one in messages:
                size += len(one.body) + _ROW_BYTES
            is_full = commits.is_full(size)
        except OSError as error:
            raise BrokerError(f"the disk of the broker does not answer: {error}", processed="no") from error
        if is_full:
            raise full_disk()


def _older(messages: Sequence[OutgoingMessage], seconds: float) -> Sequence[OutgoingMessage]:
    """Return messages with `seconds` added to the age of repeats."""
    return [replace(one, age=one.age + seconds) if one.age else one for one in messages]
