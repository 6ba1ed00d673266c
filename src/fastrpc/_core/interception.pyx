"""The chain of interceptors around a call, the same on both sides.

::

    Chain.run(call) ──► interceptor 0 (call, proceed) ──► await proceed(call) ──► interceptor 1 … ──► innermost(call)

What `proceed(call)` returns is a compiled coroutine object: it costs no frame of its own, and keeps what became of the
call, for the interceptors outside, in the moment in which the inner one is through.
"""

import collections.abc
from types import GeneratorType

cimport cython
from cpython.ref cimport Py_DECREF

from fastrpc.status import Status

cdef extern from "coroutine.h":
    ctypedef int (*step_function "fastrpc_step_function")(PyObject*, PyObject*, PyObject**) except -1
    int install_send "fastrpc_install_send"(object type, step_function step) except -1

cdef extern from "Python.h":
    ctypedef enum PySendResult:
        PYGEN_RETURN
        PYGEN_ERROR
        PYGEN_NEXT
    PySendResult PyIter_Send(object iterator, object value, PyObject** result) except PYGEN_ERROR
    bint PyCoro_CheckExact(object value) noexcept

cdef enum:
    YIELDED = 0
    RETURNED = 1

cdef object OK = Status.OK


@cython.final
cdef class Chain:
    def __init__(self, interceptors, innermost, note_failure):
        self.interceptors = tuple(interceptors)
        self.innermost = innermost
        self.note_failure = note_failure

    def proceed(self):
        """Return what starts the chain: `await proceed(call)` runs all of it."""
        cdef Proceed following = None, proceed
        cdef Py_ssize_t position
        for position in range(len(self.interceptors), -1, -1):
            proceed = Proceed.__new__(Proceed)
            proceed.chain = self
            proceed.position = position
            proceed.next = following
            following = proceed
        return following


@cython.final
cdef class Proceed:
    def __call__(self, call):
        cdef Proceeding proceeding = Proceeding.__new__(Proceeding)
        proceeding.origin = self
        proceeding.call = call
        return proceeding

    cdef object begin(self, object call):
        cdef object inner
        if self.next is None:
            inner = self.chain.innermost(call)
        else:
            inner = self.chain.interceptors[self.position](call, self.next)
        if PyCoro_CheckExact(inner) or type(inner) is GeneratorType:
            return inner
        awaited = getattr(type(inner), "__await__", None)
        if awaited is None:
            raise TypeError(f"object {type(inner).__name__} can't be used in 'await' expression")
        return awaited(inner)


@cython.final
cdef class Proceeding:
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
        """Raise an exception where the inner one waits."""
        if self.is_over:
            raise RuntimeError("cannot reuse already awaited coroutine")
        if self.inner is None or not hasattr(self.inner, "throw"):
            # Not begun, or at an iterator that takes no exceptions: it is raised here, as `await` does.
            self.is_over = True
            self.inner = None
            error = kind if isinstance(kind, BaseException) else value if isinstance(value, BaseException) else kind()
            self.failed(error)
            raise error
        try:
            return self.inner.throw(kind) if value is None else self.inner.throw(kind, value, traceback)
        except StopIteration:
            self.is_over = True
            self.inner = None
            self.call._note_outcome(OK, None)
            raise
        except BaseException as error:
            self.is_over = True
            self.inner = None
            self.failed(error)
            raise

    def close(self):
        """End without a result."""
        self.is_over = True
        inner, self.inner = self.inner, None
        if inner is not None and hasattr(inner, "close"):
            inner.close()

    cdef int step(self, object value, PyObject** result) except -1:
        cdef PySendResult sent
        if self.is_over:
            raise RuntimeError("cannot reuse already awaited coroutine")
        try:
            if self.inner is None:
                self.inner = self.origin.begin(self.call)
            sent = PyIter_Send(self.inner, value, result)
        except BaseException as error:
            self.is_over = True
            self.inner = None
            self.failed(error)
            raise
        if sent == PYGEN_NEXT:
            return YIELDED
        self.is_over = True
        self.inner = None
        self.call._note_outcome(OK, None)
        return RETURNED

    cdef int failed(self, object error) except -1:
        self.origin.chain.note_failure(self.call, error)
        return 0


cdef object take_step(Proceeding proceeding, object value):
    cdef PyObject* produced = NULL
    cdef int done = proceeding.step(value, &produced)
    result = <object>produced
    Py_DECREF(result)
    if done == YIELDED:
        return result
    raise StopIteration(result)


cdef int step_of(PyObject* proceeding, PyObject* value, PyObject** result) except -1:
    # The interpreter holds references to both for the length of the step.
    return (<Proceeding>proceeding).step(<object>value, result)


install_send(Proceeding, step_of)
collections.abc.Coroutine.register(Proceeding)
