"""Decompression of requests and stream messages, within the memory limit and without blocking the loop.

::

    add ──► room for the size it states ──► its connection's line ──► in slices ──► Gate.unpacked, ServedStream.unpacked
               └─► none: it waits, packed ──► room: the smallest first
                                          └─► too late: refused

All running decompressions together use at most a quarter of `Memory.process_bytes` (`Room` in
`_core/server/memory_budget.pyx`), for any number of connections. A started payload never waits: if it exceeds its
stated size it continues while there is room, and is refused without room. So no payload waits while it holds memory.

The requests of a server wait in one `_Queue`, its stream messages in another, so messages that handlers hold do not
delay requests. All connections share a few milliseconds of each loop iteration with the loop's other deferred work
(`loop/turns.pyx`). The smallest started payload gets most of that time, so that small payloads overtake large ones. The
order is by the stated size, even for a payload that outgrows it. Gzip of several members may state too small a size,
because only its start is searched for members; if the larger size counted, such a payload would come after others and
find no room to grow.
"""

from asyncio import TimerHandle
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import count
from operator import itemgetter
from typing import Final, TypeAlias

from fastrpc._core.base.histogram import count_refusal
from fastrpc._core.loop.turns import SlicedWork
from fastrpc._core.server.memory_budget import Room
from fastrpc._core.server.served_call import ServerCall
from fastrpc._core.server.served_connection import ServedConnection
from fastrpc._core.server.served_stream import ServedStream
from fastrpc.compressors.base import Compressor, compressor_label, decompress_steps, stated_size
from fastrpc.errors import CallError, DecodeError
from fastrpc.status import Status
from fastrpc.user_code import plain_error

__all__ = ["Unpacking", "unknown_compressor"]

#: The most seconds that a stream message waits for room.
MESSAGE_SECONDS: Final = 5.0

#: The most bytes, compressed and decompressed, of a payload from a peer without identity, if authentication is on.
UNPROVED_BYTES: Final = 65_536

#: Interval of the checks for room that was released elsewhere: by ended calls, or by another loop of the process.
LOOK_SECONDS: Final = 0.02

#: The number of steps that a payload has in its turn: half a megabyte of output.
TURN_STEPS: Final = 64

#: Every TURNS-th turn decompresses the next payload of the current line, all other turns the smallest payload of all
#: lines.
TURNS: Final = 4

#: Called with the result of a decompression: the payload, an error, or the text of a refusal.
Done: TypeAlias = Callable[[bytes, "DecodeError | str | None"], object]

#: Orders the payloads that wait: the smallest first, then by arrival.
_Key: TypeAlias = tuple[int, int]

# Results of `Room.take`.
_TAKEN: Final = 0
_CONNECTION_IS_FULL: Final = 1

_key_of = itemgetter(0)
_numbers = count()


class _Job:
    """One payload being decompressed."""

    __slots__ = ("done", "expired", "is_begun", "key", "line", "room", "steps", "timer")

    def __init__(self, room: Room, compressor: Compressor, payload: bytes, most: int) -> None:
        self.room = room
        self.steps = decompress_steps(compressor, payload, most)
        self.key: _Key = room.stated, next(_numbers)
        self.line: _Line
        self.is_begun = False
        self.timer: TimerHandle | None = None
        #: Called with the result, or with the reason if the payload waited too long.
        self.done: Done
        self.expired: Callable[[str], object]

    def stop_waiting(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def drop(self) -> None:
        """Release all room, without a result."""
        self.line.queue.drop(self)


class _Line:
    """The payloads of one connection."""

    __slots__ = ("begun", "connection", "is_full", "is_sliced", "listed", "queue", "waiting")

    def __init__(self, queue: "_Queue", connection: ServedConnection) -> None:
        self.queue = queue
        self.connection = connection
        #: The started payloads. The first is decompressed next.
        self.begun: deque[_Job] = deque()
        #: The waiting payloads, in the order of their keys.
        self.waiting: list[tuple[_Key, _Job]] = []
        #: The key of the first waiting payload, which orders the line in the queue; None: the line is not in the
        #: queue's order.
        self.listed: _Key | None = None
        #: Whether the connection lacks memory for the first payload.
        self.is_full = False
        #: Whether the line has time slices of the loop's iterations.
        self.is_sliced = False


class _Queue:
    """Payloads being decompressed, and payloads that wait for room: the smallest that fits is next."""

    def __init__(self, patience_seconds: float) -> None:
        self._patience_seconds = patience_seconds
        self._lines: dict[ServedConnection, _Line] = {}
        # `_order`: the first waiting payload of each line, except of lines whose connection is full (`_full`).
        self._order: list[tuple[_Key, _Line]] = []
        self._full: set[_Line] = set()
        # The started jobs.
        self._begun: list[tuple[_Key, _Job]] = []
        # `_current`: the job of the current turn, None between two turns. `_steps_left`: its remaining steps. `_turns`:
        # the number of turns so far.
        self._current: _Job | None = None
        self._steps_left = 0
        self._turns = 0
        self._is_looking = False
        self._is_look_due = False

    @property
    def is_idle(self) -> bool:
        """Whether no payload is being decompressed or waits."""
        return not self._lines

    def add(self, job: _Job) -> None:
        """Start a payload, immediately if this loop iteration has time, or queue it until there is room."""
        connection = job.room.connection
        line = self._lines.get(connection)
        if line is None:
            line = self._lines[connection] = _Line(self, connection)
        job.line = line
        if job.room.take() == _TAKEN:
            # If no other payload is started, this one may end within the read that received it. Otherwise that read
            # might complete payloads of other connections, whose handlers must not start in it.
            self._begin(job, at_once=not self._begun)
            return
        insort(line.waiting, (job.key, job), key=_key_of)
        job.timer = connection.gate.loop_state.loop.call_later(self._patience_seconds, self._expire, job)
        self._list(line)
        self._look_later(line)

    def drop(self, job: _Job) -> None:
        """Remove a payload."""
        line = job.line
        if job.is_begun:
            self._end(job)
        else:
            self._stop_waiting(job)
        job.steps.close()
        job.room.close()
        self._settle(line)
        self.look()

    def look(self) -> None:
        """Start waiting payloads while there is room."""
        if self._is_looking:
            # A payload that was decompressed immediately released its room: the outer call of `look` continues.
            return
        self._is_looking = True
        try:
            while self._order:
                line = self._order[0][1]
                job = line.waiting[0][1]
                lack = job.room.take()
                if lack == _TAKEN:
                    self._stop_waiting(job)
                    self._begin(job)
                elif lack == _CONNECTION_IS_FULL:
                    line.is_full = True
                    self._full.add(line)
                    self._list(line)
                else:
                    return
        finally:
            self._is_looking = False

    def _begin(self, job: _Job, *, at_once: bool = False) -> None:
        line = job.line
        job.is_begun = True
        insort(self._begun, (job.key, job), key=_key_of)
        line.begun.append(job)
        self._slice(line, at_once=at_once)

    def _slice(self, line: _Line, *, at_once: bool = False) -> None:
        """Give a line time slices of the loop, from this or the next iteration on, unless it has slices already."""
        if line.is_sliced or not line.begun:
            return
        line.is_sliced = True
        work = SlicedWork(line.connection.gate.loop_state.turns, partial(self._step, line))
        if at_once:
            work.begin()
        else:
            work.queue()

    def _step(self, line: _Line) -> bool:
        """Decompress a part of one payload in a line's time slice; return whether the line has more to do."""
        if not line.begun:
            line.is_sliced = False
            return False
        job = self._current or self._next(line)
        payload = b""
        error: DecodeError | str | None = None
        try:
            size = next(job.steps)
            error = None if size is None else job.room.grow(size)
            if error is None:
                self._steps_left -= 1
                if self._steps_left == 0:
                    self._current = None
                return True
        except StopIteration as end:
            error = job.room.finish(len(end.value))
            if error is None:
                payload = end.value
        except BaseException as problem:
            error = _decode_error(problem)
        if isinstance(error, str):
            count_refusal("memory")
        if error is not None:
            job.steps.close()
            job.room.close()
        self._end(job)
        line.is_sliced = has_more = bool(line.begun)
        self._settle(job.line)
        try:
            job.done(payload, error)
        except Exception:
            # The error ends these slices. Other payloads of the line continue in new slices.
            line.is_sliced = False
            self._slice(line)
            raise
        finally:
            self.look()
        return has_more

    def _next(self, line: _Line) -> _Job:
        """Return the payload whose turn it is."""
        self._steps_left = TURN_STEPS
        self._turns += 1
        if self._turns % TURNS:
            job = self._begun[0][1]
        else:
            job = line.begun[0]
            line.begun.rotate(-1)
        self._current = job
        return job

    def _end(self, job: _Job) -> None:
        """Remove a payload from the started payloads."""
        job.line.begun.remove(job)
        del self._begun[bisect_left(self._begun, job.key, key=_key_of)]
        if self._current is job:
            self._current = None

    def _stop_waiting(self, job: _Job) -> None:
        line = job.line
        del line.waiting[bisect_left(line.waiting, job.key, key=_key_of)]
        self._list(line)
        job.stop_waiting()

    def _expire(self, job: _Job) -> None:
        lack = job.room.take()
        if lack == _TAKEN:
            self._stop_waiting(job)
            self._begin(job)
            return
        why = job.room.lack_text(lack)
        self.drop(job)
        count_refusal("queue")
        job.expired(why)

    def _settle(self, line: _Line) -> None:
        """Update a line after a payload was removed: its connection may have room again, or the line may be empty."""
        if line.is_full:
            line.is_full = False
            self._full.discard(line)
        self._list(line)
        if not line.begun and not line.waiting and self._lines.get(line.connection) is line:
            del self._lines[line.connection]

    def _list(self, line: _Line) -> None:
        """Add the first waiting payload of a line to the order, unless its connection is full."""
        first = line.waiting[0][0] if line.waiting and not line.is_full else None
        if line.listed == first:
            return
        if line.listed is not None:
            del self._order[bisect_left(self._order, line.listed, key=_key_of)]
        if first is not None:
            insort(self._order, (first, line), key=_key_of)
        line.listed = first

    def _look_later(self, line: _Line) -> None:
        if not self._is_look_due:
            self._is_look_due = True
            loop = line.connection.gate.loop_state.loop
            loop.call_later(LOOK_SECONDS, self._look_again)

    def _look_again(self) -> None:
        self._is_look_due = False
        for line in [*self._full]:
            self._settle(line)
        self.look()
        for line in self._lines.values():
            if line.waiting:
                self._look_later(line)
                return


class Unpacking:
    """The compressed requests and stream messages of one server."""

    def __init__(self, message_bytes: int, queue_age: float) -> None:
        self._message_bytes = message_bytes
        self._queue_age = queue_age
        self._requests = _Queue(queue_age)
        self._messages = _Queue(MESSAGE_SECONDS)
        # The requests that are being decompressed or wait.
        self._jobs: dict[ServerCall, _Job] = {}

    @property
    def is_idle(self) -> bool:
        """Whether no request is being decompressed or waits for decompression."""
        return not self._jobs

    def unpack(self, call: ServerCall, compressor: Compressor, payload: bytes) -> None:
        """Decompress a request; the gate gets the result through `unpacked`."""
        job = self._job(call, compressor, payload, is_message=False)
        job.done = partial(self._end_request, call)
        job.expired = partial(self._refuse_request, call)
        self._jobs[call] = job
        self._requests.add(job)

    def stop(self, call: ServerCall) -> None:
        """Stop the decompression of a call that was given up. The gate answers the call immediately."""
        job = self._jobs.pop(call, None)
        # A call without a job does not wait for decompression.
        if job is not None:
            job.drop()
            call.connection.gate.unpacked(call, b"", None)

    def unpack_message(self, stream: ServedStream, call: ServerCall, compressor: int, payload: bytes) -> None:
        """Decompress a message; the stream gets the result through `unpacked`."""
        compressors = call.connection.gate.compressors
        if compressor not in compressors:
            text = f"{call.method}: {unknown_compressor(call, compressor, compressors)}"
            stream.unpacked(b"", None, CallError(Status.UNIMPLEMENTED, text))
            return
        job = self._job(call, compressors[compressor], payload, is_message=True)
        job.done = partial(self._end_message, stream, call, job.room)
        job.expired = partial(self._refuse_message, stream, call)
        stream.begin_unpacking(job)
        self._messages.add(job)

    def close_rooms(self, rooms: list[Room]) -> None:
        """Release the memory rooms of messages that a handler has finished with."""
        for room in rooms:
            room.close()
        self._requests.look()
        self._messages.look()

    def _job(self, call: ServerCall, compressor: Compressor, payload: bytes, *, is_message: bool) -> _Job:
        most = self._message_bytes
        if _is_unproved(call):
            most = min(most, UNPROVED_BYTES)
        stated = stated_size(compressor, payload, most)
        return _Job(
            Room(call.connection, len(payload), stated, is_message=is_message), compressor, payload, most
        )

    def _end_request(self, call: ServerCall, payload: bytes, error: DecodeError | str | None) -> None:
        del self._jobs[call]
        if isinstance(error, str):
            error = f"{call.method}: a decompressed request is larger than it states; memory is full: {error}"
        call.connection.gate.unpacked(
            call, payload, _refusal(call, error) if isinstance(error, DecodeError) else error
        )

    def _refuse_request(self, call: ServerCall, why: str) -> None:
        del self._jobs[call]
        waited = f"{call.method} waited {self._queue_age:g} s for room to be decompressed"
        text = f"{waited}, the most allowed (Admission.queue_age); {why}"
        call.connection.gate.unpacked(call, b"", text)

    def _end_message(
        self,
        stream: ServedStream,
        call: ServerCall,
        room: Room,
        payload: bytes,
        error: DecodeError | str | None,
    ) -> None:
        failure = None
        if isinstance(error, str):
            text = f"{call.method}: a decompressed message is larger than it states; memory is full: {error}"
            failure = CallError(Status.RESOURCE_EXHAUSTED, text)
        elif error is not None:
            refusal = _refusal(call, error)
            failure = CallError(refusal.status, f"{call.method}: {refusal.message}")
        stream.unpacked(payload, room, failure)

    def _refuse_message(self, stream: ServedStream, call: ServerCall, why: str) -> None:
        text = f"{call.method}: a message waited {MESSAGE_SECONDS:g} s for room to be decompressed; {why}"
        stream.unpacked(b"", None, CallError(Status.RESOURCE_EXHAUSTED, text))


def unknown_compressor(call: ServerCall, wire_id: int, compressors: dict[int, Compressor]) -> str:
    """Return the error text for an unknown compressor, which usually lists the accepted ones."""
    text = call.groups.dialect.text_for_compressor(call)
    if text is not None:
        return text
    taken = ", ".join(compressor.name for compressor in compressors.values())
    return f"compressor {compressor_label(wire_id)} is unknown here; known are {taken}"


def _is_unproved(call: ServerCall) -> bool:
    return call.connection.gate.guards.access is not None and call.identity is None


def _refusal(call: ServerCall, error: DecodeError) -> CallError:
    """Return the refusal of a payload that cannot be decompressed, or is too large."""
    if error.status is not Status.RESOURCE_EXHAUSTED:
        return CallError(Status(call.groups.dialect.status_of_corrupt(call)), str(error))
    if _is_unproved(call):
        text = f"{error.message}: without an identity a peer may send no more"
        return CallError(Status.RESOURCE_EXHAUSTED, text)
    return CallError(Status.RESOURCE_EXHAUSTED, str(error))


def _decode_error(problem: BaseException) -> DecodeError:
    """Return a DecodeError for an exception of a decompression. Installed compressors may raise any exception."""
    if isinstance(problem, DecodeError):
        return problem
    return DecodeError(f"the payload cannot be decompressed: {plain_error(problem, 'the compressor')}")
