"""The context that handlers run in, made once and used again.

Every handler starts in a copy of the connection's context, in which its call is current. To copy a context, and to
set a variable in it, costs as much as the rest of a small call, and most handlers end without anybody having looked.
A context of its own for each call costs 1,140 instructions more (`make guard`, raw echo), 7 % of the 15,400 of a call on
both sides and 29 % of the server's.

So a context says by way of a `CurrentCall` which call is current, and the next call gets the same one if nothing of it
can be seen by others: nobody holds the context or a copy of it, and no variable was set in it.

A copy shares the variables, a hash trie that is never changed in place; once a variable was set in the copy they share
the nodes of the trie that lead elsewhere. So nobody else may hold any node between the context and its slot::

    context ──► variables ──► node ──► … ──► node ──► slot ──► call

Where one reference more is counted than there must be, everything is made anew. Which pointer of a context leads to
its variables is found when the module is loaded, with the collector's help; where it cannot be found no context is
used twice. Together with tasks and calls that are used again, a small call of a server went from some 520 to 320 ns.

Code that runs between two handlers of one read, such as the `__post_init__` of a payload type, is in no call:
`current_call()` raises LookupError there. `asyncio.current_task()` may be the task of the handler before, which
counts as done.
"""

import contextvars
import gc

from cpython.contextvars cimport PyContextVar_Set
from cpython.object cimport PyObject
from libc.string cimport strncmp

from fastrpc._core.calls.call cimport scope_variable

cdef extern from "Python.h":
    object PyContext_CopyCurrent()
    int PyContext_Enter(object context) except -1
    int PyContext_Exit(object context) except -1
    Py_ssize_t Py_REFCNT(PyObject* value) noexcept
    # Declared here because cpython.object lets them raise, which a traversal must not.
    ctypedef int (*visitproc)(PyObject*, void*) noexcept
    ctypedef int (*traverseproc)(PyObject*, visitproc, void*) noexcept
    ctypedef struct PyTypeObject:
        const char* tp_name
        traverseproc tp_traverse
    PyTypeObject* Py_TYPE(PyObject* value) noexcept

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
    # Pointers of a context object that are looked at to find the one to its variables.
    FIRST_PLACE = 2
    LAST_PLACE = 6


cdef Py_ssize_t place_of_variables() except -1:
    """Where a context points to its variables, counted in pointers; 0 when that cannot be told.

    The collector visits them, so it shows which object they are; the place is the one that holds that address.
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


cdef int visit(PyObject* value, void* contexts) noexcept:
    """Follow the nodes of the trie to the slot; stop there, with the way in `_nodes`."""
    # Borrowed: the variables, which the caller holds, keep their nodes, and nothing runs meanwhile.
    cdef HandlerContexts self = <HandlerContexts>contexts
    if value is <PyObject*>self._slot:
        return 1
    # The types of the nodes are not public, nor can anybody set a variable to one.
    if self._depth == MOST_NODES or strncmp(Py_TYPE(value).tp_name, b"hamt_", 5) != 0:
        return 0
    self._nodes[self._depth] = <void*>value
    self._depth += 1
    if Py_TYPE(value).tp_traverse(value, visit, contexts):
        return 1
    self._depth -= 1
    return 0


cdef class HandlerContexts:
    """Contexts for the handlers of one server, one after the other."""

    cdef object take(self, Call call):
        """Return a context in which `call` is current: a copy of this one, or one that was given back."""
        context = self._idle
        if context is None:
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
        if VARIABLES_AT and self._taken is NULL:
            self._slot = slot
            self._taken = <void*>context
            self._variables = <object>variables_of(context)
            self._depth = 0
        return context

    cdef int give_back(self, object context) except -1:
        """The handler ended without a suspension, the caller alone holds the context: perhaps it can be used again."""
        if <void*>context != self._taken:
            return 0
        self._taken = NULL
        if self._is_unseen(context):
            self._slot.call = None
            self._idle = context
        else:
            self._forget()
        return 0

    cdef bint _is_unseen(self, object context) noexcept:
        """Whether nobody but the caller can see the context, its variables or its slot, and they are as they were."""
        cdef int i
        # One reference each: the caller's to the context, and the context's to its variables beside ours, without
        # which others could have come to lie at the same address. One of the variables' to the slot, beside ours.
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
        self._slot = None
        self._variables = None
        return 0

    cdef int drop(self, object context) except -1:
        """The handler goes on, and its context with it."""
        if <void*>context == self._taken:
            self._taken = NULL
            self._forget()
        return 0
