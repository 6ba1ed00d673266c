/* Operations on an object that its program forgot to await, such as `client.call(…) + 1`: the error names the object.

   Each slot belongs to a final type; `==` and the truth value stay as any object has them, since sets, dicts and `if`
   use them. So does the lookup of attributes: a slot here would make the interpreter raise where it only asks. */

#ifndef FASTRPC_UNAWAITED_H
#define FASTRPC_UNAWAITED_H

#include <Python.h>

/* Returns the name of an object that is not awaited yet, None if it is awaited; NULL: it raised. */
typedef PyObject *(*fastrpc_name_function)(PyObject *);
static fastrpc_name_function fastrpc_name;
static PyTypeObject *fastrpc_awaitable;

/* Returns whether an error was set: for an object that is not awaited yet. */
static int fastrpc_refuse(PyObject *object)
{
    PyObject *name = fastrpc_name(object);
    if (name == NULL)
        return 1;
    if (name != Py_None)
        PyErr_Format(PyExc_TypeError, "%U was not awaited: write (await ...) around it", name);
    Py_DECREF(name);
    return PyErr_Occurred() != NULL;
}

static PyObject *fastrpc_refuse_binary(PyObject *first, PyObject *second)
{
    PyObject *object = Py_IS_TYPE(first, fastrpc_awaitable) ? first : second;
    if (fastrpc_refuse(object))
        return NULL;
    Py_RETURN_NOTIMPLEMENTED;
}

static PyObject *fastrpc_refuse_power(PyObject *first, PyObject *second, PyObject *modulus)
{
    PyObject *object = Py_IS_TYPE(first, fastrpc_awaitable) ? first : Py_IS_TYPE(second, fastrpc_awaitable) ? second : modulus;
    if (fastrpc_refuse(object))
        return NULL;
    Py_RETURN_NOTIMPLEMENTED;
}

/* Sets an error in any case, and returns NULL. */
static PyObject *fastrpc_refuse_unary(PyObject *object)
{
    if (!fastrpc_refuse(object))
        PyErr_Format(PyExc_TypeError, "a %s cannot be used as a value", Py_TYPE(object)->tp_name);
    return NULL;
}

static PyObject *fastrpc_refuse_item(PyObject *object, PyObject *key)
{
    (void)key;
    return fastrpc_refuse_unary(object);
}

static Py_ssize_t fastrpc_refuse_length(PyObject *object)
{
    fastrpc_refuse_unary(object);
    return -1;
}

static int fastrpc_refuse_search(PyObject *object, PyObject *value)
{
    (void)value;
    fastrpc_refuse_unary(object);
    return -1;
}

static int fastrpc_is_true(PyObject *object)
{
    (void)object;
    return 1;
}

static PyObject *fastrpc_compare(PyObject *object, PyObject *other, int operation)
{
    if (operation != Py_EQ && operation != Py_NE && fastrpc_refuse(object))
        return NULL;
    return PyBaseObject_Type.tp_richcompare(object, other, operation);
}

static PyNumberMethods fastrpc_numbers = {
    .nb_add = fastrpc_refuse_binary,
    .nb_subtract = fastrpc_refuse_binary,
    .nb_multiply = fastrpc_refuse_binary,
    .nb_remainder = fastrpc_refuse_binary,
    .nb_divmod = fastrpc_refuse_binary,
    .nb_power = fastrpc_refuse_power,
    .nb_negative = fastrpc_refuse_unary,
    .nb_positive = fastrpc_refuse_unary,
    .nb_absolute = fastrpc_refuse_unary,
    .nb_bool = fastrpc_is_true,
    .nb_invert = fastrpc_refuse_unary,
    .nb_lshift = fastrpc_refuse_binary,
    .nb_rshift = fastrpc_refuse_binary,
    .nb_and = fastrpc_refuse_binary,
    .nb_xor = fastrpc_refuse_binary,
    .nb_or = fastrpc_refuse_binary,
    .nb_int = fastrpc_refuse_unary,
    .nb_float = fastrpc_refuse_unary,
    .nb_floor_divide = fastrpc_refuse_binary,
    .nb_true_divide = fastrpc_refuse_binary,
    .nb_index = fastrpc_refuse_unary,
    .nb_matrix_multiply = fastrpc_refuse_binary,
};
static PySequenceMethods fastrpc_sequences = {.sq_length = fastrpc_refuse_length, .sq_contains = fastrpc_refuse_search};
static PyMappingMethods fastrpc_mappings = {.mp_subscript = fastrpc_refuse_item};

/* The type is final and ready, so nothing has inherited its slots. */
static void fastrpc_refuse_operations(PyTypeObject *type, fastrpc_name_function name)
{
    fastrpc_name = name;
    fastrpc_awaitable = type;
    type->tp_as_number = &fastrpc_numbers;
    type->tp_as_sequence = &fastrpc_sequences;
    type->tp_as_mapping = &fastrpc_mappings;
    type->tp_richcompare = fastrpc_compare;
}

#endif
