from cpython.object cimport PyObject
from libc.stdint cimport uint32_t, uint64_t

from fastrpc._core.call cimport Route
from fastrpc._core.client_session cimport ClientSession
from fastrpc._core.pending_call cimport PendingCall


cdef class CallerState:
    cdef:
        # Shared by a Client and all its views. The loop of its first use, and the fork it was used before.
        readonly object loop
        uint64_t fork_generation
        unsigned long thread
        object is_running
        dict future_options

        # Python's part: `run(call)`, `run_batch(batch)`, `retry(call, error)` return coroutines; `resolve(method, codec)`
        # makes a Route; `compressors` is {wire id: Compressor}.
        readonly object runner
        object resolve
        public dict compressors
        public uint64_t message_limit

        # Seconds as nanoseconds, 0 = no limit; payloads above `compress_above` bytes are compressed if asked.
        public uint64_t default_timeout_ns
        public Py_ssize_t compress_above

        # Whether calls always take the slow path (interceptors, a selector); connections calls may go out on.
        public bint needs_runner
        list sessions
        Py_ssize_t turn

        # {codec name: {method: Route}}
        dict routes

    cdef ClientSession pick(self)
    cdef int check_use(self) except -1


cdef class Caller:
    cdef:
        readonly CallerState state

        # The options of this view; see Client.with_options.
        dict routes
        readonly str codec
        bint has_timeout
        uint64_t timeout_ns
        readonly bytes sent_metadata
        readonly object metadata
        readonly object compressor
        readonly int priority
        readonly object idempotent
        readonly bint wait_for_ready
        readonly object fail_mode
        readonly object hash_key
        readonly object endpoint
        bint needs_runner

    cdef Route route_of(self, object method)
    cdef ClientCall new_call(self, object method, tuple args, dict kwargs, int verb)
    cdef int dress(self, PendingCall call, Route route, uint64_t now) except -1
    cdef bytes pack(self, PendingCall call, bytes payload, ClientSession session)


cdef class CoroutineCall(PendingCall):
    cdef:
        readonly Caller caller

        # How far the coroutine is, what it waits on, and the coroutine that does the work on the slow path.
        int phase
        object future
        object inner
        ClientSession session

    cdef int step(self, object value, PyObject** result) except -1
    cdef int begin(self, PyObject** result) except -1
    cdef int resume(self, PyObject** result) except -1
    cdef int abandon(self, int reason) except -1
    cdef int wait(self, PyObject** result) except -1
    cdef int delegate(self, object inner, PyObject** result) except -1
    cdef int _delegated(self, object value, PyObject** result) except -1


cdef class ClientCall(CoroutineCall):
    cdef:
        # What to send, until it was sent, and what is wanted of it.
        readonly tuple args
        readonly dict kwargs
        readonly int verb

        # An attempt of another call: its connection is given, its deadline is that call's, errors are not retried.
        bint is_attempt

    cdef bytes prepare(self, uint64_t now)
    cdef int send_on(self, ClientSession session) except -1
    cdef object finish(self)


cdef class BatchMember(PendingCall):
    cdef:
        BatchCall batch


cdef class BatchCall(CoroutineCall):
    cdef:
        # What to send; how many answers are missing; whether errors are results.
        readonly list argument_tuples
        readonly bint return_exceptions
        readonly list members
        Py_ssize_t missing
        bint is_attempt
