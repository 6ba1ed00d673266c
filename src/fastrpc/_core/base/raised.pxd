"""Take the exception that a C function has raised as an object, instead of raising it further."""

cdef extern from *:
    """
    #ifndef FASTRPC_TAKE_RAISED
    #define FASTRPC_TAKE_RAISED
    /* The exception being raised, as a new reference, with its traceback attached; clears it. */
    static PyObject *fastrpc_take_raised(void)
    {
    #if PY_VERSION_HEX >= 0x030C0000
        return PyErr_GetRaisedException();
    #else
        PyObject *type, *error, *traceback;
        PyErr_Fetch(&type, &error, &traceback);
        PyErr_NormalizeException(&type, &error, &traceback);
        if (traceback != NULL) {
            PyException_SetTraceback(error, traceback);
            Py_DECREF(traceback);
        }
        Py_XDECREF(type);
        return error;
    #endif
    }
    #endif
    """
    # Call it only after a function failed, so that an exception is set.
    object take_raised "fastrpc_take_raised"()
