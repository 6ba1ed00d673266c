"""Call handlers with their decoded arguments."""

from cpython.contextvars cimport PyContextVar_Set
from cpython.exc cimport PyErr_SetString
from cpython.object cimport PyObject
from cpython.tuple cimport PyTuple_GET_SIZE

from fastrpc._core.base.results cimport as_result
from fastrpc._core.calls.call cimport Call, scope_variable
from fastrpc._core.payload.arguments cimport BoundArguments

cdef extern from "Python.h":
    # These leave the exception set; `as_result` propagates it.
    PyObject* PyObject_CallObject(object function, object arguments) noexcept
    PyObject* PyObject_Call(object function, object arguments, object options) noexcept
    PyObject* PyObject_Vectorcall(object function, PyObject** arguments, size_t count, PyObject* names) noexcept
    bint PyMethod_Check(object value) noexcept
    PyObject* PyMethod_GET_SELF(object method) noexcept
    PyObject* PyMethod_GET_FUNCTION(object method) noexcept
    PyObject* PyTuple_GET_ITEM(object items, Py_ssize_t at) noexcept
    const size_t PY_VECTORCALL_ARGUMENTS_OFFSET

cdef enum:
    # Arguments of a handler that is called without a tuple.
    FEW_ARGUMENTS = 6


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
    # One free place in front of the arguments, for the first argument of other bound callables.
    return PyObject_Vectorcall(handler, &arguments[1], count | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL)


cdef object call_handler(object handler, object given):
    return as_result(start_handler(handler, given))


def invoke(handler, given):
    """Call a handler with its decoded arguments."""
    return call_handler(handler, given)


def run_handler(Call call not None, handler, given):
    """Call a handler as the handler of `call`: `current_call()` works in it."""
    PyContextVar_Set(scope_variable, call)
    return call_handler(handler, given)
