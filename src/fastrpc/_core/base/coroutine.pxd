"""Compiled coroutines: final classes with `throw`, `close`, `cr_await` and a step function become coroutines."""

from cpython.object cimport PyObject

cdef extern from "base/coroutine.h":
    enum:
        # The outcome of one step.
        YIELDED "FASTRPC_YIELDED"
        RETURNED "FASTRPC_RETURNED"
    ctypedef int (*step_function "fastrpc_step_function")(PyObject*, PyObject*, PyObject**) except -1
    # Returns an object's name as a program writes it if the object is not awaited yet, else None.
    ctypedef object (*name_function "fastrpc_name_function")(PyObject*)
    # The last argument names the object in the error of an operation on an object that should have been awaited.
    int install_coroutine "fastrpc_install_coroutine"(object type, step_function step, name_function name) except -1
    # Register a function that removes our own traceback frames from errors of these coroutines.
    int shorten_errors "fastrpc_shorten_errors"(object shortened) except -1

cdef extern from "Python.h":
    ctypedef enum PySendResult:
        PYGEN_RETURN
        PYGEN_ERROR
        PYGEN_NEXT
    PySendResult PyIter_Send(object iterator, object value, PyObject** result) except PYGEN_ERROR
