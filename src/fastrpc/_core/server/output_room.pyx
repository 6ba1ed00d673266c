"""Memory for the outputs of a server's connections: results, errors, messages of streams, parts of bodies.

::

    result ──► takes? ──► encoded ──► takes? ──► output, weighed at once
                  └──► dropped: RESOURCE_EXHAUSTED
    error ───► takes? ──► with its details         message, part ──► is_over? ──► output, weighed at once
                  └──► without them                                     └──► add ──► room ──► is_over? …

Handlers that become ready in one turn of the loop would otherwise all write before any output is weighed. So a
connection's output is weighed after each addition that is not small. Small outputs need no room: a handler that waited
has a call record, which counts as more.

A woken handler continues in a later turn, within the time of slices (`loop/turns`), while memory is short and after
large outputs have used up the turn: a thousand handlers that each encode a large value would hold the loop for seconds.
The handler of a stream without input continues once there is room: before, its next message would only wait.
"""

from collections import deque

cimport cython

from fastrpc._core.base.raised cimport take_raised
from fastrpc._core.base.wire cimport now_ns

cdef extern from "Python.h":
    int PyContext_Enter(object context) except -1
    int PyContext_Exit(object context) noexcept

cdef enum:
    # Senders woken in one turn of the loop: each checks again for room.
    WOKEN_AT_ONCE = 32

# Encoding that takes longer counts against the turn of the loop, whatever the result's size.
cdef uint64_t LONG_NS = 100_000

# The time of woken handlers in one turn of the loop, equal to the time of slices.
cdef uint64_t TURN_NS = 4_000_000

# Other servers of the process may free memory without notice.
cdef uint64_t LOOK_NS = 20_000_000


@cython.final
cdef class OutputRoom(Timed):
    """The room for the outputs of one server's connections."""

    def __init__(self, MemoryBudget memory not None, uint64_t sent_bytes):
        self.memory = memory
        self.sent_bytes = sent_bytes
        self.loop_state = memory.loop_state
        self._senders = deque()
        self._woken = deque()
        self._giving = deque()

    # Results and errors

    cdef bint takes(self, ServerCall call, int64_t size) noexcept:
        """Return whether there is room for a call's outcome; the call's arguments are freed with the outcome."""
        return process_held - call.charge + size <= self.memory.process_bytes

    cdef Py_ssize_t lack_before(self, ServerCall call, object value) except -2:
        """Return -1 if a result may be encoded; if memory is short, its size, or 0 if only encoding shows the size."""
        cdef Py_ssize_t size
        if type(value) is str or type(value) is bytes:
            # No codec makes the value smaller.
            size = len(value)
            return size if needs_room(call, size) and not self.takes(call, size) else -1
        if value is None or type(value) is bool or type(value) is int or type(value) is float:
            return -1
        return -1 if self.takes(call, 1) else 0

    cdef str lack_text(self, ServerCall call, int64_t size):
        """Return why a result is dropped; `size` is 0 if it was not encoded."""
        what = f"the answer of {call.route.method} has {size} bytes" if size else (
            f"the answer of {call.route.method} is dropped unencoded"
        )
        return (
            f"{what}, the server's connections hold {process_held - call.charge} already and may hold "
            f"{self.memory.process_bytes} (Memory.process_bytes)"
        )

    # Outputs that were written

    cdef int weigh(self, ServedConnection connection, Py_ssize_t size) except -1:
        """Recount the output of a connection, which grew by `size` bytes."""
        if size > SMALL_OUTPUT:
            connection.weigh_answer()
            if size > LARGE_OUTPUT and not connection.is_reading:
                return self.spend(now_ns(), True)
        return 0

    cdef int spend(self, uint64_t began, bint is_large) except -1:
        """Note an output that a woken handler wrote since `began`. A large one counts whatever time it took."""
        cdef uint64_t now = now_ns()
        if not is_large and now <= began + LONG_NS:
            return 0
        if self._ends_ns == 0:
            # Separate from the turn of `loop/turns`, where reads have their share.
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
        """Whether the sum of the process is within its bound."""
        return not self.is_over()

    cdef int add(self, object future) except -1:
        """Complete a future once there is room. Its owner then checks again: other senders may have been faster."""
        self._senders.append(future)
        return 0 if self._is_looking else self._watch()

    cdef int _watch(self) except -1:
        """Check again once there is room."""
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
        """Wake the first senders, or streams whose handlers wait, if there is room."""
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
            # Drop futures that are done: their calls have ended.
            self._senders = deque([future for future in self._senders if not future.done()])
            self._free_stopped()
            if self.is_over():
                self._watch()
            else:
                self._queue()

    # Handlers that were woken

    cdef int defer(self, HandlerTask task, object error, ServerCall giver) except -1:
        """Resume a task in a later turn, after the waiting tasks.

        Args:
            giver: its call, if it continues only once there is room for a message, or the call is stopped.
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
        """Let handlers of stopped calls continue without room: nothing more of them is sent."""
        cdef object kept = deque()
        for entry in self._giving:
            (self._woken if (<ServerCall>entry[2])._is_stopped() else kept).append(entry)
        self._giving = kept
        return self._queue() if self._woken else 0

    cdef object _next(self):
        """Return the next task that may continue and its error, or None."""
        if self._woken:
            return self._woken.popleft()
        # Senders with a message come first.
        return self._giving.popleft() if self._giving and not self._senders and not self.is_over() else None

    cdef bint on_turn(self, uint64_t ends_ns) except -1:
        try:
            if self._go_on(ends_ns):
                return True
        except Exception:
            # The queue of slices drops this error, unless it is an interrupt: waiting tasks continue.
            self._is_queued = False
            self._queue()
            raise
        self._is_queued = False
        if self._giving and not self._is_looking:
            self._watch()
        return False

    cdef int _go_on(self, uint64_t ends_ns) except -1:
        """Resume tasks until none may continue, or the slice is over: then return 1."""
        cdef object entry = self._next()
        while entry is not None:
            self.deferred -= 1
            _resume(self, <HandlerTask>entry[0], entry[1])
            if now_ns() >= ends_ns:
                return 1
            entry = self._next()
        return 0


cdef int _resume(OutputRoom room, HandlerTask task, object error) except -1:
    # The end of the task may pass the context to another call.
    cdef object context = task._context
    try:
        try:
            PyContext_Enter(context)
        except RuntimeError as problem:
            # Another thread has entered the context. Nothing else would wake the task, so it is abandoned.
            task._abandon(problem)
            task.finished()
            return 0
        try:
            task.resume(error)
        finally:
            if PyContext_Exit(context) < 0:
                _report(room, task, take_raised(), "The handler replaced the current context")
    except Exception as problem:
        # Later tasks continue, as later callbacks of a loop do after a failed one.
        _report(room, task, problem, "A task failed")
    return 0


cdef int _report(OutputRoom room, HandlerTask task, object error, str message) except -1:
    room.loop_state.loop.call_exception_handler({"task": task, "exception": error, "message": message})
    return 0
