"""Compiled coroutine objects: a final class with `throw`, `close`, `cr_await` and one step becomes a coroutine."""

from cpython.object cimport PyObject

cdef extern from "base/coroutine.h":
    enum:
        # The outcome of one step.
        YIELDED "FASTRPC_YIELDED"
        RETURNED "FASTRPC_RETURNED"
    ctypedef int (*step_function "fastrpc_step_function")(PyObject*, PyObject*, PyObject**) except -1
    # Returns the name of an object that is not awaited yet, as a program writes it, else None.
    ctypedef object (*name_function "fastrpc_name_function")(PyObject*)
    # With the last argument, the error of an operation on an object that should have been awaited names the object.
    int install_coroutine "fastrpc_install_coroutine"(object type, step_function step, name_function name) except -1
    # Have a function remove our own frames from the errors of this module's coroutines, which programs await.
    int shorten_errors "fastrpc_shorten_errors"(object shortened) except -1

cdef extern from "Python.h":
    ctypedef enum PySendResult:
        PYGEN_RETURN
        PYGEN_ERROR
        PYGEN_NEXT
    PySendResult PyIter_Send(object iterator, object value, PyObject** result) except PYGEN_ERROR
