"""How handlers are called with their decoded arguments."""

from cpython.contextvars cimport PyContextVar_Set
from cpython.object cimport PyObject
from cpython.tuple cimport PyTuple_GET_SIZE

from fastrpc._core.call cimport Call, scope_variable
from fastrpc._core.marshal cimport BoundArguments

cdef extern from "Python.h":
    object call_plainly "PyObject_CallObject"(object function, object arguments)
    object PyObject_Call(object function, object arguments, object options)
    object PyObject_Vectorcall(object function, PyObject** arguments, size_t count, PyObject* names)
    PyObject* PyTuple_GET_ITEM(object items, Py_ssize_t at) noexcept
    const size_t PY_VECTORCALL_ARGUMENTS_OFFSET

cdef enum:
    # Arguments of a handler that is called without a tuple.
    FEW_ARGUMENTS = 6


cdef object call_handler(object handler, object given):
    # One place in front of the arguments, where a bound method puts its own first one instead of copying them.
    cdef PyObject* arguments[FEW_ARGUMENTS + 1]
    cdef Py_ssize_t at, count
    if type(given) is tuple:
        count = PyTuple_GET_SIZE(given)
        if count > FEW_ARGUMENTS:
            return call_plainly(handler, given)
        for at in range(count):
            arguments[at + 1] = PyTuple_GET_ITEM(given, at)
        return PyObject_Vectorcall(handler, &arguments[1], count | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL)
    return PyObject_Call(handler, (<BoundArguments>given).args, (<BoundArguments>given).kwargs)


def invoke(handler, given):
    """Call a handler with its decoded arguments."""
    return call_handler(handler, given)


def run_handler(Call call not None, handler, given):
    """Call a handler as the handler of `call`: `current_call()` works in it."""
    PyContextVar_Set(scope_variable, call)
    return call_handler(handler, given)
