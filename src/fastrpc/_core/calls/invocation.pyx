"""The invocation of handlers with their decoded arguments, and the chain of interceptors around a call.

::

    Chain.run(call) ──► interceptor 0 (call, proceed) ──► await proceed(call) ──► interceptor 1 … ──► innermost(call)

The chain is the same on both sides. `proceed(call)` returns a compiled coroutine object: it needs no Python frame, and
stores the outcome of the call for the outer interceptors as soon as the inner one ends.

An interceptor with a method `_concerns(call) -> bool` is asked before each call; `call` is None before a client makes a
call. A call that concerns no interceptor skips the chain: it takes the path of calls without interceptors.

An interceptor that certainly forgot `await` or `return` is reported by name. There are three signs: it returned an
awaitable; it returned None although the call did not and the method's result is never None; it called `proceed` without
awaiting it. An interceptor may replace the result by another value, or by None if the result may be None.
"""

import collections.abc
from types import GeneratorType

cimport cython
from cpython.contextvars cimport PyContextVar_Set
from cpython.exc cimport PyErr_SetString
from cpython.ref cimport Py_DECREF
from cpython.tuple cimport PyTuple_GET_SIZE

from fastrpc._core.base.coroutine cimport PYGEN_NEXT, RETURNED, YIELDED, PyIter_Send, PySendResult, install_coroutine
from fastrpc._core.base.results cimport as_result
from fastrpc._core.calls.call cimport Call, scope_variable
from fastrpc._core.payload.arguments cimport BoundArguments

from fastrpc.status import Status

cdef extern from "Python.h":
    # These functions leave the exception set; `as_result` propagates it.
    PyObject* PyObject_CallObject(object function, object arguments) noexcept
    PyObject* PyObject_Call(object function, object arguments, object options) noexcept
    PyObject* PyObject_Vectorcall(object function, PyObject** arguments, size_t count, PyObject* names) noexcept
    bint PyMethod_Check(object value) noexcept
    PyObject* PyMethod_GET_SELF(object method) noexcept
    PyObject* PyMethod_GET_FUNCTION(object method) noexcept
    PyObject* PyTuple_GET_ITEM(object items, Py_ssize_t at) noexcept
    const size_t PY_VECTORCALL_ARGUMENTS_OFFSET

cdef enum:
    # Most arguments of a handler that is called without a tuple.
    FEW_ARGUMENTS = 6

cdef extern from "Python.h":
    bint PyCoro_CheckExact(object value) noexcept

cdef extern from *:
    """
    static int fastrpc_is_awaitable(PyObject *value)
    {
        PyAsyncMethods *methods = Py_TYPE(value)->tp_as_async;
        return methods != NULL && methods->am_await != NULL;
    }
    """
    bint is_awaitable "fastrpc_is_awaitable"(object value) noexcept

cdef object OK = Status.OK
cdef str ADVICE = "`return await proceed(call)`"


cdef PyObject* start_handler(object handler, object given) noexcept:
    # All borrowed: the caller holds the handler, which holds its parts, and `given`.
    cdef PyObject* arguments[FEW_ARGUMENTS + 1]
    cdef Py_ssize_t at, count = 1
    if type(given) is bytes:
        arguments[1] = <PyObject*>given
    elif type(given) is tuple:
        count = PyTuple_GET_SIZE(given)
        if count > FEW_ARGUMENTS:
            return PyObject_CallObject(handler, given)
        for at in range(count):
            arguments[at + 1] = PyTuple_GET_ITEM(given, at)
    elif type(given) is BoundArguments:
        return PyObject_Call(handler, (<BoundArguments>given).args, (<BoundArguments>given).kwargs)
    else:
        PyErr_SetString(TypeError, "a handler is called with a tuple, bytes or BoundArguments")
        return NULL
    if PyMethod_Check(handler):
        arguments[0] = PyMethod_GET_SELF(handler)
        return PyObject_Vectorcall(<object>PyMethod_GET_FUNCTION(handler), arguments, count + 1, NULL)
    # The free place before the arguments lets other bound callables insert their first argument.
    return PyObject_Vectorcall(handler, &arguments[1], count | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL)


cdef object call_handler(object handler, object given):
    return as_result(start_handler(handler, given))


def invoke(handler, given):
    """Call a handler with its decoded arguments."""
    return call_handler(handler, given)


def run_handler(Call call not None, handler, given):
    """Call a handler with `call` as its `current_call()`."""
    PyContextVar_Set(scope_variable, call)
    return call_handler(handler, given)


@cython.final
cdef class Chain:
    def __init__(self, interceptors, innermost, note_failure, admits_none=None):
        self.interceptors = tuple(interceptors)
        self.innermost = innermost
        self.note_failure = note_failure
        self.admits_none = admits_none
        questions = tuple(getattr(one, "_concerns", None) for one in self.interceptors)
        self.questions = None if None in questions else questions

    cdef bint concerns(self, object call) except -1:
        """Return whether a call concerns an interceptor. Some interceptors have nothing to do for most calls."""
        if self.questions is None:
            return True
        for question in self.questions:
            if question(call):
                return True
        return False

    cdef object fault_of(self, Py_ssize_t position, object call, object value):
        """Return an error if an interceptor that returned `value` certainly made a mistake, else None."""
        cdef str name = name_of(self.interceptors[position])
        if is_awaitable(value):
            if hasattr(value, "close"):
                value.close()
            return TypeError(f"interceptor {name} returned {kind_of(value)} for {call.method}; write {ADVICE}")
        if self.admits_none is None or call._gave_none:
            return None
        if call._dropped_proceed:
            # Reported once: None may still be the valid result of an outer interceptor.
            call._dropped_proceed = False
            return TypeError(f"interceptor {name} called proceed for {call.method} and did not await it; write {ADVICE}")
        if self.admits_none(call):
            return None
        return TypeError(
            f"interceptor {name} returned None for {call.method}, whose result is never None; write {ADVICE}"
        )

    def proceed(self):
        """Return the `proceed` of the whole chain: `await proceed(call)` runs it."""
        cdef RestOfChain following = None, proceed
        cdef Py_ssize_t position
        for position in range(len(self.interceptors), -1, -1):
            proceed = RestOfChain.__new__(RestOfChain)
            proceed.chain = self
            proceed.position = position
            proceed.next = following
            following = proceed
        return following


@cython.final
cdef class RestOfChain:
    def __call__(self, call):
        cdef Proceeding proceeding
        if call is None and self.position > 0:
            caller = name_of(self.chain.interceptors[self.position - 1])
            raise TypeError(f"interceptor {caller} called proceed(None); write {ADVICE}")
        proceeding = Proceeding.__new__(Proceeding)
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
        if awaited is not None:
            return awaited(inner)
        if self.next is None:
            raise TypeError(f"object {type(inner).__name__} can't be used in 'await' expression")
        name = name_of(self.chain.interceptors[self.position])
        raise TypeError(
            f"interceptor {name} returned {kind_of(inner)} for {call.method}, which cannot be awaited; "
            f"write it as `async def` with {ADVICE}"
        )


@cython.final
cdef class Proceeding:
    def __dealloc__(self):
        # The chain was never started: an interceptor called `proceed` and dropped the result.
        if self.inner is None and not self.is_over and self.call is not None:
            note_dropped(self.call)

    @property
    def cr_await(self):
        """The inner coroutine while it runs, or None."""
        return self.inner

    def throw(self, kind, value=None, traceback=None):
        """Raise an exception at the await of the inner coroutine."""
        if self.is_over:
            raise RuntimeError("cannot reuse already awaited coroutine")
        if self.inner is None or not hasattr(self.inner, "throw"):
            # The awaitable has not started, or its iterator has no `throw`: raise the error here, as `await` does.
            self.is_over = True
            self.inner = None
            error = kind if isinstance(kind, BaseException) else value if isinstance(value, BaseException) else kind()
            self.failed(error)
            raise error
        try:
            return self.inner.throw(kind) if value is None else self.inner.throw(kind, value, traceback)
        except StopIteration as end:
            self.returned(end.value)
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
        try:
            self.returned(<object>result[0])
        except BaseException:
            Py_DECREF(<object>result[0])
            raise
        return RETURNED

    cdef int returned(self, object value) except -1:
        """Record the result of the inner coroutine, or raise an error for an interceptor's mistake."""
        self.is_over = True
        self.inner = None
        if value is None or is_awaitable(value):
            if self.origin.next is None:
                self.call._gave_none = value is None
            else:
                fault = self.origin.chain.fault_of(self.origin.position, self.call, value)
                if fault is not None:
                    self.failed(fault)
                    raise fault
        self.call._note_outcome(OK, None)
        return 0

    cdef int failed(self, object error) except -1:
        self.origin.chain.note_failure(self.call, error)
        return 0


cdef int note_dropped(object call) except -1:
    call._dropped_proceed = True
    return 0


cdef str name_of(object interceptor):
    """Return an interceptor's name as the program writes it."""
    function = getattr(interceptor, "func", interceptor)
    if not hasattr(function, "__qualname__"):
        function = type(function)
    return f"{function.__module__}.{function.__qualname__}"


cdef str kind_of(object value):
    return "None" if value is None else f"a {type(value).__name__}"


cdef object unawaited_name(PyObject* proceeding):
    # The interpreter holds a reference for the length of the operation.
    cdef Proceeding made = <Proceeding>proceeding
    return None if made.is_over or made.inner is not None else f"proceed({made.call.method})"


cdef int step_of(PyObject* proceeding, PyObject* value, PyObject** result) except -1:
    # The interpreter holds references to both for the length of the step.
    return (<Proceeding>proceeding).step(<object>value, result)


install_coroutine(Proceeding, step_of, unawaited_name)
collections.abc.Coroutine.register(Proceeding)
