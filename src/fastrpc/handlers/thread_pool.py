"""The threads in which `def` handlers run.

    loop                                      threads
    submit(job) ───────────► queue ─────────► run()
    done(), many at once ◄── finished ◄───────┘

A thread starts when a job waits and no thread is idle, and ends after ten idle seconds. Threads wake one after
another: a thread that takes a job and sees more jobs wakes or starts the next thread. So one thread runs a burst of
short jobs alone, and blocking jobs soon have a thread each.

Jobs are queued by the priority of their calls, like calls in the admission queue, and within a priority in the order of
arrival. If the queue is full, the latest sheddable job is refused in favour of a job that is not sheddable.

There is no lock. Deques and lists of CPython change atomically, and each side first changes its own state, then checks
the other's: the submitter adds a job, then looks for an idle thread; a thread marks itself idle, then looks for a job.
So at least one of the two notices the other.
"""

import asyncio
import contextvars
import logging
import threading
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Protocol

from fastrpc._core.base.histogram import count_wait
from fastrpc._core.base.priority_queue import RANKS
from fastrpc._core.loop.polling import Bell, ThreadGate

__all__ = ["Job", "ThreadPool"]

logger = logging.getLogger("fastrpc.server")

#: Seconds after which a thread without work ends.
IDLE_SECONDS = 10.0

#: Interval at which an idle thread checks whether the interpreter ends. Python waits for all threads before it runs
#: exit handlers, so an unclosed pool delays the exit by up to this time.
_LOOK_SECONDS = 0.5

#: Seconds between two searches of a full queue for jobs whose callers have given up.
_SEARCH_SECONDS = 0.1


class Job(Protocol):
    """One call of a `def` handler. `done` is called exactly once, after either `run` or `refuse`."""

    @property
    def expired(self) -> bool:
        """Return whether the caller gave up: then the job never starts. Called in any thread."""

    def run(self) -> None:
        """Call the handler and keep its result or error. Called in a thread of the pool."""

    def refuse(self, reason: str) -> None:
        """Record why the job will never run. Called on the loop, never within `submit`."""

    def done(self) -> None:
        """Deliver the outcome. Called on the loop, never within `submit`."""


#: A job, the instant of its arrival, whether it belongs to a stream, and the rank of its priority.
_Entry = tuple[Job, float, bool, int]

#: Jobs that wait, by rank: high, normal, sheddable.
_Queues = tuple[deque[_Entry], deque[_Entry], deque[_Entry]]
_SHEDDABLE = RANKS[1]


class ThreadPool:
    """A bounded, elastic pool of threads that serves one event loop.

    All its methods are called on that loop. Threads and descriptors are made for the first job.
    """

    def __init__(
        self,
        *,
        threads: int,
        queue_length: int,
        queue_age: float,
        loop: asyncio.AbstractEventLoop,
        name: str = "fastrpc-worker",
    ) -> None:
        self.threads = threads
        self.queue_length = queue_length
        self.queue_age = queue_age
        self._loop = loop
        self._name = name

        # Used on the loop only. A job is in flight from `submit` until it is refused or done. A stream occupies its
        # thread for long, so streams get at most half of the threads.
        self._in_flight = 0
        self._streams = 0
        self._most_streams = max(1, threads // 2)
        self._waiting_streams: _Queues = (deque(), deque(), deque())
        self._rejected: deque[tuple[Job, str]] = deque()
        self._age_timer: asyncio.TimerHandle | None = None
        self._next_search = 0.0
        self._quiet = asyncio.Event()
        self._bell: Bell | None = None

        # Shared by loop and threads. A slot is the permission to run a thread: it is in _free, or a thread holds it.
        self._queue: _Queues = (deque(), deque(), deque())
        self._finished: deque[_Entry] = deque()
        self._refused: deque[tuple[_Entry, str]] = deque()
        self._ended: deque[threading.Thread] = deque()
        self._free = list(range(threads, 0, -1))
        self._idle: list[ThreadGate] = []
        self._alive: set[threading.Thread] = set()
        self._is_closed = False
        # Whether a thread was woken or started and has not checked the queue yet.
        self._is_waking = False
        # Whether a thread has rung the bell, or is about to, and the loop has not collected the finished jobs yet.
        self._is_collecting = False

    # --- on the loop --------------------------------------------------------------------------

    def submit(self, job: Job, *, stream: bool = False, priority: int = 0) -> None:
        """Queue a job, by the priority of its call. If the queue is full, refuse the job in a later loop iteration.

        A stream's job occupies its thread until the stream ends, so only half of the threads run such jobs.
        """
        if self._is_closed:
            self._reject(job, "the server is closing")
            return
        rank = RANKS[priority]
        if self._in_flight >= self.threads + self.queue_length and not self._make_room(rank):
            self._reject(
                job,
                f"all {self.threads} threads are busy (Admission.handler_threads) "
                f"and {self.queue_length} calls wait (Admission.queue_length)",
            )
            return
        if self._bell is None:
            self._bell = Bell()
            # The reader gets a new context, not the context of the first call.
            contextvars.Context().run(self._loop.add_reader, self._bell.descriptor, self._answer)
        self._in_flight += 1
        if stream and self._streams >= self._most_streams:
            self._waiting_streams[rank].append((job, monotonic(), True, rank))
        else:
            self._streams += stream
            self._queue[rank].append((job, monotonic(), stream, rank))
            if not self._is_waking:
                self._wake()
        if self._age_timer is None:
            self._watch_age(self.queue_age)

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._is_closed

    def stats(self) -> dict[str, int]:
        """Return the numbers of threads, idle threads, queued jobs and jobs in flight."""
        return {
            "threads": len(self._alive),
            "idle": len(self._idle),
            "waiting": sum(map(len, (*self._queue, *self._waiting_streams))),
            "in_flight": self._in_flight,
        }

    def close(self, *, wait: bool = False) -> None:
        """Refuse queued jobs and end the threads; running jobs finish. Closing twice is allowed.

        With `wait`, it blocks the loop until no job runs.
        """
        if not self._is_closed:
            self._is_closed = True
            for queues in (self._queue, self._waiting_streams):
                while (entry := _take_next(queues)) is not None:
                    self._in_flight -= 1
                    self._reject(entry[0], "the server is closing")
            if self._age_timer is not None:
                self._age_timer.cancel()
            while self._idle:
                self._wake()
            self._end_if_quiet()
        if wait:
            for thread in tuple(self._alive):
                thread.join()
            self._collect()

    async def wait_closed(self) -> None:
        """Wait until `close` was called and every thread has ended."""
        await self._quiet.wait()

    def _answer(self) -> None:
        if self._bell is not None:
            self._bell.answer()
            self._collect()

    def _collect(self) -> None:
        """Take the finished jobs from the threads."""
        self._is_collecting = False
        finished = self._finished
        for _ in range(len(finished)):
            entry = finished.popleft()
            self._release(entry)
            self._tell(entry[0].done)
        while self._refused:
            entry, reason = self._refused.popleft()
            self._release(entry)
            self._reject(entry[0], reason)
        for _ in range(len(self._rejected)):
            job, reason = self._rejected.popleft()
            self._tell(job.refuse, reason)
            self._tell(job.done)
        while self._ended:
            thread = self._ended.popleft()
            thread.join()  # The last step of the thread was the report of its end.
            self._alive.discard(thread)
            self._end_if_quiet()

    def _tell(self, callback: Callable[..., None], *arguments: object) -> None:
        try:
            callback(*arguments)
        except Exception as error:
            self._loop.call_exception_handler({"message": f"{callback!r} failed", "exception": error})

    def _reject(self, job: Job, reason: str) -> None:
        """Refuse a job that is not in flight."""
        self._rejected.append((job, reason))
        if not self._is_collecting:
            self._is_collecting = True
            self._loop.call_soon(self._collect, context=contextvars.Context())

    def _release(self, entry: _Entry) -> None:
        """Release the slots of a job that was queued or running."""
        self._in_flight -= 1
        if entry[2]:
            following = _take_next(self._waiting_streams)
            if following is None:
                self._streams -= 1
            else:
                self._queue[following[3]].append(following)
                if not self._is_waking:
                    self._wake()

    def _make_room(self, rank: int) -> bool:
        """Remove jobs from a full queue; return whether there is room for a job of this rank.

        Jobs whose callers gave up are removed. If there are none, a job of a higher rank replaces a sheddable job. The
        search visits every job, so it runs rarely.
        """
        now = monotonic()
        before = self._in_flight
        if now >= self._next_search:
            self._next_search = now + _SEARCH_SECONDS
            for queue in self._queue:
                self._drop_expired(queue)
            self._look_again()
        if self._in_flight == before and rank < _SHEDDABLE:
            self._shed()
        return self._in_flight < before

    def _drop_expired(self, queue: deque[_Entry]) -> None:
        for _ in range(len(queue)):
            entry = _take(queue)
            if entry is None:
                break
            if entry[0].expired:
                self._release(entry)
                self._reject(entry[0], "its caller no longer waits for it")
            else:
                queue.append(entry)

    def _shed(self) -> None:
        """Refuse the latest sheddable job, if there is one."""
        streams, queue = self._waiting_streams[_SHEDDABLE], self._queue[_SHEDDABLE]
        entry = _take(queue, last=True)
        if streams and (entry is None or entry[1] < streams[-1][1]):
            if entry is not None:
                queue.append(entry)
                self._look_again()
            entry = streams.pop()
            self._in_flight -= 1
        elif entry is not None:
            self._release(entry)
        if entry is not None:
            self._reject(
                entry[0],
                f"it has priority 1 and made room for another call: {self.queue_length} calls wait "
                "(Admission.queue_length)",
            )

    def _watch_age(self, seconds: float) -> None:
        self._age_timer = self._loop.call_later(seconds, self._drop_aged, context=contextvars.Context())

    def _drop_aged(self) -> None:
        self._age_timer = None
        now = monotonic()
        youngest_too_old = now - self.queue_age
        left: list[float] = []
        for queue in (*self._queue, *self._waiting_streams):
            while (entry := _take(queue)) is not None:
                if entry[1] > youngest_too_old:
                    queue.appendleft(entry)
                    left.append(entry[1])
                    break
                if any(queue is one for one in self._queue):
                    self._release(entry)
                else:
                    self._in_flight -= 1
                self._reject(entry[0], self._aged())
        self._look_again()
        if left:
            self._watch_age(max(0.001, min(left) - youngest_too_old))

    def _aged(self) -> str:
        return f"no thread was free for {self.queue_age:g} s (Admission.queue_age)"

    def _look_again(self) -> None:
        # While the entries were out of the queue, a thread may have found it empty and become idle.
        if any(self._queue) and not self._is_waking:
            self._wake()

    def _end_if_quiet(self) -> None:
        if self._is_closed and not self._alive and not self._quiet.is_set():
            self._quiet.set()
            if self._bell is not None and not self._loop.is_closed():
                self._loop.remove_reader(self._bell.descriptor)

    # --- in any thread ------------------------------------------------------------------------

    def _wake(self) -> None:
        """Wake or start one more thread, if the limit allows."""
        try:
            gate = self._idle.pop()
        except IndexError:
            self._start_thread()
        else:
            self._is_waking = True
            gate.open()

    def _start_thread(self) -> None:
        if self._is_closed:
            return
        try:
            slot = self._free.pop()
        except IndexError:
            return  # All threads are busy, and look at the queue after their jobs.
        self._is_waking = True
        thread = threading.Thread(target=self._work, args=(slot,), name=f"{self._name}-{slot}", daemon=False)
        self._alive.add(thread)
        try:
            contextvars.Context().run(thread.start)
        except RuntimeError as error:
            logger.warning("cannot start a thread for handlers, %d run: %s", len(self._alive) - 1, error)
            self._alive.discard(thread)
            self._free.append(slot)
            self._is_waking = False

    # --- in a thread of the pool --------------------------------------------------------------

    def _work(self, slot: int) -> None:
        bell, gate, queue = self._bell, ThreadGate(), self._queue
        assert bell is not None
        self._is_waking = False
        owes_ring = False
        while True:
            entry = _take_next(queue)
            if entry is None:
                if not self._rest(gate, bell, owes_ring):
                    break
                owes_ring = False
                continue
            if owes_ring:
                # Ring now, because a result waits and the next job may take long.
                bell.ring()
            if any(queue) and not self._is_waking:
                self._wake()
            owes_ring = self._run(entry)
        self._free.append(slot)
        if any(queue) and not self._is_closed:
            self._wake()
        self._ended.append(threading.current_thread())
        self._is_collecting = True
        bell.ring()

    def _run(self, entry: _Entry) -> bool:
        """Run or refuse a job; return whether this thread has to wake the loop with the bell."""
        job, since = entry[:2]
        waited = monotonic() - since
        count_wait(int(waited * 1e9))
        if job.expired:
            self._refused.append((entry, "its caller no longer waits for it"))
        elif waited > self.queue_age:
            self._refused.append((entry, self._aged()))
        else:
            try:
                job.run()
            except BaseException:
                logger.critical("%r raised from Job.run", job, exc_info=True)
            self._finished.append(entry)
        if self._is_collecting:
            return False
        self._is_collecting = True
        return True

    def _rest(self, gate: ThreadGate, bell: Bell, owes_ring: bool) -> bool:
        """Wait to be woken; return False if the thread has to end."""
        if self._is_closed:
            return False
        self._idle.append(gate)
        if (any(self._queue) or self._is_closed) and self._is_taken_back(gate):
            if owes_ring:
                bell.ring()
            return True
        rung = bell if owes_ring else None
        end = monotonic() + IDLE_SECONDS
        while not gate.wait(_LOOK_SECONDS, rung):
            rung = None
            if (monotonic() >= end or not threading.main_thread().is_alive()) and self._is_taken_back(gate):
                return False
        self._is_waking = False
        return True

    def _is_taken_back(self, gate: ThreadGate) -> bool:
        """Leave the idle list, unless another thread is about to wake this one."""
        try:
            self._idle.remove(gate)
        except ValueError:
            return False
        return True


def _take(queue: deque[_Entry], *, last: bool = False) -> _Entry | None:
    try:
        return queue.pop() if last else queue.popleft()
    except IndexError:
        return None


def _take_next(queues: _Queues) -> _Entry | None:
    for queue in queues:
        entry = _take(queue)
        if entry is not None:
            return entry
    return None
