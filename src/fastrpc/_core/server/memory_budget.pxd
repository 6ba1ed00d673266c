"""The bytes that the connections of a server hold, and their bounds."""

cimport cython
from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.base.timer_wheel cimport Timed
from fastrpc._core.loop.loop_state cimport LoopState
from fastrpc._core.server.served_call cimport ServerCall
from fastrpc._core.server.served_connection cimport ServedConnection


@cython.final
cdef class MemoryBudget(Timed):
    cdef:
        # The loop of the server; its live connections, a set that the server changes.
        readonly LoopState loop_state
        readonly set engines
        object __weakref__

        # Bounds in bytes, of the requests of one connection and of all that the process holds. Above `shed_above` calls
        # of priority 1 are refused; above `shed_requests_above` each request is compared with the remaining bytes.
        # Above `tight_above`, freed pages go back to the system, and received payloads grow slowly.
        int64_t request_bytes
        int64_t process_bytes
        int64_t lend_below
        int64_t tight_above
        int64_t refuse_above
        int64_t shed_above
        int64_t shed_requests_above

        # Extra bytes for begun messages from peers with credit: no credit is given above 100 %.
        int64_t credit_grace

        # The bytes that all decompressions of the process may take.
        readonly int64_t unpacking_bytes

        # The nanoseconds for which a full process returns no connection credit; tests may shorten them.
        public uint64_t full_wait_ns
        readonly bint is_full

        # Called once, in the next turn of the loop after the sum is within its bound again; None: no sender waits.
        object on_room

    cdef int count(self, int64_t change) except -1
    cdef int count_tail(self, ServedConnection connection, Py_ssize_t change) except -1
    cdef str count_part(self, ServedConnection connection, Py_ssize_t size, bint is_new)
    cdef int end_part(self, ServedConnection connection, bint is_over) except -1
    cdef int charge(self, ServerCall call, Py_ssize_t size) except -1
    cdef int _hold_requests(self, ServedConnection connection, Py_ssize_t change, Py_ssize_t record) except -1
    cdef str excess(self, ServerCall call, Py_ssize_t size, bint is_new)


@cython.final
cdef class HeldPieces:
    cdef:
        # The call whose handler holds the pieces, its connection's budget, and the bytes counted there.
        readonly ServerCall call
        MemoryBudget _memory
        readonly int64_t held

        # The initial credit of the call's stream, and the bytes that the call had moved before.
        int64_t _first_credit
        uint64_t _moved_before


@cython.final
cdef class Room:
    cdef:
        # The holder of the memory.
        MemoryBudget budget
        readonly ServedConnection connection
        bint is_message

        # The received payload, counted as a request or a stream message, and its stated size.
        Py_ssize_t packed
        readonly Py_ssize_t stated

        # The most bytes that the decompression may take, including STATE_BYTES beside its output; 0 before its begin
        # and after its end.
        int64_t size

        # The bytes counted for the connection: at first, what the decompression has taken; then, for a stream message,
        # the output that its handler holds.
        int64_t held

        # For a stream message: the most bytes of its output; once it is complete, its size, until the handler asks for
        # the next message. For a request: 0.
        int64_t kept
