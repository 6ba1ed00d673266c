"""The endpoints of a client: their states, picks and results. Touched with the GIL held."""

cimport cython
from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.balancing.endpoint_health cimport OutlierDetector
from fastrpc._core.balancing.key_selectors cimport KeySelector
from fastrpc._core.balancing.selectors cimport BaseSelector, EndpointState


@cython.final
cdef class Pick:
    cdef:
        # `endpoint_state`: the endpoint of the attempt. `_method`: its method. `_ticket`: the ticket of the breaker, 0
        # without a breaker. `_started_ns`: the instant at which the attempt started.
        readonly EndpointState endpoint_state
        str _method
        int64_t _ticket
        uint64_t _started_ns

        # The endpoint set; None once the attempt is over.
        EndpointSet _endpoint_set

    cdef int end(self, object error) except -1


@cython.final
cdef class EndpointSet:
    cdef:
        readonly BaseSelector selector
        # Functions that narrow the endpoints: first the selector's, then the registry's.
        readonly tuple filters
        # The selector, if it places calls by key, else None.
        KeySelector _key_selector
        # The registry, for the error of a call without endpoints; "" for given endpoints.
        readonly str source
        # `_generation`: the first generation of the next breaker, which ignores the tickets of earlier breakers.
        object _breaker_settings
        int64_t _generation
        OutlierDetector _detector
        object _clock

        # Whether the selector makes its own keys for calls without one.
        bint _makes_keys

        # `_known`: address -> EndpointState of all endpoints in the registry's last list, in its order. It is replaced,
        # never changed. `_changes`: the number of changes of that list and of the states of connections.
        dict _known
        uint64_t _changes

        # The endpoints that the filters last admitted.
        readonly list left
        # The endpoints that the filters would admit if all endpoints were sound; computed only if the selector needs
        # them.
        list _usual
        # The function called after the filters ran, or None.
        public object on_narrowed

        # From `_look_ns` on a pick first updates the endpoints. It is the instant of the next comparison, or never; 0
        # after the set of available endpoints has changed.
        uint64_t _look_ns
        bint _is_stale
        bint _is_panicking

    cdef uint64_t now(self) except? 0

    # The life of an attempt. Its owner keeps the endpoint, the breaker's ticket (0: no breaker) and the instant of its
    # start, and ends it exactly once: by `conclude`; by `drop` if its outcome is inconclusive; or by `undo` if it was
    # not made and the call picks again.
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
    cdef list _filtered(self, dict known, object is_sound)
