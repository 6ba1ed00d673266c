# cython: auto_pickle=False
"""Reusable tasks that start immediately, and cost nothing while a handler does not suspend.

`asyncio.create_task` makes a task, a context and a handle per coroutine and runs the first step one loop turn later.
`HandlerTask.begin` runs the first step now; the object already is the loop's current task, so `asyncio.timeout`,
`TaskGroup`, anyio and aiohttp work before the first suspension too, on every Python from 3.11. Then the loop steps the
same object as it steps an `asyncio.Task`: rules and messages follow `task_step_impl` in CPython's
Modules/_asynciomodule.c.

    HandlerTask       begin(), the hooks, and the commonly used parts of asyncio.Task
      ServerTask      runs the handler of a served call (serving.handler_runner)
    TaskPool          idle tasks of one loop (loop_state)

A HandlerTask differs from asyncio.Task on purpose:

- An unretrieved exception is not logged: the owner of the task always retrieves it.
- When the wake-up cannot be arranged (closed loop, an awaitable that raises) the coroutine is closed and the
  task ends with that error; an asyncio.Task would stay pending for ever.
- SystemExit ends the task like any other exception and does not leave the loop: a handler cannot end its server.
  KeyboardInterrupt has the effect of Ctrl-C, from a separate callback.
- It is registered once, when it is made, and counts as done while it is idle in its pool: `all_tasks()` stays right at
  no cost.
"""

cimport cython
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF

from fastrpc._core.base.raised cimport take_raised
from fastrpc._core.base.wire cimport tick_ns

import contextvars
from asyncio import base_tasks, tasks
from asyncio.coroutines import iscoroutine
from asyncio.exceptions import CancelledError, InvalidStateError
from types import GeneratorType

from fastrpc.user_code import pass_interrupt

cdef extern from "Python.h":
    ctypedef enum PySendResult:
        PYGEN_RETURN
        PYGEN_ERROR
        PYGEN_NEXT
    const int PY_VERSION_HEX
    # Leaves the exception set: take_raised() fetches it, so that no traceback entry is added here.
    PySendResult PyIter_Send(object coroutine, object value, PyObject** produced) noexcept
    PyObject* PyObject_CallMethodNoArgs(object owner, object name) noexcept
    PyObject* PyObject_CallMethodOneArg(object owner, object name, object argument) noexcept
    PyObject* PyObject_Vectorcall(object function, PyObject** arguments, size_t count, PyObject*) noexcept
    int PyContext_Enter(object context) except -1
    int PyContext_Exit(object context) noexcept
    Py_ssize_t Py_REFCNT(object value) noexcept

cdef extern from *:
    """
    /* The most recent weak reference to `value`, borrowed, or NULL. */
    static PyObject *first_weakref(PyObject *value)
    {
        return *(PyObject **)((char *)value + Py_TYPE(value)->tp_weaklistoffset);
    }

    /* Whether `known` is the one and only weak reference to `value`, and not only the caller holds it.
       The list is read under the GIL. */
    static int has_only_weakref(PyObject *value, PyObject *known)
    {
        return first_weakref(value) == known && ((PyWeakReference *)known)->wr_next == NULL
            && Py_REFCNT(known) > 1;
    }

    /* Whether `value` has attributes that its type does not declare, or somebody holds its __dict__. */
    static int has_attributes(PyObject *value)
    {
        PyObject *attributes = *(PyObject **)((char *)value + Py_TYPE(value)->tp_dictoffset);
        return attributes != NULL && (PyDict_GET_SIZE(attributes) != 0 || Py_REFCNT(attributes) != 1);
    }
    """
    bint has_attributes(object value) noexcept
    PyObject* first_weakref(object value) noexcept
    bint has_only_weakref(object value, PyObject* known) noexcept

cdef object enter_task = tasks._enter_task
cdef object leave_task = tasks._leave_task

# Since 3.13 a task is not cancelled if its last cancel request is withdrawn before delivery.
cdef bint WITHDRAWN_CANCEL_IS_DROPPED = PY_VERSION_HEX >= 0x030D0000


cdef bint is_coroutine(object value) except -1:
    return PyCoro_CheckExact(value) or iscoroutine(value)


cdef inline object owned(PyObject* reference):
    # Takes over a new reference from a C call.
    value = <object>reference
    Py_DECREF(value)
    return value


cdef class HandlerTask:
    def __cinit__(self, loop, *_arguments, **_options):
        self._loop = loop
        self._log_destroy_pending = True
        # The object is registered once, not for each call: while it is idle, done() hides it from all_tasks(). The
        # registry of asyncio (a WeakSet on 3.11 to 3.14) holds one weak reference, which is now the newest one.
        tasks._register_task(self)
        cdef PyObject* registration = first_weakref(self)
        if registration != NULL:
            self._registration = <object>registration

    def __del__(self):
        if self._phase == PENDING and self._log_destroy_pending:
            self._loop.call_exception_handler(
                {"task": self, "message": "Task was destroyed but it is pending!"}
            )

    # ---- for the subclass

    cdef int begin(self, object coroutine, object context) except -1:
        # Runs the first step now, as the loop's current task and inside `context`, which must not be entered.
        # 1: ended, `value` or `error` is set, finished() is not called. 0: suspended, finished() follows.
        # To be called from a plain callback of the running loop: RuntimeError if a task is current.
        #
        # Raises in two cases only. Nothing was run, as the arguments do not fit or a task is current: this
        # task is idle as before, and the coroutine is the caller's to close. Or KeyboardInterrupt left the
        # coroutine: the task has ended with it in `error`.
        cdef int ended
        if self._phase != IDLE:
            raise InvalidStateError(f"begin() needs a new or rearmed task, not {self!r}")
        if not is_coroutine(coroutine):
            raise TypeError(f"a coroutine was expected, got {coroutine!r}")
        # The caller's reference may be dropped while the handler runs.
        Py_INCREF(self)
        try:
            PyContext_Enter(context)
            try:
                enter(self)
                try:
                    self._coro = coroutine
                    self._context = context
                    self._phase = PENDING
                    ended = self._step_once(None)
                finally:
                    leave(self)
            finally:
                if PyContext_Exit(context) < 0:
                    report(self, take_raised(), "The handler replaced the current context")
            if ended and isinstance(self.error, KeyboardInterrupt):
                raise self.error
            return ended
        finally:
            Py_DECREF(self)

    # To start several handlers in one callback: become_current() once, step_as_current() for each while this task is
    # reusable, stop_being_current() before anything else runs.

    cdef int become_current(self) except -1:
        # Make this idle task the loop's current one.
        return enter(self)

    cdef int stop_being_current(self) except -1:
        return leave(self)

    @cython.final
    cdef int step_as_current(self, object coroutine, object context) except -1:
        # Like begin(), for a coroutine and an idle task. This task is current before and after. The caller holds all
        # three arguments. KeyboardInterrupt stays in `error` like any other exception.
        cdef int ended
        if self._phase != IDLE:
            raise InvalidStateError(f"step_as_current() needs a new or rearmed task, not {self!r}")
        PyContext_Enter(context)
        self._coro = coroutine
        self._context = context
        self._phase = PENDING
        try:
            ended = self._step_once(None)
        finally:
            if PyContext_Exit(context) < 0:
                report(self, take_raised(), "The handler replaced the current context")
        return ended

    cdef int finished(self) except -1:
        # Called once when a task has ended after a suspension, with no task current. The current context still belongs
        # to the ended call: a copy of it would carry variables into another call.
        return 0

    cdef int held_loop(self, uint64_t nanoseconds) except -1:
        # Called before finished() if a step other than the first took longer than LONG_STEP_NS.
        return 0

    cdef bint is_deferred(self, object error) except -1:
        # Called when the loop wakes a task. True: the subclass keeps the task and calls resume(error) in a later turn.
        return False

    cdef object make_name(self):
        # Called for the name of an unnamed task.
        return "rpc"

    cdef void rearm(self) noexcept:
        # Forgets the ended call, so that begin() may follow. A subclass clears its own fields and calls this.
        if self._phase == PENDING:
            return
        self.value = None
        self.error = None
        self._coro = None
        self._context = None
        self._fut_waiter = None
        self._must_cancel = False
        self._num_cancels_requested = 0
        self._cancel_message = None
        self._error_traceback = None
        self._is_error_taken = False
        self._callbacks = None
        self._asyncio_future_blocking = False
        self._log_destroy_pending = True
        self._name = None
        self._phase = IDLE

    cdef bint is_reusable(self, Py_ssize_t references=1) noexcept:
        # Whether there are no references beyond the caller's, and no state that would leak into the next call. A
        # foreign weak reference may be the key of this call's state, such as anyio's cancel scopes. Attributes set from
        # outside belong to this call as well.
        return (
            self._phase != PENDING
            and Py_REFCNT(self) == references
            and self._callbacks is None
            and not has_attributes(self)
            and has_only_weakref(self, <PyObject*>self._registration)
        )

    # ---- one step

    @cython.binding(False)
    def _step(self, error=None):
        # Called by the loop, inside the task's context.
        self._resume(error)

    @cython.binding(False)
    def _wakeup(self, future):
        # Called by the loop, inside the task's context, once `future` is done. The future's __await__ gives its value
        # to the coroutine.
        cdef PyObject* result = PyObject_CallMethodNoArgs(future, "result")
        if result == NULL:
            self._resume(take_raised())
        else:
            Py_DECREF(<object>result)
            self._resume(None)

    @cython.final
    cdef int _resume(self, object error) except -1:
        return 0 if self.is_deferred(error) else self.resume(error)

    @cython.final
    cdef int resume(self, object error) except -1:
        # Must be called inside the task's context, with no task current.
        cdef int ended
        cdef uint64_t began
        if self._phase != PENDING:
            raise InvalidStateError(f"__step(): already done: {self!r} {error!r}")
        enter(self)
        began = tick_ns()
        try:
            ended = self._step_once(error)
        finally:
            leave(self)
        if tick_ns() > began + LONG_STEP_NS:
            self.held_loop(tick_ns() - began)
        if not ended:
            return 0
        error = self.error
        try:
            self.finished()
        finally:
            # finished() may have rearmed the task: only the saved values still belong to this call.
            if isinstance(error, KeyboardInterrupt):
                pass_interrupt(self._loop)
        return 1

    @cython.final
    cdef int _step_once(self, object error) except -1:
        # Runs the coroutine to its next suspension (returns 0) or to its end (returns 1).
        cdef PyObject* produced = NULL
        cdef PySendResult outcome
        if self._must_cancel:
            if not isinstance(error, CancelledError):
                error = self._cancelled_error()
            self._must_cancel = False
        self._fut_waiter = None
        if error is not None:
            return self._throw(error)
        outcome = PyIter_Send(self._coro, None, &produced)
        if outcome == PYGEN_RETURN:
            return self._settle(owned(produced))
        if outcome == PYGEN_NEXT:
            return self._suspend(owned(produced))
        return self._settle_error(take_raised())

    @cython.final
    cdef int _throw(self, object error) except -1:
        cdef PyObject* awaited = PyObject_CallMethodOneArg(self._coro, "throw", error)
        if awaited != NULL:
            return self._suspend(owned(awaited))
        raised = take_raised()
        if isinstance(raised, StopIteration):
            return self._settle(raised.value)
        return self._settle_error(raised)

    # ---- the end

    @cython.final
    cdef int _settle(self, object value) except -1:
        if self._must_cancel:
            # The task cancelled itself just before it returned.
            self._must_cancel = False
            self.error = self._cancelled_error()
            self._phase = CANCELLED
        else:
            self.value = value
            self._phase = FINISHED
        if self._callbacks is not None:
            self._schedule_callbacks()
        return 1

    @cython.final
    cdef int _settle_error(self, object error) except -1:
        self.error = error
        if isinstance(error, CancelledError):
            self._cancel_message = None
            self._phase = CANCELLED
        else:
            self._error_traceback = error.__traceback__
            self._phase = FINISHED
        if self._callbacks is not None:
            self._schedule_callbacks()
        return 1

    @cython.final
    cdef int _abandon(self, object error) except -1:
        # Otherwise the coroutine would never be woken.
        try:
            self._coro.close()
        except BaseException as failure:
            report(self, failure, "The coroutine of an abandoned task did not close")
        self._must_cancel = False
        self._fut_waiter = None
        return self._settle_error(error)

    @cython.final
    cdef int _schedule_callbacks(self) except -1:
        callbacks = self._callbacks
        self._callbacks = None
        try:
            for callback, context in callbacks:
                self._loop.call_soon(callback, self, context=context)
        except Exception as error:
            report(self, error, "Done callbacks could not be scheduled")
        return 0

    @cython.final
    cdef object _cancelled_error(self):
        # The exception with its first traceback, which would grow otherwise.
        if self.error is not None and not self._is_error_taken:
            self._is_error_taken = True
            return self.error
        if self._cancel_message is None:
            return CancelledError()
        return CancelledError(self._cancel_message)

    # ---- suspension

    @cython.final
    cdef int _suspend(self, object awaited) except -1:
        try:
            self._wait_for(awaited)
        except BaseException as error:
            return self._abandon(error)
        return 0

    @cython.final
    cdef int _wait_for(self, object awaited) except -1:
        # Arranges the next step; `awaited` is the object that the coroutine yielded.
        if awaited is None:
            self._loop.call_soon(self._step, context=self._context)
            return 0
        blocking = getattr(awaited, "_asyncio_future_blocking", None)
        if blocking is None:
            if isinstance(awaited, GeneratorType):
                mistake = "yield was used instead of yield from for generator in task "
                mistake += f"{self!r} with {awaited!r}"
            else:
                mistake = f"Task got bad yield: {awaited!r}"
        elif awaited is self:
            mistake = f"Task cannot await on itself: {self!r}"
        elif loop_of(awaited) is not self._loop:
            mistake = f"Task {self!r} got Future {awaited!r} attached to a different loop"
        elif not blocking:
            mistake = f"yield was used instead of yield from in task {self!r} with {awaited!r}"
        else:
            awaited._asyncio_future_blocking = False
            awaited.add_done_callback(self._wakeup, context=self._context)
            self._fut_waiter = awaited
            if self._must_cancel and awaited.cancel(self._cancel_message):
                self._must_cancel = False
            return 0
        self._loop.call_soon(self._step, RuntimeError(mistake), context=self._context)
        return 0

    # ---- asyncio.Task

    def cancel(self, msg=None):
        if self._phase != PENDING:
            return False
        self._num_cancels_requested += 1
        # The waiter stays: if the task refuses its cancellation, the next request cancels the waiter again.
        if self._fut_waiter is not None and self._fut_waiter.cancel(msg):
            return True
        self._must_cancel = True
        self._cancel_message = msg
        return True

    def cancelling(self):
        return self._num_cancels_requested

    def uncancel(self):
        if self._num_cancels_requested > 0:
            self._num_cancels_requested -= 1
            if self._num_cancels_requested == 0 and WITHDRAWN_CANCEL_IS_DROPPED:
                self._must_cancel = False
        return self._num_cancels_requested

    def done(self):
        return self._phase != PENDING

    def cancelled(self):
        return self._phase == CANCELLED

    def result(self):
        if self._phase == CANCELLED:
            raise self._cancelled_error()
        if self._phase != FINISHED:
            raise InvalidStateError("Result is not set.")
        if self.error is not None:
            raise self.error.with_traceback(self._error_traceback)
        return self.value

    def exception(self):
        if self._phase == CANCELLED:
            raise self._cancelled_error()
        if self._phase != FINISHED:
            raise InvalidStateError("Exception is not set.")
        return self.error

    def set_result(self, result, /):
        raise RuntimeError("Task does not support set_result operation")

    def set_exception(self, exception, /):
        raise RuntimeError("Task does not support set_exception operation")

    def add_done_callback(self, callback, /, *, context=None):
        if context is None:
            context = contextvars.copy_context()
        if self._phase != PENDING:
            self._loop.call_soon(callback, self, context=context)
        elif self._callbacks is None:
            self._callbacks = [(callback, context)]
        else:
            self._callbacks.append((callback, context))

    def remove_done_callback(self, callback, /):
        if self._callbacks is None:
            return 0
        before = self._callbacks
        kept = [entry for entry in before if not entry[0] == callback]
        self._callbacks = kept or None
        return len(before) - len(kept)

    def get_loop(self):
        return self._loop

    def get_coro(self):
        return self._coro

    def get_context(self):
        return self._context

    def get_name(self):
        if self._name is None:
            self._name = self.make_name()
        return self._name

    def set_name(self, value, /):
        self._name = str(value)

    def get_stack(self, *, limit=None):
        return base_tasks._task_get_stack(self, limit)

    def print_stack(self, *, limit=None, file=None):
        return base_tasks._task_print_stack(self, limit, file)

    def __await__(self):
        while self._phase == PENDING:
            if self._asyncio_future_blocking:
                raise RuntimeError("await wasn't used with future")
            self._asyncio_future_blocking = True
            yield self
        return self.result()

    def __iter__(self):
        return self.__await__()

    def __repr__(self):
        if self._phase == IDLE:
            return f"<{type(self).__name__} idle>"
        return base_tasks._task_repr(self)

    # ---- attributes that asyncio, anyio and debuggers read besides the documented methods

    def _make_cancelled_error(self):
        return self._cancelled_error()

    @property
    def _state(self):
        if self._phase == PENDING:
            return "PENDING"
        return "CANCELLED" if self._phase == CANCELLED else "FINISHED"

    @property
    def _result(self):
        return self.value

    @property
    def _exception(self):
        return self.error if self._phase == FINISHED else None

    @property
    def _source_traceback(self):
        return None

    @property
    def _log_traceback(self):
        return False

    @_log_traceback.setter
    def _log_traceback(self, value):
        if value:
            raise ValueError("_log_traceback can only be set to False")


cdef inline int enter(HandlerTask task) except -1:
    # Borrowed, here and below: the caller holds the task, and the task holds its loop.
    cdef PyObject* arguments[2]
    arguments[0] = <PyObject*>task._loop
    arguments[1] = <PyObject*>task
    cdef PyObject* done = PyObject_Vectorcall(enter_task, arguments, 2, NULL)
    if done == NULL:
        raise take_raised()
    Py_DECREF(<object>done)
    return 0


cdef inline int leave(HandlerTask task) except -1:
    cdef PyObject* arguments[2]
    arguments[0] = <PyObject*>task._loop
    arguments[1] = <PyObject*>task
    cdef PyObject* done = PyObject_Vectorcall(leave_task, arguments, 2, NULL)
    if done == NULL:
        return report(task, take_raised(), "The handler replaced the current task")
    Py_DECREF(<object>done)
    return 0


cdef int report(HandlerTask task, object error, str message) except -1:
    task._loop.call_exception_handler({"task": task, "exception": error, "message": message})
    return 0


cdef object loop_of(object future):
    get_loop = getattr(future, "get_loop", None)
    return future._loop if get_loop is None else get_loop()
