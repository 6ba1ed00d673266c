"""The calls of a connection, or of all, that wait for their start: by priority 2, 0, 1, then by arrival."""

from collections import OrderedDict

cimport cython

from fastrpc._core.base.priority_queue cimport PRIORITY_HIGH, PRIORITY_SHEDDABLE, RANK_NORMAL, RANK_SHEDDABLE


@cython.final
cdef class WaitingCalls:

    def __cinit__(self):
        self.high = OrderedDict()
        self.normal = OrderedDict()
        self.sheddable = OrderedDict()

    def __len__(self):
        return len(self.high) + len(self.normal) + len(self.sheddable)

    def __iter__(self):
        yield from self.high
        yield from self.normal
        yield from self.sheddable

    cdef object of(self, ServerCall call):
        """Return the calls of the same priority."""
        if call.priority == PRIORITY_HIGH:
            return self.high
        return self.sheddable if call.priority == PRIORITY_SHEDDABLE else self.normal

    cdef int add(self, ServerCall call) except -1:
        """Put a call, which has been charged, after the others of its priority."""
        cdef int64_t charge = call.charge
        self.of(call)[call] = charge
        if is_sheddable(call):
            self.sheddable_bytes += charge
            self.sheddable_records += call.record
        return 0

    cdef int drop(self, ServerCall call) except -1:
        """Take a call out."""
        charge = self.of(call).pop(call, None)
        if charge is not None and is_sheddable(call):
            self.sheddable_bytes -= <int64_t>charge
            self.sheddable_records -= call.record
        return 0

    cdef ServerCall first(self, int last_rank):
        """Return the call to start next among those up to this rank, or None."""
        if self.high:
            return <ServerCall>next(iter(self.high))
        if self.normal and last_rank >= RANK_NORMAL:
            return <ServerCall>next(iter(self.normal))
        return <ServerCall>next(iter(self.sheddable)) if self.sheddable and last_rank >= RANK_SHEDDABLE else None

    cdef ServerCall oldest(self):
        """Return the call that has waited longest, or None."""
        cdef ServerCall call, found = None
        for calls in (self.high, self.normal, self.sheddable):
            if calls:
                call = <ServerCall>next(iter(calls))
                if found is None or call.queued_ns < found.queued_ns:
                    found = call
        return found

    cdef ServerCall last_sheddable(self):
        """Return the call that makes room for others first, the one that would start last, or None."""
        return <ServerCall>next(reversed(self.sheddable)) if self.sheddable else None


cdef bint is_sheddable(ServerCall call) noexcept:
    return call.priority == PRIORITY_SHEDDABLE
