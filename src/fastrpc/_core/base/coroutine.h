/* Compiled coroutine objects: awaiting one costs no StopIteration object, as its type answers PyIter_Send directly.

   A type brings `throw`, `close`, `cr_await` and one step; `install_coroutine` gives it the rest of a coroutine. An
   operation on an object that its program forgot to await, such as `client.call(…) + 1`, names it (unawaited.h). */

#ifndef FASTRPC_COROUTINE_H
#define FASTRPC_COROUTINE_H

#include <Python.h>

#include "unawaited.h"

enum { FASTRPC_YIELDED = 0, FASTRPC_RETURNED = 1 };

/* Takes one step: 1 returned, 0 yielded, -1 raised. Each module that includes this has one, for its only such type. */
typedef int (*fastrpc_step_function)(PyObject *, PyObject *, PyObject **);
static fastrpc_step_function fastrpc_step;

/* Gets the error of a step whose coroutine a program awaits, NULL for none: `fastrpc.tracebacks.shortened`. Never freed. */
static PyObject *fastrpc_shortened;

/* Leave our own frames out of the traceback of the error that a step raised. */
static void fastrpc_shorten(void)
{
    PyObject *type, *value, *traceback, *shown;
    if (fastrpc_shortened == NULL || !PyErr_ExceptionMatches(PyExc_Exception) || PyErr_ExceptionMatches(PyExc_StopAsyncIteration))
        return;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != NULL)
        PyException_SetTraceback(value, traceback);
    Py_XDECREF(traceback);
    shown = PyObject_CallOneArg(fastrpc_shortened, value);
    if (shown == NULL)
        PyErr_WriteUnraisable(value);
    Py_XDECREF(shown);
    PyErr_Restore(type, value, PyException_GetTraceback(value));
}

static PySendResult fastrpc_send(PyObject *self, PyObject *value, PyObject **result)
{
    int done;
    *result = NULL;
    done = fastrpc_step(self, value, result);
    if (done < 0)
        fastrpc_shorten();
    return done < 0 ? PYGEN_ERROR : done == FASTRPC_RETURNED ? PYGEN_RETURN : PYGEN_NEXT;
}

/* One step as Python code takes it: what was returned travels in a StopIteration. */
static PyObject *fastrpc_send_method(PyObject *self, PyObject *value)
{
    PyObject *result, *end;
    PySendResult sent = fastrpc_send(self, value, &result);
    if (sent != PYGEN_RETURN)
        return sent == PYGEN_NEXT ? result : NULL;
    end = PyObject_CallOneArg(PyExc_StopIteration, result);
    Py_DECREF(result);
    if (end != NULL) {
        PyErr_SetObject(PyExc_StopIteration, end);
        Py_DECREF(end);
    }
    return NULL;
}

static PyObject *fastrpc_next(PyObject *self)
{
    return fastrpc_send_method(self, Py_None);
}

static PyObject *fastrpc_next_method(PyObject *self, PyObject *unused)
{
    (void)unused;
    return fastrpc_next(self);
}

static PyObject *fastrpc_self_method(PyObject *self, PyObject *unused)
{
    (void)unused;
    return Py_NewRef(self);
}

static PyAsyncMethods fastrpc_coroutine_slots = {PyObject_SelfIter, NULL, NULL, fastrpc_send};
static PyMethodDef fastrpc_coroutine_methods[] = {
    {"__await__", fastrpc_self_method, METH_NOARGS, NULL},
    {"__iter__", fastrpc_self_method, METH_NOARGS, NULL},
    {"__next__", fastrpc_next_method, METH_NOARGS, NULL},
    {"send", fastrpc_send_method, METH_O, "Take one step, as a coroutine does."},
    {NULL, NULL, 0, NULL},
};

/* The type is final and ready, so nothing has inherited its slots; its dict is filled as Cython itself fills it. */
static int fastrpc_install_coroutine(PyObject *type, fastrpc_step_function step, fastrpc_name_function name)
{
    PyTypeObject *object = (PyTypeObject *)type;
    PyMethodDef *method;
    fastrpc_step = step;
    object->tp_as_async = &fastrpc_coroutine_slots;
    object->tp_iter = PyObject_SelfIter;
    object->tp_iternext = fastrpc_next;
    for (method = fastrpc_coroutine_methods; method->ml_name != NULL; method++) {
        PyObject *descriptor = PyDescr_NewMethod(object, method);
        int failed = descriptor == NULL || PyDict_SetItemString(object->tp_dict, method->ml_name, descriptor) < 0;
        Py_XDECREF(descriptor);
        if (failed)
            return -1;
    }
    /* The code runs only inside a step, and has no frame in tracebacks. */
    if (PyDict_SetItemString(object->tp_dict, "cr_running", Py_False) < 0
        || PyDict_SetItemString(object->tp_dict, "cr_frame", Py_None) < 0
        || PyDict_SetItemString(object->tp_dict, "cr_code", Py_None) < 0)
        return -1;
    if (name != NULL)
        fastrpc_refuse_operations(object, name);
    PyType_Modified(object);
    return 0;
}

/* Have the errors of this module's coroutines leave out our own frames. */
static int fastrpc_shorten_errors(PyObject *shortened)
{
    fastrpc_shortened = Py_NewRef(shortened);
    return 0;
}

#endif
