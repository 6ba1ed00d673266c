"""The gate: the steps of a call on its way to its handler, in every protocol."""

cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastrpc._core.calls.call cimport RouteTable
from fastrpc._core.loop.loop_state cimport LoopState
from fastrpc._core.server.admission cimport CallAdmission, LaterSteps
from fastrpc._core.server.guards cimport Guards
from fastrpc._core.server.handler_runner cimport HandlerRunner
from fastrpc._core.server.memory_budget cimport MemoryBudget
from fastrpc._core.server.refused_calls cimport CallCounters, RefusedCalls
from fastrpc._core.server.served_call cimport ServerCall
from fastrpc._core.server.served_connection cimport ServedConnection
from fastrpc._core.server.start_turns cimport StartTurns


@cython.final
cdef class Gate(LaterSteps):
    cdef:
        # `loop_state`: the loop of the server; `engines`: the engines of its open connections; `connections`: the limit
        # of connections; `refused_connections`: how many were refused.
        readonly LoopState loop_state
        readonly set engines
        readonly Py_ssize_t connections
        readonly uint64_t refused_connections

        # The parts. `memory`: the bytes that connections hold. `counters`: the counters of all calls. `refusals`:
        # refuses calls. `admission`: the budgets, and the calls that wait for their start. `turns`: starts these calls.
        # `guards`: the rights and limits of callers. `runner`: runs handlers.
        readonly MemoryBudget memory
        readonly CallCounters counters
        readonly RefusedCalls refusals
        readonly CallAdmission admission
        readonly StartTurns turns
        readonly Guards guards
        readonly HandlerRunner runner

        # The Python part (`fastrpc.handlers.dispatcher.Dispatcher`).
        readonly object dispatcher

        # Limits for engines of protocols other than the native one: calls in progress (`concurrent_calls`), and bytes
        # of metadata (`metadata_bytes`).
        Py_ssize_t concurrent_calls
        uint32_t metadata_bytes

        # Limits in bytes: of a received message (`message_bytes`), and of the output of one connection, soft
        # (`send_soft`) and hard (`send_hard`).
        uint64_t message_bytes
        int64_t send_soft
        int64_t send_hard

        # The methods of the server.
        readonly RouteTable routes

        # `codecs` and `compressors`: the names of codecs and compressors that requests may use, by number.
        # `takes_codec`: for each codec number, whether and when requests may use it (Taken).
        readonly dict codecs
        readonly dict compressors
        int[256] takes_codec

        # The timeout of calls whose caller states none, in nanoseconds; 0 = none.
        uint64_t default_timeout_ns

        # An ended call that can be reused, or None.
        ServerCall spare

    cdef bint add_engine(self, object engine) except -1
    cdef ServerCall _new_call(self, ServedConnection connection, object metadata)
    cdef bint refuses_early(self, ServerCall call, bytes name, Py_ssize_t size) except -1
    cdef int pass_in_alone(self, ServerCall call, bytes name, bytes payload) except -1
    cdef uint64_t timeout_of(self, uint64_t stated_us, int flags) noexcept
    cdef bint await_rest(self, ServerCall call) except -1
    cdef int refuse_rest(self, ServerCall call) except -1
    cdef int refuse_unknown(self, ServerCall call, bytes method, uint64_t names, bytes payload) except -1
    cdef int pass_in(self, ServerCall call, const char* method, Py_ssize_t size, uint64_t names, bytes payload) except -1
    cdef int pass_known(self, ServerCall call, bytes payload) except -1
    cdef int pass_unjudged(self, ServerCall call, bytes payload) except -1
    cdef int cancel(self, ServerCall call, bint is_late) except -1
    cdef int end_call(self, ServerCall call, str text) except -1
    cdef int note_answered(self, ServerCall call, int status, str text) except -1
    cdef int leave(self, ServedConnection connection) except -1
