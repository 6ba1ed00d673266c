"""Selectors around others: bindings of keys, and a canary. Touched with the GIL held."""

from libc.stdint cimport uint32_t, uint64_t

from fastrpc._core.balancing.selectors cimport BaseSelector, EndpointState


cdef struct Binding:
    # `hash`: the hash of the binding's key; `place`: the number of its endpoint.
    uint64_t hash
    uint32_t place

    # `used`: the tick (`TICK_NS`) of the last use; `away`: the tick of the first call that used another endpoint, 0: no
    # call did.
    uint32_t used
    uint32_t away

    # `after`: the next binding in the bucket; `newer` and `older`: the neighbours in the list by last use, latest
    # first. NOWHERE ends each list.
    uint32_t after
    uint32_t newer
    uint32_t older


cdef class BindingTable:
    cdef:
        # The bindings; bindings from _count on were never used. _free chains the returned bindings by `after`.
        Binding* _bindings
        uint32_t _capacity
        uint32_t _count
        uint32_t _free
        readonly uint32_t size
        readonly uint32_t most

        # `_buckets`: the first binding of each bucket. `_seed`: the seed of the hash, so that callers cannot choose
        # keys that share a bucket.
        uint32_t* _buckets
        uint32_t _mask
        uint64_t _seed

        # The most and the least recently used binding.
        uint32_t _newest
        uint32_t _oldest

    cdef Binding* find(self, uint64_t hash) noexcept
    cdef Binding* bind(self, uint64_t hash) except NULL
    cdef int touch(self, Binding* binding) noexcept
    cdef Binding* oldest(self) noexcept
    cdef int drop_oldest(self) noexcept
    cdef uint32_t* _bucket(self, uint64_t hash) noexcept
    cdef int _unlink(self, uint32_t number) noexcept
    cdef int _put_first(self, uint32_t number) noexcept
    cdef int _grow(self) except -1


cdef class WrappingSelector(BaseSelector):
    cdef int share(self, BaseSelector inner) except -1


cdef class StickySelector(WrappingSelector):
    cdef:
        # The selector that picks endpoints for new bindings.
        readonly BaseSelector inner
        readonly double keep
        readonly BindingTable bindings
        uint32_t _keep_ticks
        uint64_t _began_ns
        object _clock

        # If the last pick reset the `away` of a binding: the hash of that binding and its former `away`; else
        # `_reset_away` is 0.
        uint64_t _reset_hash
        uint32_t _reset_away

        # `_numbers`: name -> number of an endpoint. By number: `_places` has its EndpointState (None after its
        # removal), `_counts` the number of its bindings, `_names` its name. `_spare`: numbers without endpoint and
        # bindings.
        dict _numbers
        list _places
        list _counts
        list _names
        list _spare

    cdef uint32_t _ticks(self, uint64_t now) noexcept
    cdef EndpointState _elsewhere(self, object call, object key, tuple tried, uint64_t now, uint64_t hash, uint32_t ticks)
    cdef EndpointState _levelled(self, EndpointState picked, tuple tried, uint64_t now)
    cdef double _keys_of(self, EndpointState endpoint_state) except -1.0
    cdef int _bind(self, Binding* binding, EndpointState endpoint_state) except -1
    cdef int _unbind(self, uint32_t place) except -1
    cdef int _free(self, Py_ssize_t place) except -1
    cdef bint _is_tried_there(self, EndpointState endpoint_state, tuple tried) except -1


cdef class CanarySelector(WrappingSelector):
    cdef:
        # The selectors of both sides.
        readonly BaseSelector stable
        readonly BaseSelector canary
        object _to
        double _percent
        uint64_t _below
        readonly object by
        readonly dict when
        bint _reads_metadata

        # Names of the canary's present endpoints.
        set _ours

    cdef bint _goes_to_canary(self, object call) except -1
    cdef BaseSelector _side_of(self, EndpointState endpoint_state)
    cdef bint _is_spent(self, BaseSelector side, tuple tried) except -1
