from libc.stdint cimport uint64_t

from fastrpc._core.serving.admission cimport AdmittedCall, Admission, GuardedSession
from fastrpc._core.calls.call cimport Route, RouteTable
from fastrpc._core.serving.handler_context cimport HandlerContexts
from fastrpc._core.loop.handler_task cimport HandlerTask, TaskPool
from fastrpc._core.framing.settings cimport WireNumbers


cdef class ServerState(Admission):
    cdef:
        # What all connections of a server share: its methods, and its Python part (`fastrpc.server.Dispatcher`).
        readonly RouteTable routes
        readonly object dispatcher
        TaskPool tasks

        # What handlers run in that end in their first step: the context, and the task that is current meanwhile.
        HandlerContexts contexts
        ServerTask current

        # A call that ended and can be used again.
        ServerCall spare

        # Codecs and compressors that requests may use; the codecs also by their numbers, as each request asks.
        readonly WireNumbers numbers
        bint[256] takes_codec
        public Py_ssize_t compress_above

        # The caller's time when it names none; handlers under way; what expired unstarted.
        uint64_t default_timeout_ns
        readonly Py_ssize_t running
        readonly uint64_t expired_unstarted

        # Whether calls go through interceptors, whether results are checked against their annotations before they are
        # sent, and whether the dispatcher wants to hear of every end.
        public bint has_interceptors
        public bint checks_results
        public bint is_watched

    cdef ServerTask acquire(self)
    cdef ServerTask current_task(self)
    cdef int leave_task(self) except -1


cdef class ServerTask(HandlerTask):
    cdef:
        # The call whose handler runs, until it ended.
        ServerCall call


cdef class ServerCall(AdmittedCall):
    cdef:
        # Its connection and, while a handler runs in it, its task; how it is to end when the handler was told to stop.
        readonly GuardedSession session
        HandlerTask task
        public object identity
        readonly bint is_expired
        bint was_cancelled
        bint is_running
        bint is_held

        # Whether no handler saw it: an interceptor, or a full queue, refused it.
        public bint never_started

        # Decoded once; what became of it, for interceptors.
        readonly object given
        object outcome_status
        object outcome_error

        # For `interception`: the handler returned None; an interceptor called `proceed` and dropped what it returned.
        public bint _gave_none
        public bint _dropped_proceed

    cdef int stop(self) except -1
    cdef bint make_new(self) noexcept


cdef int report_long_step(Route route, uint64_t nanoseconds) except -1
