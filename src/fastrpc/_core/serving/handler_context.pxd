"""The context that handlers run in, made once and used again."""

from fastrpc._core.calls.call cimport Call, CurrentCall


cdef enum:
    # As deep as the trie of the variables can be, two nodes more than in Python 3.11.
    MOST_NODES = 10


cdef class HandlerContexts:
    cdef:
        # The idle context, or None; what it says about the current call; the variables it had when it was made.
        object _idle
        CurrentCall _slot
        object _variables

        # The nodes that lead from `_variables`, which keeps them, to `_slot`; `_depth` is 0 until they are known.
        void* _nodes[MOST_NODES]
        int _depth

        # The context that was taken and may come back, borrowed; NULL when none did.
        void* _taken

    cdef object take(self, Call call)
    cdef int give_back(self, object context) except -1
    cdef int drop(self, object context) except -1
    cdef object _made_for(self, Call call)
    cdef bint _is_unseen(self, object context) noexcept
    cdef int _forget(self) except -1
