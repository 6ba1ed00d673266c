"""A task that runs a handler from its first step to its end."""

from libc.stdint cimport uint64_t

cdef extern from "Python.h":
    bint PyCoro_CheckExact(object value) noexcept

# Whether a task can step this object: the result of an `async def`, or another object that claims to be a coroutine.
cdef bint is_coroutine(object value) except -1

cdef enum:
    IDLE = 0                             # armed for begin(); counts as done, so all_tasks() does not show it
    PENDING = 1                          # from begin() until the coroutine ended
    FINISHED = 2                         # ended with a value or an exception
    CANCELLED = 3                        # ended with CancelledError

# A longer step blocks all other calls of the loop for too long.
cdef enum:
    LONG_STEP_NS = 1_000_000_000


cdef class HandlerTask:
    cdef:
        # Constant for the life of the object.
        readonly object _loop
        object _registration             # asyncio's weak reference to this task; held, to keep its address
        object __weakref__

        # How the coroutine ended, for the subclass. Both are None before the end; after it, at most one is not None.
        # The CancelledError of a cancelled task is in `error`.
        object value
        object error                     # BaseException or None

        # The coroutine, the future it awaits, and its cancellations. In an idle task these are None, 0 or False.
        readonly object _coro
        readonly object _context         # contextvars.Context
        readonly object _fut_waiter      # the future whose end calls _wakeup(), or None
        readonly bint _must_cancel       # a CancelledError is due at the next suspension or step
        readonly long _num_cancels_requested
        public object _cancel_message
        object _error_traceback          # of `error` as it left the coroutine; result() restores it
        bint _is_error_taken             # the CancelledError in `error` was handed out

        # State set from outside. In an idle task it is None, False or empty, and _log_destroy_pending is True.
        readonly list _callbacks         # of (callback, context), or None
        public bint _asyncio_future_blocking
        public bint _log_destroy_pending
        object _name                     # str, or None until first use
        dict __dict__                    # attributes set from outside

        # IDLE -> PENDING in begin(), -> FINISHED or CANCELLED in the last step, -> IDLE in rearm().
        int _phase

    cdef int begin(self, object coroutine, object context) except -1
    cdef int become_current(self) except -1
    cdef int step_as_current(self, object coroutine, object context) except -1
    cdef int stop_being_current(self) except -1
    cdef int finished(self) except -1
    cdef int held_loop(self, uint64_t nanoseconds) except -1
    cdef bint is_deferred(self, object error) except -1
    cdef object make_name(self)
    cdef void rearm(self) noexcept
    cdef bint is_reusable(self, Py_ssize_t references=*) noexcept

    cdef int resume(self, object error) except -1

    cdef int _resume(self, object error) except -1
    cdef int _step_once(self, object error) except -1
    cdef int _throw(self, object error) except -1
    cdef int _settle(self, object value) except -1
    cdef int _settle_error(self, object error) except -1
    cdef int _suspend(self, object awaited) except -1
    cdef int _wait_for(self, object future) except -1
    cdef int _abandon(self, object error) except -1
    cdef int _schedule_callbacks(self) except -1
    cdef object _cancelled_error(self)
