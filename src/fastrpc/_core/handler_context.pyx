"""The context that handlers run in, made once and used again.

Every handler starts in a copy of the connection's context, in which its call is current. To copy a context, and to
set a variable in it, costs as much as the rest of a small call, and most handlers end without anybody having looked.
So a context says by way of a `CallSlot` which call is current, and the next call gets the same one if nothing of it
can be seen by others: nobody holds the context or a copy of it, and no variable was set in it.
"""

import contextvars
import gc

from cpython.contextvars cimport PyContextVar_Set
from cpython.object cimport PyObject

from fastrpc._core.call cimport scope_variable

cdef extern from "Python.h":
    object PyContext_CopyCurrent()
    int PyContext_Enter(object context) except -1
    int PyContext_Exit(object context) except -1
    Py_ssize_t Py_REFCNT(PyObject* value) noexcept

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
        cdef CallSlot slot = CallSlot.__new__(CallSlot)
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
            self._variables = <void*>variables_of(context)
        return context

    cdef int give_back(self, object context) except -1:
        """The handler ended without a suspension, the caller alone holds the context: perhaps it can be used again."""
        if <void*>context != self._taken:
            return 0
        self._taken = NULL
        # One reference each: the caller's to the context, the context's to its variables, and beside ours the
        # variables' to the slot.
        if (
            Py_REFCNT(<PyObject*>context) == 1
            and <void*>variables_of(context) == self._variables
            and Py_REFCNT(<PyObject*>self._variables) == 1
            and Py_REFCNT(<PyObject*>self._slot) == 2
        ):
            self._slot.call = None
            self._idle = context
        else:
            self._slot = None
        return 0

    cdef int drop(self, object context) except -1:
        """The handler goes on, and its context with it."""
        if <void*>context == self._taken:
            self._taken = NULL
            self._slot = None
        return 0
