"""The memory for output of a server's connections: results, errors, messages of streams, parts of bodies.

::

    result ──► takes? ──► encoded ──► takes? ──► output, counted immediately
                  └──► dropped: RESOURCE_EXHAUSTED
    error ───► takes? ──► with its details         message, part ──► is_over? ──► output, counted immediately
                  └──► without them                                     └──► add ──► room ──► is_over? …

A connection's output is counted after each addition that is not small. Otherwise all handlers that become ready in one
turn of the loop would write before any output is counted. Small output is not checked: a handler that waited has a call
record, which counts more.

While memory is short, or after large output has used up the turn, a woken handler continues in a later turn, within the
time of slices (`loop/turns`). Otherwise a thousand handlers that each encode a large value would block the loop for
seconds. The handler of a stream without input continues only when there is memory, as its next message would have to
wait for memory anyway.
"""

from collections import deque

cimport cython

from fastrpc._core.base.raised cimport take_raised
from fastrpc._core.base.wire cimport now_ns

cdef extern from "Python.h":
    int PyContext_Enter(object context) except -1
    int PyContext_Exit(object context) noexcept

cdef enum:
    # How many senders are woken in one turn of the loop. Each of them checks again for memory.
    WOKEN_AT_ONCE = 32

# Encoding that takes longer counts as a large output, whatever the result's size.
cdef uint64_t LONG_NS = 100_000

# The time of woken handlers in one turn of the loop, equal to the time of slices.
cdef uint64_t TURN_NS = 4_000_000

# The interval of checks for memory, as other servers of the process may free memory without a notification.
cdef uint64_t LOOK_NS = 20_000_000


@cython.final
cdef class OutputRoom(Timed):
    """The memory for output of one server's connections."""

    def __init__(self, MemoryBudget memory not None, uint64_t sent_bytes):
        self.memory = memory
        self.sent_bytes = sent_bytes
        self.loop_state = memory.loop_state
        self._senders = deque()
        self._woken = deque()
        self._giving = deque()

    # Results and errors

    cdef bint takes(self, ServerCall call, int64_t size) noexcept:
        """Return whether there is memory for `size` bytes of a call's answer. Its arguments, freed then, do not count."""
        return process_held - call.charge + size <= self.memory.process_bytes

    cdef Py_ssize_t lack_before(self, ServerCall call, object value) except -2:
        """Return -1 if there is memory to encode a result; otherwise its size, or 0 if the size is unknown."""
        cdef Py_ssize_t size
        if type(value) is str or type(value) is bytes:
            # The encoded value has at least this size.
            size = len(value)
            return size if needs_room(call, size) and not self.takes(call, size) else -1
        if value is None or type(value) is bool or type(value) is int or type(value) is float:
            return -1
        return -1 if self.takes(call, 1) else 0

    cdef str lack_text(self, ServerCall call, int64_t size):
        """Return the error text for a dropped result. `size` is 0 if it was not encoded."""
        what = f"the answer of {call.route.method} has {size} bytes" if size else (
            f"the answer of {call.route.method} is dropped unencoded"
        )
        return (
            f"{what}, the server's connections hold {process_held - call.charge} already and may hold "
            f"{self.memory.process_bytes} (Memory.process_bytes)"
        )

    # Written output

    cdef int weigh(self, ServedConnection connection, Py_ssize_t size) except -1:
        """Count the output of a connection again after it grew by `size` bytes, unless `size` is small."""
        if size > SMALL_OUTPUT:
            connection.weigh_answer()
            if size > LARGE_OUTPUT and not connection.is_reading:
                return self.spend(now_ns(), True)
        return 0

    cdef int spend(self, uint64_t began, bint is_large) except -1:
        """Note output that a woken handler wrote since `began`. It counts if it is large or took long."""
        cdef uint64_t now = now_ns()
        if not is_large and now <= began + LONG_NS:
            return 0
        if self._ends_ns == 0:
            # This time is separate from the turn of `loop/turns`, in which reads have their share.
            self._ends_ns = began + TURN_NS
            self.loop_state.call_soon(self._begin_turn)
        if now >= self._ends_ns:
            self.is_spent = True
        return 0

    def _begin_turn(self):
        self._ends_ns = 0
        self.is_spent = False

    # Senders

    @property
    def has_room(self):
        """Whether the sum of the process is within its limit."""
        return not self.is_over()

    cdef int add(self, object future) except -1:
        """Complete a future when there is memory. Its owner has to check again, as other senders may be faster."""
        self._senders.append(future)
        return 0 if self._is_looking else self._watch()

    cdef int _watch(self) except -1:
        """Check again when there may be memory."""
        if self.memory.on_room is None:
            self.memory.on_room = self._look
            self.loop_state.start_timer(self, now_ns() + LOOK_NS)
        return 0

    cdef int on_timer(self) except -1:
        return self._look_soon()

    cdef int _look_soon(self) except -1:
        if not self._is_looking and not self.loop_state.loop.is_closed():
            self._is_looking = True
            self.loop_state.call_soon(self._look)
        return 0

    def _look(self):
        """If there is memory, wake the first senders or, if none wait, the handlers of streams."""
        cdef int woken = 0
        self._is_looking = False
        self.memory.on_room = None
        self.loop_state.stop_timer(self)
        while self._senders and woken < WOKEN_AT_ONCE and not self.is_over():
            future = self._senders.popleft()
            if not future.done():
                future.set_result(None)
                woken += 1
        if self._senders and not self.is_over():
            self._look_soon()
        elif self._senders or self._giving:
            # Drop futures that are done, because their calls have ended.
            self._senders = deque([future for future in self._senders if not future.done()])
            self._free_stopped()
            if self.is_over():
                self._watch()
            else:
                self._queue()

    # Woken handlers

    cdef int defer(self, HandlerTask task, object error, ServerCall giver) except -1:
        """Resume a task in a later turn, after the waiting tasks.

        Args:
            giver: the call of the task, if the task is to continue only when there is memory or the call is stopped.
        """
        (self._woken if giver is None or error is not None else self._giving).append((task, error, giver))
        self.deferred += 1
        return self._queue()

    cdef int _queue(self) except -1:
        if not self._is_queued:
            self._is_queued = True
            self.loop_state.turns.add(self)
        return 0

    cdef int _free_stopped(self) except -1:
        """Let handlers of stopped calls continue without a check of memory, because they send nothing more."""
        cdef object kept = deque()
        for entry in self._giving:
            (self._woken if (<ServerCall>entry[2])._is_stopped() else kept).append(entry)
        self._giving = kept
        return self._queue() if self._woken else 0

    cdef object _next(self):
        """Return the next task that may continue and its error, or None."""
        if self._woken:
            return self._woken.popleft()
        # Senders that already have a message come first.
        return self._giving.popleft() if self._giving and not self._senders and not self.is_over() else None

    cdef bint on_turn(self, uint64_t ends_ns) except -1:
        try:
            if self._go_on(ends_ns):
                return True
        except Exception:
            # The queue of slices drops this object after an error. Put it back, so that waiting tasks continue.
            self._is_queued = False
            self._queue()
            raise
        self._is_queued = False
        if self._giving and not self._is_looking:
            self._watch()
        return False

    cdef int _go_on(self, uint64_t ends_ns) except -1:
        """Resume tasks until none may continue (return 0) or the slice is over (return 1)."""
        cdef object entry = self._next()
        while entry is not None:
            self.deferred -= 1
            _resume(self, <HandlerTask>entry[0], entry[1])
            if now_ns() >= ends_ns:
                return 1
            entry = self._next()
        return 0


cdef int _resume(OutputRoom room, HandlerTask task, object error) except -1:
    # Stored here, because the end of the task may pass the context to another call.
    cdef object context = task._context
    try:
        try:
            PyContext_Enter(context)
        except RuntimeError as problem:
            # Another thread has entered the context. Abandon the task, because nothing would wake it again.
            task._abandon(problem)
            task.finished()
            return 0
        try:
            task.resume(error)
        finally:
            if PyContext_Exit(context) < 0:
                _report(room, task, take_raised(), "The handler replaced the current context")
    except Exception as problem:
        # An error does not stop later tasks, like an error in a callback of the loop.
        _report(room, task, problem, "A task failed")
    return 0


cdef int _report(OutputRoom room, HandlerTask task, object error, str message) except -1:
    room.loop_state.loop.call_exception_handler({"task": task, "exception": error, "message": message})
    return 0
