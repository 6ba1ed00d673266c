"""The contexts (contextvars) of handlers, made once and reused."""

from fastrpc._core.calls.call cimport Call, CurrentCall


cdef enum:
    # The greatest depth of the trie of variables that is followed: two more nodes than Python 3.11 has.
    MOST_NODES = 10


cdef class HandlerContexts:
    cdef:
        # The idle context, or None.
        object _idle
        # The variables of the context from which the idle context was copied.
        object _source
        # `_slot`: the idle context's CurrentCall; `_variables`: the context's variables when it was made.
        CurrentCall _slot
        object _variables

        # `_nodes`: the nodes on the path from `_variables`, which owns them, to `_slot`; `_depth`: their number, 0
        # until they are known.
        void* _nodes[MOST_NODES]
        int _depth

        # The context in use that may be given back, borrowed, or NULL.
        void* _taken

    cdef object take(self, Call call)
    cdef int give_back(self, object context) except -1
    cdef int drop(self, object context) except -1
    cdef object _made_for(self, Call call)
    cdef bint _is_unseen(self, object context) noexcept
    cdef int _forget(self) except -1


cdef class SharedContext:
    cdef:
        # `_last`: the last copy, or None; `_source`: the variables that it was made with.
        object _last
        object _source

    cdef object copy(self)
    cdef int forget(self) except -1
