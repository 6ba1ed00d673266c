cimport cython
from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.balancing.endpoint_set cimport EndpointSet
from fastrpc._core.balancing.selectors cimport EndpointState
from fastrpc._core.calling.caller_state cimport CallerState
from fastrpc._core.calling.caller_view cimport ViewOptions
from fastrpc._core.native.connection cimport Connection
from fastrpc._core.calling.coroutine_call cimport CoroutineCall
from fastrpc._core.calling.pending_call cimport PendingCall
from fastrpc._core.calls.call cimport Route


cdef class PickedCall(CoroutineCall):
    cdef:
        # Who makes it and where it goes.
        ViewOptions options
        readonly object hash_key
        Connection session

        # An attempt of another call: its connection is given, its deadline is that call's, errors are not retried.
        bint is_attempt

        # Until the endpoint set was told what became of it: where it picked, and its breaker's ticket.
        EndpointState endpoint_state
        int64_t ticket

    cdef Connection place(self, EndpointSet endpoint_set, uint64_t now)
    cdef int leave(self, object error, uint64_t ended_ns) except -1
    cdef int drop(self) except -1
    cdef int undo(self) except -1


@cython.final
cdef class EncodedRequest:
    cdef:
        # The encoded arguments of a call by this route, and the hash of their names; whether the compression is over, and
        # whether it made them smaller.
        Route route
        uint64_t names
        bytes payload
        bint is_packed
        bint is_smaller


cdef class ClientCall(PickedCall):
    cdef:
        # What to send, until it was sent, and what is wanted of it; whether another attempt was faster.
        tuple args
        dict kwargs
        int verb
        bint has_lost

        # Where its arguments are compressed in slices: what was encoded (EncodedRequest); of an attempt, once that is done,
        # the one that sends it (ClientCall).
        object prepared

    cdef bytes prepare(self, uint64_t now)
    cdef bint send_on(self, Connection session, uint64_t now) except -1
    cdef object finish(self)


cdef int expire(PendingCall call, Connection session) except -1
