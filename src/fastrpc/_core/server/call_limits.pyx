"""The limits of one server, applied to calls: the limits of a method, and the key under which each call counts.

::

    call ──► its method's limits ──► key: the method, the peer, … ──► a token, or a place  ──► the next limit
                                                                  └─► none: all are given back, the call is refused
"""

cimport cython
from libc.stdint cimport uint32_t, uint64_t

from fastrpc._core.calls.call cimport MethodRoute
from fastrpc._core.limiting.concurrency_limiter cimport END_UNSTARTED, Permit, leave_all
from fastrpc._core.limiting.key_table cimport key_of
from fastrpc._core.server.served_connection cimport ServedConnection
from fastrpc._core.server.waiting_calls cimport is_sheddable
from fastrpc._core.wire.frame cimport ONE_WAY, STREAM_IN, STREAM_OUT

cdef uint64_t MILLISECOND_NS = 1_000_000
# The largest pause that the wire can carry: the number above it means "never" (PROTOCOL.md).
cdef uint64_t LONGEST_PAUSE_MS = 0xFFFFFFFE

cdef dict KINDS = {"peer": KEY_PEER, "identity": KEY_IDENTITY, "metadata": KEY_METADATA}


@cython.final
cdef class BoundLimit:
    """A limit as it holds for one method."""

    def __init__(self, limiter not None, str per not None, bytes name not None, str text not None):
        if isinstance(limiter, RateLimiter):
            self.rate = limiter
        else:
            self.concurrency = <ConcurrencyLimiter?>limiter
        kind, _, self.entry = per.partition(":")
        self.kind = <KeyKind><int>KINDS.get(kind, KEY_FIXED)
        self.key = key_of(name)
        self.text = text

    cdef uint64_t key_for(self, ServerCall call) except 0:
        cdef ServedConnection connection = call.connection
        if self.kind == KEY_FIXED:
            return self.key
        if self.kind == KEY_PEER:
            if not connection.peer_key:
                connection.peer_key = key_of(connection.gate.dispatcher.peer_name(connection))
            return connection.peer_key
        identity = call.own_identity if call.keeps_identity else connection.identity
        if identity is None:
            # No identity has this name. An unauthenticated caller could name another entry with each call.
            return key_of(b"anonymous")
        if self.kind == KEY_IDENTITY:
            return key_of(identity.name.encode())
        return key_of(b"=" + call.metadata.get(self.entry, "").encode())


@cython.final
cdef class CallLimits:
    """The limits of one server."""

    def __init__(self, bind not None):
        self._bind = bind

    @cython.nonecheck(False)
    cdef BoundLimit take(self, ServerCall call):
        """Count a call on all limits of its method; return the first that is reached, with nothing counted, or None."""
        cdef MethodRoute route = call.route
        cdef tuple limits = route.limits
        cdef Py_ssize_t index
        if limits is None:
            limits = route.limits = <tuple?>self._bind(route.method)
        for index in range(len(limits)):
            if not self._take_one(<BoundLimit>limits[index], call):
                self._give_back(call, limits, index)
                return <BoundLimit>limits[index]
        return None

    @cython.nonecheck(False)
    cdef bint _take_one(self, BoundLimit limit, ServerCall call) except -1:
        cdef uint64_t key = limit.key_for(call), wait_ns
        cdef Permit permit
        cdef Py_ssize_t place
        if limit.rate is not None:
            wait_ns = <uint64_t>limit.rate.take(key, call.connection.now, is_sheddable(call))
            if wait_ns == 0:
                return True
            self.refused_by_rate += 1
        elif limit.concurrency.adaptive is None or not call.flags & (ONE_WAY | STREAM_IN | STREAM_OUT):
            place = limit.concurrency.enter(key, is_sheddable(call))
            if place >= 0:
                permit = Permit.__new__(Permit)
                permit.limiter = limit.concurrency
                permit.place = place
                permit.next = call.permit
                call.permit = permit
                return True
            self.refused_by_concurrency += 1
            wait_ns = limit.concurrency.pause()
        else:
            # The duration of a stream says nothing about the server, and a one-way caller does not wait.
            return True
        self.pause_ms = <uint32_t>min((wait_ns + MILLISECOND_NS - 1) // MILLISECOND_NS, LONGEST_PAUSE_MS)
        return False

    cdef int _give_back(self, ServerCall call, tuple limits, Py_ssize_t count) except -1:
        cdef Py_ssize_t index
        cdef BoundLimit limit
        for index in range(count):
            limit = <BoundLimit>limits[index]
            if limit.rate is not None:
                limit.rate.give_back()
        leave_all(call.permit, 0, 0, END_UNSTARTED)
        call.permit = None
        return 0
