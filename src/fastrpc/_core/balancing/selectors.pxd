"""The built-in selectors. They run with the GIL held; only `UserSelector` and `key_of` call Python code."""

cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastrpc._core.balancing.endpoint_health cimport EndpointHealth


@cython.final
cdef class EndpointState:
    cdef:
        # The endpoint given to `update`, and its owner's data: the subchannel, and the connections that take calls in turn.
        readonly object endpoint
        public object subchannel
        public list connections
        Py_ssize_t turn

        # The endpoint's name on the ring: `Address.place`.
        readonly str name
        readonly uint32_t weight

        # Picked attempts whose outcome was not observed yet.
        readonly int64_t in_flight

        # Kept by EndpointSet.
        readonly EndpointHealth health
        # Method -> Breaker; None before the first fault.
        dict breakers
        # Whether the endpoint is draining or not connected.
        readonly bint is_leaving
        # Whether the endpoint only counts as leaving because it was never tried.
        bint is_untried

        # LeastLoaded: `seconds` is the time of an attempt, as a peak-sensitive average; `observed_ns`: the instant of
        # its last update.
        double seconds
        uint64_t observed_ns

        # SmoothWeighted: its current weight as of the last change of the endpoints.
        int64_t current

        # `node`: for ConsistentHash, the node's number on the ring, -1: none. `identity`: for JumpHash, the hash of the
        # name.
        Py_ssize_t node
        uint64_t identity

        # `is_listed`: whether calls may use the endpoint; `is_tried`: whether the current search skips it; `is_shut`:
        # for key selectors, whether all searches skip it.
        bint is_listed
        bint is_tried
        bint is_shut

        # Whether the endpoint was removed from its owner's list. If it returns, the owner makes a new object.
        bint is_gone


cdef int mark_gone(object endpoint_states, object names) except -1


cdef class BaseSelector:
    cdef:
        # In the order of `update`, without endpoints of weight 0.
        list endpoint_states
        uint32_t size

        # id(endpoint) -> EndpointState, and address -> EndpointState. An EndpointState holds its endpoint, so the id
        # stays unique.
        dict _by_id
        dict _by_name

        # Functions that narrow the endpoints.
        readonly tuple filters

        # `_random`: the state of xorshift64*, never 0; `_is_seeded`: whether it stems from a given seed.
        uint64_t _random
        bint _is_seeded

        # `_made`: the arguments of the selector's constructor; `_is_claimed`: whether a client uses the selector.
        tuple _made
        bint _is_claimed

    cdef uint64_t random(self) noexcept
    cdef uint32_t random_below(self, uint32_t size) noexcept
    # Take a new random state, as after a fork, unless a seed was given.
    cdef int reseed(self) except -1
    cdef int take_up(self, list endpoint_states) except -1
    cdef EndpointState state_of(self, object endpoint)
    # `key` is the caller's hash key or None; `tried` may be None; `now` is the current instant.
    cdef EndpointState choose(self, object call, object key, tuple tried, uint64_t now)
    cdef int settle(self, EndpointState endpoint_state, double seconds, object error, uint64_t now) except -1
    cdef int take(self, EndpointState endpoint_state) except -1
    cdef int take_back(self, EndpointState endpoint_state) except -1
    cdef int refuse(self, EndpointState endpoint_state) except -1
    cdef int undo(self, EndpointState endpoint_state) except -1
    cdef uint64_t instant(self) except? 0
    cdef int _changed(self) except -1
    cdef Py_ssize_t _next(self, object call, object key, uint64_t now) except -1
    cdef EndpointState _next_untried(self, object call, object key, tuple tried, uint64_t now)
    cdef uint32_t _mark_tried(self, tuple tried, bint is_tried) except? 0xFFFFFFFF


cdef class RandomSelector(BaseSelector):
    pass


cdef class RoundRobinSelector(BaseSelector):
    cdef:
        # `_turn`: the index of the next endpoint; `_picks`: the number of picks since the last change.
        uint32_t _turn
        uint32_t _picks

        # `_listed`: the endpoints since the last change; `_order`: the endpoints at the last pick; `_next_turn`: the
        # next index then.
        list _listed
        list _order
        uint32_t _next_turn


cdef class SmoothWeightedSelector(BaseSelector):
    cdef:
        # `_order`: the endpoints. For each: its weight, and the algorithm's current weight at the start of the cycle
        # (`_start`) and after the known part of the cycle (`_current`). If there was no pick since the last change
        # (`_has_picked`), there is nothing to save.
        list _order
        bint _has_picked
        int64_t* _weights
        int64_t* _start
        int64_t* _current
        int64_t _total

        # Picks repeat after `_period`; the first `_known` picks of it are stored. 0: the period is too long to store.
        uint32_t* _cycle
        uint32_t _period
        uint32_t _known
        uint32_t _turn

    cdef int _save(self) except -1
    cdef int _begin_cycle(self, uint64_t period) except -1
    cdef uint32_t _advance(self) noexcept


cdef class LeastLoadedSelector(BaseSelector):
    cdef:
        # `decay`: the seconds in which an old observation loses 63 % of its weight; `_mean_seconds`: the average of all
        # endpoints.
        readonly double decay
        double _mean_seconds
        object _clock

    cdef double _cost(self, EndpointState endpoint_state, uint64_t now) noexcept
    cdef double _fading(self, EndpointState endpoint_state, uint64_t now) noexcept

    # Return the expected seconds of an attempt at an endpoint that has no other attempts in flight.
    cdef double expected_seconds(self, EndpointState endpoint_state, uint64_t now) noexcept


@cython.final
cdef class UserSelector(BaseSelector):
    cdef:
        # `selector`: the program's selector; `_on_failure`: a function that is called with the exceptions that its
        # `observe` raises.
        readonly object selector
        object _on_failure

        # `_updates`: the number of updates of the endpoints. `_is_updating`: whether an update runs now, during which
        # other threads may pick.
        uint64_t _updates
        bint _is_updating

    cdef EndpointState _ask(self, object call)
