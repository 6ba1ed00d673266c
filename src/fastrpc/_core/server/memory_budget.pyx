"""The memory that the connections of a server hold: it is counted in bytes, compared with limits, freed.

Requests, call records, answers, output, deferred reads, parts of frames and stream messages count (PROTOCOL.md,
"Memory"). All servers of a process share one sum. While the sum exceeds its limit, credit is withheld for a while; then
the connection that holds the most bytes is closed.

A payload reserves a `Room` of its stated size before it is decompressed, and counts as it grows. The rooms of all
servers together have at most a quarter of `Memory.process_bytes`, and so have decompressed stream messages in handlers.
A single payload may have any size, because otherwise it could never be handled.
"""

import logging
import os
import weakref

cimport cython
from cpython.bytes cimport PyBytes_GET_SIZE

from fastrpc._core.base.buffer cimport grow_tightly
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.loop.loop_state cimport loop_state
from fastrpc._core.server.served_call cimport is_sheddable
from fastrpc._core.server.served_connection cimport CALL_RECORD, HOLD_REQUESTS, hold_bytes, process_held
from fastrpc._core.wire.frame cimport REASON_MEMORY

from fastrpc._core.base.histogram import count_refusal
from fastrpc.errors import CallError
from fastrpc.status import Status

# PROTOCOL.md, "Memory": the longest time for which credit is withheld.
cdef uint64_t FULL_NS = 5_000_000_000

cdef enum:
    # The limit that a decompression exceeds: none, the connection's, or the process's.
    LACK_NONE = 0
    LACK_CONNECTION = 1
    LACK_PROCESS = 2
    # The bytes that a decompression needs at most in addition to its output: its state, its window, a piece of output.
    STATE_BYTES = 65_536
    # All decompressions together may use this part of `Memory.process_bytes`: a quarter.
    UNPACKING_SHARE = 4

    # The heap is checked after this many bytes were freed.
    MUCH_FREED = 33_554_432

cdef extern from *:
    """
    #ifdef __GLIBC__
    #include <malloc.h>
    #define return_free_pages() malloc_trim(0)
    /* By itself, malloc raises the threshold from the first of these to the second as large blocks are freed. */
    #define map_large_blocks(is_on) mallopt(M_MMAP_THRESHOLD, (is_on) ? 131072 : 33554432)
    #else
    #define return_free_pages() 0
    #define map_large_blocks(is_on) 0
    #endif
    """
    int return_free_pages() nogil
    int map_large_blocks(int is_on) nogil

# Whether memory is short: above `MemoryBudget.tight_above`.
cdef bint is_short = False
# `freed`: the bytes freed since the last check of the heap; `trim_after_ns`: the earliest instant at which its free
# pages are returned again.
cdef int64_t freed = 0
cdef uint64_t trim_after_ns = 0
# Whether large blocks are mapped outside the heap, so that their memory is returned to the system when they are freed.
# After the first change the allocator does not adjust this threshold itself any more.
cdef bint is_mapping = False

# The rooms of this process. `rooms_taken`: the bytes reserved for running decompressions; `rooms_left`: the part of
# these bytes that is not counted yet.
cdef int64_t rooms_taken = 0
cdef int64_t rooms_left = 0
# The bytes reserved for decompressed stream messages, until their handlers ask for the next message.
cdef int64_t rooms_kept = 0

# The budgets of all servers of the process, to find the connection that holds the most bytes.
budgets = weakref.WeakSet()

logger = logging.getLogger("fastrpc.server")


def _forked():
    # The bytes of the parent's connections count only in the parent.
    global freed, rooms_taken, rooms_left, rooms_kept
    hold_bytes(-process_held)
    _note_memory(False)
    freed = 0
    rooms_taken = rooms_left = rooms_kept = 0


os.register_at_fork(after_in_child=_forked)


def bytes_held():
    """Return the bytes that all connections of this process hold."""
    return process_held


cdef int _note_memory(bint is_on) noexcept:
    """Note whether memory is short."""
    global is_short
    is_short = is_on
    grow_tightly(is_on)
    return 0


cdef inline int _note_freed(int64_t size) noexcept:
    global freed
    freed += size
    return 0 if freed < MUCH_FREED else _look_at_heap()


cdef int _look_at_heap() noexcept:
    """If memory is short, return the freed pages of the heap, which it otherwise keeps between used blocks.

    This takes 1 to 11 ms. It is done rarely enough to take at most a twentieth of the time.
    """
    global freed, trim_after_ns, is_mapping
    cdef uint64_t began = now_ns(), ended
    freed = 0
    if is_short != is_mapping:
        is_mapping = is_short
        map_large_blocks(is_short)
    if is_short and began >= trim_after_ns:
        with nogil:
            return_free_pages()
        ended = now_ns()
        trim_after_ns = ended + 19 * (ended - began)
    return 0


@cython.final
cdef class MemoryBudget(Timed):
    """The memory that the connections of one server hold."""

    def __init__(self, loop, set engines not None, limits, memory):
        self.loop_state = loop_state(loop)
        self.engines = engines
        # The limit for requests is at least the size of the largest message.
        self.request_bytes = max(memory.request_bytes, limits.message_bytes)
        self.process_bytes = memory.process_bytes
        self.tight_above = memory.process_bytes // 2
        self.lend_below = memory.process_bytes * 70 // 100
        self.refuse_above = memory.process_bytes * 85 // 100
        self.shed_above = memory.process_bytes * 70 // 100
        self.shed_requests_above = self.request_bytes * 3 // 4
        self.unpacking_bytes = memory.process_bytes // UNPACKING_SHARE
        self.full_wait_ns = FULL_NS
        self.credit_grace = max(memory.process_bytes // 8, limits.message_bytes)
        budgets.add(self)

    cdef int count(self, int64_t change) except -1:
        """Add `change`, which may be negative, to the bytes that connections hold."""
        cdef int64_t held = hold_bytes(change)
        if (held > self.tight_above) != is_short:
            _note_memory(held > self.tight_above)
        if change < 0:
            _note_freed(-change)
        if not self.is_full:
            if held > self.process_bytes:
                self.is_full = True
                self.loop_state.start_timer(self, now_ns() + self.full_wait_ns)
        elif held <= self.process_bytes:
            self.loop_state.stop_timer(self)
            _return_credit(self)
        if self.on_room is not None and held <= self.process_bytes:
            on_room, self.on_room = self.on_room, None
            self.loop_state.call_soon(on_room)
        return 0

    cdef int count_tail(self, ServedConnection connection, Py_ssize_t change) except -1:
        """Add `change` to the received bytes of a connection that wait for a turn of the loop."""
        connection.tail_held += change
        return self.count(change)

    cdef str count_part(self, ServedConnection connection, Py_ssize_t size, bint is_new):
        """Count the received part of an incomplete frame; return why its rest is refused, or None."""
        cdef int64_t change = size - connection.part_held
        connection.part_held = size
        self.count(change)
        # A single frame may have any size.
        return _part_excess(self, process_held - size, 0 if is_new else connection.grace_bytes)

    cdef int end_part(self, ServedConnection connection, bint is_over) except -1:
        """End the count of an incomplete frame; `is_over` if it was dropped or its message is counted by now."""
        hold_bytes(-connection.part_held)
        _note_freed(connection.part_held)
        connection.part_held = 0
        return self.count(0) if is_over else 0

    def count_answer(self, ServedConnection connection not None, Py_ssize_t change):
        """Add `change`, which may be negative, to the bytes of answers that are not in the output yet."""
        connection.answer_held += change
        self.count(change)

    cdef int on_timer(self) except -1:
        """Close the connection that holds the most bytes if withholding credit for the longest time did not help."""
        cdef ServedConnection connection
        _return_credit(self)
        if process_held <= self.process_bytes:
            return 0
        self.is_full = True
        self.loop_state.start_timer(self, now_ns() + self.full_wait_ns)
        largest = max(
            (engine for budget in list(budgets) for engine in list((<MemoryBudget>budget).engines)),
            key=lambda engine: engine.connection.held_bytes, default=None,
        )
        if largest is None:
            return 0
        connection = <ServedConnection>largest.connection
        text = (
            f"the server's connections hold {process_held} bytes, {self.process_bytes} are allowed "
            f"(Memory.process_bytes); this one holds the most, {connection.held_bytes}"
        )
        logger.warning("closed the connection of %s: %s", connection.describe_peer(), text)
        if connection.gate.loop_state is self.loop_state:
            largest.close(REASON_MEMORY, text)
        else:
            connection.gate.loop_state.loop.call_soon_threadsafe(largest.close, REASON_MEMORY, text)
        return 0

    cdef int charge(self, ServerCall call, Py_ssize_t size) except -1:
        """Set the counted bytes of a call to `size`; 0 at its end."""
        cdef ServedConnection connection = call.connection
        cdef Py_ssize_t change = size - call.charge, record = 0
        if change == 0:
            return 0
        if call.charge == 0:
            record = CALL_RECORD
            if call.received_metadata is not None:
                record += PyBytes_GET_SIZE(call.received_metadata)
            call.record = record
        elif size == 0:
            record = -call.record
        call.charge = size
        connection.record_held += record
        return self._hold_requests(connection, change, record)

    cdef inline int _hold_requests(self, ServedConnection connection, Py_ssize_t change, Py_ssize_t record) except -1:
        connection.request_held += change
        if connection.request_held + connection.piece_bytes > self.shed_requests_above:
            connection.holding |= HOLD_REQUESTS
        else:
            connection.holding &= ~HOLD_REQUESTS
        return self.count(change + record)

    cdef str excess(self, ServerCall call, Py_ssize_t size, bint is_new):
        """Return why `size` more bytes of a call are refused, or None."""
        cdef ServedConnection connection = call.connection
        cdef bint is_last = is_sheddable(call)
        cdef int64_t most = self.shed_above if is_last else self.refuse_above
        cdef str problem
        if is_new and process_held > most:
            return (
                f"the server's connections hold {process_held} bytes, new calls{' of priority 1' if is_last else ''} are "
                f"refused above {most} ({70 if is_last else 85} % of Memory.process_bytes)"
            )
        problem = None if is_new else _part_excess(self, process_held, connection.grace_bytes)
        if problem is not None:
            return problem
        most = self.request_bytes
        if is_last and connection.request_held:
            # A single request may have any size.
            most = self.shed_requests_above
        if connection.request_held + size > most:
            return (
                f"the requests of this connection hold {connection.request_held} bytes, {size} more are over the "
                f"server's {most} ({'75 % of ' if most < self.request_bytes else ''}Memory.request_bytes"
                f"{', for calls of priority 1' if most < self.request_bytes else ''})"
            )
        return None


cdef str _part_excess(MemoryBudget budget, int64_t held, int64_t grace):
    """Return why incomplete requests must not grow while `held` bytes are held, or None."""
    if held <= budget.process_bytes + grace:
        return None
    # Refuse them instead of letting them wait: messages that grow concurrently would block each other.
    return (
        f"the server's connections hold {process_held} bytes, {budget.process_bytes} are allowed "
        "(Memory.process_bytes): incomplete requests are dropped"
    )


cdef int _return_credit(MemoryBudget budget) except -1:
    """Let all connections return withheld credit. An error of one connection does not stop the others."""
    budget.is_full = False
    for engine in list(budget.engines):
        try:
            (<ServedConnection?>engine.connection).return_credit()
        except Exception as error:
            logger.error("fastrpc: %r cannot return its credit", engine, exc_info=error)
    return 0


@cython.final
cdef class HeldPieces:
    """The memory of pieces that a handler reads before its stream sends them, counted for connection and process."""

    def __init__(self, ServerCall call):
        self.call = call
        if call is None:
            return
        self._memory = <MemoryBudget?>call.connection.gate.memory
        self._first_credit = call.send_left
        self._moved_before = call.moved_bytes
        if call.stream is not None:
            call.stream.counts_ahead = True

    def begin(self, Py_ssize_t size):
        """Count the first piece, before it is read.

        Raises:
            CallError: with RESOURCE_EXHAUSTED, if the process holds too many bytes for new calls.
        """
        problem = None if self.call is None else self._memory.excess(self.call, 0, True)
        if problem is not None:
            count_refusal("memory")
            self.call.never_started = True
            raise CallError(Status.RESOURCE_EXHAUSTED, problem, processed="no")
        self.hold(size)

    def hold(self, int64_t size):
        """Set the counted bytes of the pieces to `size`."""
        cdef int64_t change = size - self.held
        if change and self.call is not None:
            self.held = size
            self.call.connection.stream_held += change
            self._memory.count(change)

    def may_hold(self, int64_t size):
        """Return whether there is memory for pieces of `size` bytes. There always is for a single piece."""
        if self.call is None:
            return True
        # Below its limit the process accepts one more piece, even if it then exceeds the limit. Otherwise, with the sum
        # just below the limit, nothing might end the wait.
        return process_held <= self._memory.process_bytes or process_held < size - self.held

    @property
    def may_read_ahead(self):
        """Whether a piece may be read while the previous one is sent: the peer gives credit, and there is memory."""
        cdef int64_t moved
        if self.call is None:
            return True
        moved = <int64_t>(self.call.moved_bytes - self._moved_before)
        return self.call.send_left + moved > self._first_credit and process_held < self._memory.lend_below

    def room(self):
        """Return a future that completes when the stream can send; None if it can now, or without a stream."""
        stream = None if self.call is None else self.call.stream
        return None if stream is None else stream.wait_where_full()


@cython.final
cdef class Room:
    """The memory of one payload that is decompressed. A stream message keeps it until its handler asks for the next."""

    def __init__(self, ServedConnection connection not None, Py_ssize_t packed, Py_ssize_t stated, *, bint is_message=False):
        self.connection = connection
        self.budget = <MemoryBudget?>connection.gate.memory
        self.packed = packed
        self.stated = stated
        self.is_message = is_message
        if not is_message:
            connection.rooms_packed += packed

    def __dealloc__(self):
        # For a payload whose loop was closed first. The connection uncounts the bytes of the payload.
        global rooms_taken, rooms_left, rooms_kept
        rooms_taken -= self.size
        rooms_left -= self.size - self.held if self.size else 0
        rooms_kept -= self.kept

    def take(self):
        """Reserve the stated size. Return 0, or 1 if it exceeds the limit of the connection, 2 of the process."""
        cdef int lack = _lack(self, self.stated + STATE_BYTES)
        if lack == 0:
            _enlarge(self, self.stated + STATE_BYTES)
        return lack

    def lack_text(self, int lack):
        """Return the error text for a result of `take` that is not 0."""
        if lack == LACK_CONNECTION:
            return f"input of its connection may hold up to {self.budget.request_bytes} bytes (Memory.request_bytes)"
        return (
            f"concurrent decompressions may hold up to {self.budget.unpacking_bytes} bytes (a quarter of "
            f"Memory.process_bytes), the server's connections in all {self.budget.refuse_above} (85 %)"
        )

    def grow(self, Py_ssize_t size):
        """Count an output that has `size` bytes by now; return why there is no memory for it, or None."""
        cdef int lack = 0
        if size + STATE_BYTES > self.size:
            lack = _lack(self, size + STATE_BYTES)
            if lack:
                return self.lack_text(lack)
            _enlarge(self, size + STATE_BYTES)
        _hold(self, size + STATE_BYTES)
        return None

    def finish(self, Py_ssize_t size):
        """Note that the output is complete; return why there is no memory for it, or None."""
        global rooms_kept
        cdef object problem = self.grow(size) if size + STATE_BYTES > self.size else None
        if problem is None and self.is_message:
            rooms_kept += size - self.kept
            self.connection.rooms_kept += size - self.kept
            self.kept = size
            _leave(self)
            _hold(self, size)
        else:
            self.close()
        return problem

    def close(self):
        """Return all reserved and counted bytes."""
        global rooms_kept
        _leave(self)
        _hold(self, 0)
        if not self.is_message:
            self.connection.rooms_packed -= self.packed
            self.packed = 0
        rooms_kept -= self.kept
        self.connection.rooms_kept -= self.kept
        self.kept = 0


cdef int _lack(Room room, int64_t size) except -1:
    """Return the limit that `size` bytes in total exceed: LACK_NONE, LACK_CONNECTION or LACK_PROCESS."""
    cdef MemoryBudget budget = room.budget
    cdef ServedConnection connection = room.connection
    cdef int64_t more = size - room.size, others = rooms_taken - room.size + rooms_kept - room.kept
    if rooms_taken > room.size and rooms_taken + more > budget.unpacking_bytes:
        return LACK_PROCESS
    if not room.is_message:
        others = rooms_taken - room.size
    elif rooms_kept > room.kept and rooms_kept - room.kept + size - STATE_BYTES > budget.unpacking_bytes:
        return LACK_PROCESS
    if (process_held + rooms_left + more if others else process_held - room.packed - room.held) > budget.refuse_above:
        # A single message may have any size, but not while earlier messages are still kept.
        return LACK_PROCESS
    if room.is_message:
        others = connection.rooms_kept - room.kept
        return LACK_CONNECTION if others and others + size - STATE_BYTES > budget.request_bytes else LACK_NONE
    # Waiting compressed requests do not count, as otherwise many of them might block each other.
    others = connection.request_held - connection.rooms_packed + connection.rooms_left - connection.rooms * STATE_BYTES
    if room.size == 0:
        more -= STATE_BYTES
    return LACK_CONNECTION if others + more > budget.request_bytes else LACK_NONE


cdef int _enlarge(Room room, int64_t size) except -1:
    """Raise the bytes reserved for the decompression of a payload to `size`."""
    global rooms_taken, rooms_left, rooms_kept
    cdef int64_t more = size - room.size
    rooms_taken += more
    rooms_left += more
    if room.is_message:
        more = size - STATE_BYTES - room.kept
        rooms_kept += more
        room.connection.rooms_kept += more
        room.kept += more
    else:
        room.connection.rooms_left += more
        room.connection.rooms += room.size == 0
    room.size = size
    return 0


cdef int _leave(Room room) except -1:
    """End the decompression."""
    global rooms_taken, rooms_left
    if room.size == 0:
        return 0
    rooms_taken -= room.size
    rooms_left -= room.size - room.held
    if not room.is_message:
        room.connection.rooms_left -= room.size - room.held
        room.connection.rooms -= 1
    room.size = 0
    return 0


cdef int _hold(Room room, int64_t held) except -1:
    """Set the counted bytes of a payload to `held`, as stream data or as requests of the connection."""
    global rooms_left
    cdef int64_t change = held - room.held
    room.held = held
    if room.size:
        # During the decompression, `rooms_left` has the part of the room that is not counted.
        rooms_left -= change
    if room.is_message:
        room.connection.stream_held += change
        return room.budget.count(change)
    if room.size:
        # The connection has such a sum only for requests.
        room.connection.rooms_left -= change
    return room.budget._hold_requests(room.connection, change, 0)
