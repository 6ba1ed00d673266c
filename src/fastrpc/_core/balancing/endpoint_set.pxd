"""The endpoints of a client: their states, picks and results. Touched with the GIL held."""

cimport cython
from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.balancing.endpoint_health cimport OutlierDetector
from fastrpc._core.balancing.selectors cimport BaseSelector, EndpointState


@cython.final
cdef class Pick:
    cdef:
        # Where the attempt goes, of which method it is, the breaker's ticket (0: there was no breaker), when it began.
        readonly EndpointState endpoint_state
        str _method
        int64_t _ticket
        uint64_t _started_ns

        # None once the attempt is over.
        EndpointSet _endpoint_set

    cdef int end(self, object error) except -1


@cython.final
cdef class EndpointSet:
    cdef:
        readonly BaseSelector selector
        # The registry, for the error of a call without endpoints; "" for given endpoints.
        readonly str source
        # Generations of breakers: a new breaker refuses the tickets of an earlier one.
        object _breaker_settings
        int64_t _generation
        OutlierDetector _detector
        object _clock

        # Whether the selector makes keys of its own for calls that were given none.
        bint _makes_keys

        # Address -> EndpointState, of all endpoints that the registry named last, in its order; replaced, never changed.
        # How often that or what connections say has changed.
        dict _known
        uint64_t _changes

        # What the filters left when they were last asked, and who is to hear of it: a function, or None.
        readonly list left
        public object on_narrowed

        # When a pick has to look after the endpoints first: at the next comparison, or never; at once where those that
        # may be picked are others by now.
        uint64_t _look_ns
        bint _is_stale
        bint _is_panicking

    cdef uint64_t now(self) except? 0

    # What happens for each attempt. Whoever makes it keeps the endpoint, the breaker's ticket (0: there was no breaker) and
    # when it began, and ends it exactly once: by `conclude`, by `drop` when it says nothing, or by `undo`
    # when it was not made and is picked for once more.
    cdef EndpointState choose(self, object call, object key, str method, tuple tried, uint64_t now, int64_t* ticket)
    cdef int conclude(
        self, EndpointState endpoint_state, str method, int64_t ticket, uint64_t began, uint64_t ended, object error
    ) except -1
    cdef int drop(self, EndpointState endpoint_state, str method, int64_t ticket) except -1
    cdef int undo(self, EndpointState endpoint_state, str method, int64_t ticket) except -1

    cdef EndpointState _pass_by(self, object call, object key, str method, tuple tried, uint64_t now, int64_t* ticket)
    cdef bint _admits(self, EndpointState endpoint_state, str method, uint64_t now, int64_t* ticket) except -1
    cdef EndpointState _choose_one(
        self, object call, object key, str method, tuple avoided, uint64_t now, int64_t* ticket
    )
    cdef tuple _held_back(self, str method, uint64_t now)
    cdef int _forget(self, EndpointState endpoint_state, str method, int64_t ticket) except -1
    cdef int _judge(self, EndpointState endpoint_state, bint is_fault, uint64_t now) except -1
    cdef Pick _placed(self, EndpointState endpoint_state, str method, int64_t ticket, uint64_t now)
    cdef int64_t _enter(self, EndpointState endpoint_state, str method, uint64_t now) except -2
    cdef int _note(
        self, EndpointState endpoint_state, str method, int64_t ticket, bint is_fault, double seconds, uint64_t now
    ) except -1
    cdef bint _probed(self, bint has_changed) noexcept
    cdef int _look(self, uint64_t now) except -1
    cdef int _narrow(self) except -1
    cdef list _usable(self)
