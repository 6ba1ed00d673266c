"""The coroutine face of a call: what `client.call` returns can be awaited, or made a task of.

A compiled object that stands in for a coroutine: no frame, no StopIteration, one C future that the task waits on —
tasks have a fast path for the loop's own futures that nothing home-made has.

It answers `PyIter_Send` through its type slot, so awaiting it makes no StopIteration. It is registered as
`collections.abc.Coroutine`, so `TaskGroup.create_task` takes it.
"""

import asyncio
import collections.abc
import warnings
from asyncio import InvalidStateError

from cpython.ref cimport Py_DECREF, Py_INCREF

from fastrpc._core.calls.call cimport Draining, Route
from fastrpc._core.framing.frame cimport CANCEL_USER
from fastrpc._core.calling.pending_call cimport mark_own

from fastrpc.errors import FastRPCError

cdef extern from "calling/coroutine.h":
    ctypedef int (*step_function "fastrpc_step_function")(PyObject*, PyObject*, PyObject**) except -1
    int install_send "fastrpc_install_send"(object type, step_function step) except -1

cdef extern from "Python.h":
    ctypedef enum PySendResult:
        PYGEN_RETURN
        PYGEN_ERROR
        PYGEN_NEXT
    PySendResult PyIter_Send(object iterator, object value, PyObject** result) except PYGEN_ERROR

cdef enum:
    PHASE_NEW = 0
    PHASE_WAITING = 1
    PHASE_DELEGATING = 2
    PHASE_CLOSED = 3


cdef class CoroutineCall(PendingCall):
    """The coroutine face of a call, or of a batch of them: nothing is sent before the first step."""

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        return take_step(self, None)

    def send(self, value):
        """Take one step, as a coroutine does."""
        return take_step(self, value)

    def throw(self, kind, value=None, traceback=None):
        """Raise an exception where the call waits: the handler is cancelled, the exception goes on."""
        if self.phase == PHASE_DELEGATING:
            if value is None and isinstance(kind, BaseException):
                return self._thrown(kind)
            return self.inner.throw(kind, value, traceback)
        if self.phase == PHASE_WAITING:
            self.abandon(CANCEL_USER)
            self.future.cancel()
        self.phase = PHASE_CLOSED
        if isinstance(kind, BaseException):
            raise kind
        if value is None:
            value = kind()
        elif not isinstance(value, BaseException):
            value = kind(value)
        raise value.with_traceback(traceback) if traceback is not None else value

    cdef object _thrown(self, object error):
        """Raise an exception in the coroutine that finishes this call: it may make something else of it."""
        try:
            return self.inner.throw(error)
        except FastRPCError as raised:
            mark_own(raised)
            raise

    def close(self):
        """End without a result: what is under way is cancelled on the server."""
        if self.phase == PHASE_DELEGATING:
            self.inner.close()
        elif self.phase == PHASE_WAITING:
            self.abandon(CANCEL_USER)
            self.future.cancel()
        self.phase = PHASE_CLOSED

    @property
    def draining(self):
        """Awaitable that is done once the server drains: on this side never, a call ends by itself."""
        return Draining(asyncio.Event())

    def __dealloc__(self):
        if self.phase == PHASE_NEW and self.route is not None:
            warn_unawaited(self.route)
        if self.is_counted:
            self.count_unread()

    def __repr__(self):
        if self.phase == PHASE_NEW:
            state = "not awaited"
        elif self.phase == PHASE_CLOSED:
            state = "over"
        else:
            state = "waiting"
        return f"<{type(self).__name__} of {self.method}, {state}>"

    @property
    def __name__(self):
        return "call"

    @property
    def __qualname__(self):
        return f"Client.call({self.method})"

    @property
    def cr_await(self):
        """What it waits on, or None."""
        return self.inner if self.phase == PHASE_DELEGATING else self.future

    @property
    def cr_running(self):
        return False

    @property
    def cr_frame(self):
        return None

    @property
    def cr_code(self):
        return None

    cdef int step(self, object value, PyObject** result) except -1:
        if self.phase == PHASE_NEW:
            if value is not None:
                raise TypeError("can't send non-None value to a just-started coroutine")
            self.phase = PHASE_CLOSED
            return self.begin(result)
        if self.phase == PHASE_WAITING:
            if not self.is_settled and not self.future.done():
                raise RuntimeError("await wasn't used with future")
            self.phase = PHASE_CLOSED
            self.future = None
            return self.resume(result)
        if self.phase == PHASE_DELEGATING:
            return self._delegated(value, result)
        raise RuntimeError("cannot reuse already awaited coroutine")

    cdef int begin(self, PyObject** result) except -1:
        """Hook: the first step."""
        raise NotImplementedError

    cdef int resume(self, PyObject** result) except -1:
        """Hook: the future is done."""
        raise NotImplementedError

    cdef int abandon(self, int reason) except -1:
        """Hook: nobody waits any more."""
        return 0

    cdef int wait(self, PyObject** result) except -1:
        """Let the task wait for `settle`."""
        self.phase = PHASE_WAITING
        self.future._asyncio_future_blocking = True
        Py_INCREF(self.future)
        result[0] = <PyObject*>self.future
        return YIELDED

    cdef int delegate(self, object inner, PyObject** result) except -1:
        """Let another coroutine finish this call."""
        self.inner = inner
        self.phase = PHASE_DELEGATING
        return self._delegated(None, result)

    cdef int _delegated(self, object value, PyObject** result) except -1:
        cdef PySendResult sent
        try:
            sent = PyIter_Send(self.inner, value, result)
        except BaseException as error:
            self.phase = PHASE_CLOSED
            self.inner = None
            mark_own(error)
            raise
        if sent == PYGEN_NEXT:
            return YIELDED
        self.phase = PHASE_CLOSED
        self.inner = None
        return RETURNED

    cdef int settle(self) except -1:
        if self.future is not None:
            try:
                self.future.set_result(None)
            except InvalidStateError:
                # Whoever waits was cancelled in this very turn of the loop, and is told so first.
                pass
        return 0


cdef object take_step(CoroutineCall call, object value):
    cdef PyObject* produced = NULL
    cdef int done = call.step(value, &produced)
    result = <object>produced
    Py_DECREF(result)
    if done == YIELDED:
        return result
    raise StopIteration(result)


cdef int step_of(PyObject* call, PyObject* value, PyObject** result) except -1:
    # The interpreter holds references to both for the length of the step.
    return (<CoroutineCall>call).step(<object>value, result)


cdef int warn_unawaited(Route route) except -1:
    """Say that a call was made and never awaited, as Python does for any coroutine."""
    method = "…" if route is None else route.method
    warnings.warn(f"coroutine 'Client.call({method})' was never awaited", RuntimeWarning, stacklevel=2)
    return 0


cdef int make_awaitable(object kind) except -1:
    """Let the interpreter step this class of calls directly. Once per class, when its module is loaded."""
    return install_send(kind, step_of)


collections.abc.Coroutine.register(CoroutineCall)
