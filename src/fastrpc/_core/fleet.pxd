"""The endpoints of a client: which of them may be picked, and what their results come to. Touched with the GIL held."""

cimport cython
from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.endpoint_health cimport OutlierDetector
from fastrpc._core.selector cimport BaseSelector, Candidate


@cython.final
cdef class Placement:
    cdef:
        # Where the attempt goes, of which method it is, the breaker's ticket (0: there was no breaker), when it began.
        readonly Candidate candidate
        str _method
        int64_t _ticket
        uint64_t _started_ns

        # The connection that was chosen with it, where the compiled client did so.
        object session

        # None once the attempt is over.
        Fleet _fleet

    cdef int end(self, object error) except -1
    cdef int conclude(self, object error) except -1


@cython.final
cdef class Fleet:
    cdef:
        readonly BaseSelector selector
        object _breaker_settings
        OutlierDetector _detector
        object _clock

        # Whether the selector makes keys of its own for calls that were given none.
        bint _makes_keys

        # Address -> Candidate, of all endpoints that the registry named last, in its order.
        dict _known

        # Whether all are used because too many were ejected.
        readonly bint is_panicking

    cdef uint64_t now(self) except? 0
    cdef Placement place(self, object call, object key, str method, tuple tried)
    cdef int64_t _enter(self, Candidate candidate, str method, uint64_t now) except -2
    cdef int ended(self, Placement placement, object error) except -1
    cdef int _note(self, Placement placement, bint is_fault, double seconds, uint64_t now) except -1
    cdef int _narrow(self) except -1
