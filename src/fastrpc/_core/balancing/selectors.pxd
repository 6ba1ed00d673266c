"""The built-in picks. All of it is touched with the GIL held; only `UserSelector` and `key_of` call Python code."""

cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastrpc._core.balancing.endpoint_health cimport EndpointHealth


@cython.final
cdef class EndpointState:
    cdef:
        # What was given to `update`, and what its owner keeps with it: what makes its connections, and those that calls
        # may go out on, taken in turn.
        readonly object endpoint
        public object subchannel
        public list sessions
        Py_ssize_t turn

        # Its name on the ring: the text of the address.
        readonly str name
        readonly uint32_t weight

        # Attempts picked and not observed.
        readonly int64_t in_flight

        # Kept by EndpointSet: what its results tell; method -> Breaker, None before the first fault; whether it is about to
        # leave, or not connected; whether that is because it is untried.
        readonly EndpointHealth health
        dict breakers
        readonly bint is_leaving
        bint is_untried

        # LeastLoaded: seconds an attempt takes, a peak-sensitive average, and when it was last brought up to date.
        double seconds
        uint64_t observed_ns

        # SmoothWeighted: its current weight as of the last change of the endpoints.
        int64_t current

        # ConsistentHash: its number on the ring; -1 = none.
        Py_ssize_t node

        # Whether calls may be sent there; whether the search under way passes it by.
        bint is_listed
        bint is_tried


cdef class BaseSelector:
    cdef:
        # In the order of `update`, without those of weight 0.
        list endpoint_states
        uint32_t size

        # id(endpoint) and address -> EndpointState. The endpoint holds the endpoint, so the id stays taken.
        dict _by_id
        dict _by_name

        # Functions that narrow the endpoints.
        readonly tuple filters

        # State of xorshift64*; never 0. Whether it comes of a seed that was given.
        uint64_t _random
        bint _is_seeded

    cdef uint64_t random(self) noexcept
    cdef uint32_t random_below(self, uint32_t size) noexcept
    cdef int take_up(self, list endpoint_states) except -1
    cdef EndpointState state_of(self, object endpoint)
    # `key` is what the caller gave to place the call by, or None; `tried` may be None; `now` is the instant of both.
    cdef EndpointState choose(self, object call, object key, tuple tried, uint64_t now)
    cdef int settle(self, EndpointState endpoint_state, double seconds, object error, uint64_t now) except -1
    cdef int take(self, EndpointState endpoint_state) except -1
    cdef int take_back(self, EndpointState endpoint_state) except -1
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
        # Whose turn is next, and how many picks were made since the last change.
        uint32_t _turn
        uint32_t _picks

        # The endpoints since the last change; those of the last pick, and whose turn was next then.
        list _listed
        list _order
        uint32_t _next_turn


cdef class SmoothWeightedSelector(BaseSelector):
    cdef:
        # The endpoints and, one for each of them, the weights and the current weights of the algorithm: at the beginning
        # of the cycle, and after its known part. Without a pick since the last change nothing is to be saved.
        list _order
        bint _has_picked
        int64_t* _weights
        int64_t* _start
        int64_t* _current
        int64_t _total

        # The picks repeat after _period; what is known of them so far. Longer periods are not kept: then it is 0.
        uint32_t* _cycle
        uint32_t _period
        uint32_t _known
        uint32_t _turn

    cdef int _save(self) except -1
    cdef int _begin_cycle(self, uint64_t period) except -1
    cdef uint32_t _advance(self) noexcept


cdef class LeastLoadedSelector(BaseSelector):
    cdef:
        # Seconds in which an old observation loses 63 % of its weight; the average of all endpoints.
        readonly double decay
        double _mean_seconds
        object _clock

    cdef double _cost(self, EndpointState endpoint_state, uint64_t now) noexcept
    cdef double _fading(self, EndpointState endpoint_state, uint64_t now) noexcept


@cython.final
cdef class UserSelector(BaseSelector):
    cdef:
        readonly object selector

    cdef EndpointState _ask(self, object call)
