"""The context that handlers run in, made once and used again."""

from fastrpc._core.call cimport Call, CallSlot


cdef class HandlerContexts:
    cdef:
        # The idle context, or None; what it says about the current call; the variables it had when it was made.
        object _idle
        CallSlot _slot
        void* _variables

        # The context that was taken and may come back, borrowed; NULL when none did.
        void* _taken

    cdef object take(self, Call call)
    cdef int give_back(self, object context) except -1
    cdef int drop(self, object context) except -1
    cdef object _made_for(self, Call call)
