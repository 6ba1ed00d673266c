"""The handler runner: it runs the handler of a decoded call, and turns the handler's result into the answer."""

cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.calls.call_log cimport CallLog
from fastrpc._core.calls.invocation cimport Chain
from fastrpc._core.loop.handler_task cimport HandlerTask
from fastrpc._core.loop.loop_state cimport LoopState, TaskPool
from fastrpc._core.server.failures cimport HandlerFailures
from fastrpc._core.server.handler_context cimport HandlerContexts
from fastrpc._core.server.memory_budget cimport MemoryBudget
from fastrpc._core.server.output_room cimport OutputRoom
from fastrpc._core.server.served_call cimport ServerCall


@cython.final
cdef class ServerTask(HandlerTask):
    cdef:
        # `runner`: the runner that started the handler; `call`: the call, until the handler ends.
        HandlerRunner runner
        ServerCall call


@cython.final
cdef class HandlerRunner:
    cdef:
        # `loop_state`: the server's loop; `memory`: the bytes that its connections hold; `dispatcher`: the server's
        # Python part (`fastrpc.handlers.dispatcher.Dispatcher`).
        LoopState loop_state
        MemoryBudget memory
        readonly object dispatcher

        # The limits of memory and size for results and errors.
        readonly OutputRoom room

        # Makes the failures that answer errors.
        HandlerFailures failures

        # For handlers that end in their first step: `tasks` and `contexts` are kept for reuse, `current` is the loop's
        # current task.
        TaskPool tasks
        HandlerContexts contexts
        ServerTask current

        # `compressors`: compressors by their numbers; `compress_above`: the size up to which answers are not
        # compressed.
        readonly dict compressors
        public Py_ssize_t compress_above

        # Up to this size, a payload of bytes is sent even if memory is full.
        uint64_t plain_bytes

        # The number of running handlers.
        readonly Py_ssize_t running

        # The interceptors around calls, None without any.
        public Chain chain
        # Whether results are checked against their annotations before they are sent.
        public bint checks_results
        # Nanoseconds that a stream may wait for its peer (`Timeouts.stream_idle`), 0 = no limit.
        public uint64_t stream_idle_ns
        # Whether the dispatcher is notified of the end of each call.
        public bint is_watched

        # The log of the ends of calls, or None.
        public CallLog call_log

    cdef int run(self, ServerCall call) except -1
    cdef int fail(self, ServerCall call, object error) except -1
    cdef int pass_interrupt(self, object error) except -1
    cdef int watch(self, ServerCall call) except -1
    cdef int unwatch(self, ServerCall call) except -1
    cdef int leave_task(self) except -1
    cdef int tell_watcher(self) except -1
    cdef int task_finished(self, ServerTask task) except -1
    cdef ServerTask _acquire(self)
    cdef ServerTask _current_task(self)
    cdef int _run_task(self, ServerCall call, object coroutine) except -1
    cdef int _fail_start(self, ServerCall call, ServerTask task, object context, object failure) except -1
    cdef int _end_first_step(self, ServerCall call, ServerTask task, object context) except -1
    cdef int _finish(self, ServerCall call, object value) except -1
    cdef int _finish_weighed(self, ServerCall call, bytes payload) except -1
    cdef int _answer_weighed(self, ServerCall call, bytes payload) except -1
    cdef int _pack_later(self, ServerCall call, bytes payload) except -1
    cdef int _run_inline(self, ServerCall call) except -1
    cdef int _finish_bare(self, ServerCall call, object value) except -1
    cdef int _run_stream(self, ServerCall call) except -1
    cdef bint _intercepts(self, ServerCall call) except -1
    cdef bytes _encoded(self, ServerCall call, object value)
    cdef bytes _packed(self, ServerCall call, bytes payload)
