"""The memory that the connections of a server hold, in bytes, and its limits."""

cimport cython
from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.base.timer_wheel cimport Timed
from fastrpc._core.loop.loop_state cimport LoopState
from fastrpc._core.server.served_call cimport ServerCall
from fastrpc._core.server.served_connection cimport ServedConnection


@cython.final
cdef class MemoryBudget(Timed):
    cdef:
        # `loop_state`: the loop of the server. `engines`: the engines of its open connections, a set that the gate
        # changes.
        readonly LoopState loop_state
        readonly set engines
        object __weakref__

        # Limits in bytes, of the requests of one connection and of all memory that the process counts. Windows of streams
        # may grow below `lend_below`. Above `refuse_above` new calls are refused, above `shed_above` new calls of priority
        # 1; above `shed_requests_above` each request of the connection is compared with its limit. Above `tight_above`,
        # freed pages are returned to the system, and buffers of received payloads grow in smaller steps.
        int64_t request_bytes
        int64_t process_bytes
        int64_t lend_below
        int64_t tight_above
        int64_t refuse_above
        int64_t shed_above
        int64_t shed_requests_above

        # Bytes above `process_bytes` for incomplete messages of peers that still have credit; above their sum such
        # messages get no more memory.
        int64_t credit_grace

        # The bytes that all decompressions of the process may take.
        readonly int64_t unpacking_bytes

        # `full_wait_ns`: how many nanoseconds a full process may withhold connection credit; tests may shorten it.
        # `is_full`: whether the process is full.
        public uint64_t full_wait_ns
        readonly bint is_full

        # A function that is called once, in the next turn of the loop after the sum fell below its limit; None if no sender
        # waits.
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
        # `call`: the call whose handler holds the pieces; `_memory`: the budget of its connection; `held`: the bytes
        # that it counts for the pieces.
        readonly ServerCall call
        MemoryBudget _memory
        readonly int64_t held

        # `_first_credit`: the initial credit of the call's stream; `_moved_before`: the payload bytes that the call had
        # sent and received by then.
        int64_t _first_credit
        uint64_t _moved_before


@cython.final
cdef class Room:
    cdef:
        # The connection that holds the memory, and its budget. `is_message`: whether the payload is a stream message,
        # not a request.
        MemoryBudget budget
        readonly ServedConnection connection
        bint is_message

        # `packed`: the size of the compressed payload, which is already counted. `stated`: its stated size after
        # decompression.
        Py_ssize_t packed
        readonly Py_ssize_t stated

        # The bytes reserved for the decompression: its output, and STATE_BYTES for its state. 0 before the decompression
        # starts and after it ends.
        int64_t size

        # The bytes counted for the connection: during the decompression, the bytes that it uses; afterwards, for a stream
        # message, the output that the handler holds.
        int64_t held

        # For a stream message: the bytes reserved for its output or, when it is complete, its size, until the handler asks
        # for the next message. For a request: 0.
        int64_t kept
