/* Compiled coroutine objects: awaiting one costs no StopIteration object, as its type answers PyIter_Send directly. */

#ifndef FASTRPC_COROUTINE_H
#define FASTRPC_COROUTINE_H

#include <Python.h>

/* Takes one step: 1 returned, 0 yielded, -1 raised. Each module that includes this has one for all of its types. */
typedef int (*fastrpc_step_function)(PyObject *, PyObject *, PyObject **);
static fastrpc_step_function fastrpc_step;

static PySendResult fastrpc_send(PyObject *self, PyObject *value, PyObject **result)
{
    int done;
    *result = NULL;
    done = fastrpc_step(self, value, result);
    return done < 0 ? PYGEN_ERROR : done == 1 ? PYGEN_RETURN : PYGEN_NEXT;
}

static int fastrpc_install_send(PyObject *type, fastrpc_step_function step)
{
    PyTypeObject *object = (PyTypeObject *)type;
    if (object->tp_as_async == NULL) {
        PyErr_SetString(PyExc_SystemError, "the type has no async slots");
        return -1;
    }
    fastrpc_step = step;
    object->tp_as_async->am_send = fastrpc_send;
    PyType_Modified(object);
    return 0;
}

#endif
