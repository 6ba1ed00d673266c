"""The contexts (contextvars) of handlers, made once and reused.

Every handler starts in a copy of the connection's context, in which its call is current. Copying a context and setting a
variable in it costs as much as the rest of a small call, and most handlers never use it. A new context for each call
costs 1,140 more instructions (`make guard`, raw echo): 7 % of the 15,400 of a call on both sides, 29 % of the server's.

So the variable of a context refers to the current call indirectly, through a `CurrentCall`. The next call gets the same
context under three conditions: it starts with the same variables, no other code holds the context or a copy of it, and
no variable was set in it. Connections with other variables, such as a caller's identity, get separate copies.

A copy of a context shares its variables, a hash trie that is never changed in place. Setting a variable in the copy
replaces only the nodes on the path to it; the others stay shared. So reuse requires that no other object holds any node
between the context and its slot::

    context ──► variables ──► node ──► … ──► node ──► slot ──► call

If any reference count is higher than expected, a new context is made. The pointer from a context to its variables is
located at import, with the help of the garbage collector; if that fails, no context is reused. Together with reused
tasks and calls this reduced the time of a small call in a server from about 520 to 320 ns.

Waiting calls share a copy of the context in which they were read. Each gets a separate copy when it starts. Under
overload thousands wait and are refused, and a copy for each would be one more object for the garbage collector.

Code that runs between two handlers of one read, such as the `__post_init__` of a payload type, belongs to no call, so
`current_call()` raises LookupError there. `asyncio.current_task()` may return the previous handler's task, which
counts as done.
"""

import contextvars
import gc

cimport cython
from cpython.contextvars cimport PyContext_CopyCurrent, PyContext_Enter, PyContext_Exit, PyContextVar_Set
from cpython.object cimport PyObject
from libc.string cimport strncmp

from fastrpc._core.calls.call cimport scope_variable

cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(PyObject* value) noexcept
    # Declared here because cpython.object lets them raise, which a traversal must not.
    ctypedef int (*visitproc)(PyObject*, void*) noexcept
    ctypedef int (*traverseproc)(PyObject*, visitproc, void*) noexcept
    ctypedef struct PyTypeObject:
        const char* tp_name
        traverseproc tp_traverse
    PyTypeObject* Py_TYPE(PyObject* value) noexcept
    ctypedef struct PyThreadState:
        PyObject* context
    PyThreadState* PyThreadState_Get() noexcept

cdef extern from *:
    """
    #ifdef Py_GIL_DISABLED
    #define FASTRPC_COUNTS_ARE_EXACT 0
    #else
    #define FASTRPC_COUNTS_ARE_EXACT 1
    #endif
    """
    const bint FASTRPC_COUNTS_ARE_EXACT

cdef enum:
    # The range of pointers in a context object that is searched for the pointer to its variables.
    FIRST_PLACE = 2
    LAST_PLACE = 6


cdef Py_ssize_t place_of_variables() except -1:
    """Return the offset, counted in pointers, of a context's pointer to its variables; 0 if it was not found.

    The garbage collector finds the object of the variables; the offset is where a pointer to this object is.
    """
    cdef Py_ssize_t place
    context = contextvars.copy_context()
    context.run(contextvars.ContextVar("fastrpc_probe").set, None)
    held = gc.get_referents(context)
    if not FASTRPC_COUNTS_ARE_EXACT or len(held) != 1:
        return 0
    for place in range(FIRST_PLACE, LAST_PLACE):
        if (<void**><PyObject*>context)[place] == <void*><PyObject*>held[0]:
            return place
    return 0


cdef Py_ssize_t VARIABLES_AT = place_of_variables()


cdef inline PyObject* variables_of(object context) noexcept:
    return <PyObject*>(<void**><PyObject*>context)[VARIABLES_AT]


cdef inline PyObject* current_variables() noexcept:
    """Return the variables of the current context, borrowed from it; NULL if none is entered."""
    cdef PyObject* context = PyThreadState_Get().context
    return NULL if context is NULL else variables_of(<object>context)


cdef int visit(PyObject* value, void* contexts) noexcept:
    """Follow the nodes of the trie to the slot, and record the path in `_nodes`."""
    # The nodes are borrowed: the caller holds the variables, which hold the nodes, and no other code runs meanwhile.
    cdef HandlerContexts self = <HandlerContexts>contexts
    if value is <PyObject*>self._slot:
        return 1
    # Only nodes are followed. Their types are not public, so no variable can have a node as its value.
    if self._depth == MOST_NODES or strncmp(Py_TYPE(value).tp_name, b"hamt_", 5) != 0:
        return 0
    self._nodes[self._depth] = <void*>value
    self._depth += 1
    if Py_TYPE(value).tp_traverse(value, visit, contexts):
        return 1
    self._depth -= 1
    return 0


cdef class HandlerContexts:
    """The reusable contexts for the handlers of one server."""

    @cython.nonecheck(False)
    cdef object take(self, Call call):
        """Return a context in which `call` is current: a copy of the current context, new or reused."""
        context = self._idle
        if context is None or <PyObject*>self._source is not current_variables():
            return self._made_for(call)
        self._idle = None
        self._taken = <void*>context
        self._slot.call = call
        return context

    cdef object _made_for(self, Call call):
        cdef CurrentCall slot = CurrentCall.__new__(CurrentCall)
        context = PyContext_CopyCurrent()
        slot.call = call
        PyContext_Enter(context)
        try:
            PyContextVar_Set(scope_variable, slot)
        finally:
            PyContext_Exit(context)
        if VARIABLES_AT and self._taken is NULL and current_variables() is not NULL:
            self._idle = None
            # A reference is held, so that the address cannot be reused by other variables.
            self._source = <object>current_variables()
            self._slot = slot
            self._taken = <void*>context
            self._variables = <object>variables_of(context)
            self._depth = 0
        return context

    @cython.nonecheck(False)
    cdef int give_back(self, object context) except -1:
        """Keep the context of a handler that never suspended for reuse, if only the caller holds it."""
        if <void*>context != self._taken:
            return 0
        self._taken = NULL
        if self._is_unseen(context):
            self._slot.call = None
            self._idle = context
        else:
            self._forget()
        return 0

    @cython.nonecheck(False)
    cdef bint _is_unseen(self, object context) noexcept:
        """Return whether only the caller can see the context, its variables and its slot, all unchanged."""
        cdef int i
        # The expected references: the caller to the context; the context and this object to the variables (this object, so
        # that their address is not reused); the variables and this object to the slot.
        if (
            Py_REFCNT(<PyObject*>context) != 1
            or variables_of(context) is not <PyObject*>self._variables
            or Py_REFCNT(<PyObject*>self._variables) != 2
            or Py_REFCNT(<PyObject*>self._slot) != 2
        ):
            return False
        if self._depth == 0:
            Py_TYPE(<PyObject*>self._variables).tp_traverse(<PyObject*>self._variables, visit, <void*>self)
        for i in range(self._depth):
            if Py_REFCNT(<PyObject*>self._nodes[i]) != 1:
                return False
        return self._depth > 0

    cdef int _forget(self) except -1:
        self._source = None
        self._slot = None
        self._variables = None
        return 0

    cdef int drop(self, object context) except -1:
        """Do not reuse the context, which a suspended handler keeps."""
        if <void*>context == self._taken:
            self._taken = NULL
            self._forget()
        return 0


@cython.final
cdef class SharedContext:

    cdef object copy(self):
        """Return a copy of the current context, or the last copy if it has the same variables. Do not enter the copy."""
        cdef PyObject* variables = current_variables() if VARIABLES_AT else NULL
        if variables is NULL:
            return PyContext_CopyCurrent()
        if self._last is None or variables is not <PyObject*>self._source:
            self._last = PyContext_CopyCurrent()
            # A reference is held, so that the address cannot be reused by other variables.
            self._source = <object>variables
        return self._last

    cdef int forget(self) except -1:
        """Release the variables."""
        self._last = self._source = None
        return 0
