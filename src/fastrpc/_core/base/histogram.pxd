"""Outcomes and durations of each method's calls. Accessed only with the GIL held."""

cimport cython
from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.base.status cimport HIGHEST_STATUS, UNKNOWN


cdef extern from "base/bits.h" nogil:
    int fastrpc_highest_bit(uint64_t word) noexcept


cdef extern from *:
    """
    #ifdef FASTRPC_UNCOUNTED
    #define FASTRPC_COUNTS 0
    #else
    #define FASTRPC_COUNTS 1
    #endif
    """
    # 0 in a build without counters: `ci/promises counters` uses it to measure the cost of counting.
    const bint COUNTS "FASTRPC_COUNTS"


cdef enum:
    STATUSES = HIGHEST_STATUS + 1
    # Durations are counted in ticks of 0.5 ms / 2**19, so that Prometheus gets the bounds 0.5 ms, 1 ms, 2 ms, ...
    TICKS = 16_384                       # in TICKS_NS nanoseconds
    TICKS_NS = 15_625
    LOWEST_BITS = 10                     # first bucket: up to 2**10 ticks, about 1 us
    HIGHEST_BITS = 36                    # last bucket: more than 2**36 ticks, about 65.5 s
    PART_BITS = 2                        # each doubling between them is cut into 4 equal parts
    BUCKETS = ((HIGHEST_BITS - LOWEST_BITS) << PART_BITS) + 2


cdef inline int bucket_of(uint64_t elapsed_ns) noexcept nogil:
    # Upper bounds belong to their bucket, as Prometheus requires: hence the subtraction. The buckets are
    # log-linear, as in HdrHistogram (hdrhistogram.org), with 2 bits of precision.
    cdef uint64_t below
    cdef int highest
    # The bound is far below the largest product that fits 64 bits.
    if elapsed_ns > ((<uint64_t>1 << HIGHEST_BITS) // TICKS) * TICKS_NS:
        return BUCKETS - 1
    # Rounded up: a duration that exceeds a bound by a part of a tick belongs to the next bucket.
    below = (elapsed_ns * TICKS + (TICKS_NS - 1)) // TICKS_NS
    if below <= (<uint64_t>1 << LOWEST_BITS):
        return 0
    below -= 1
    highest = fastrpc_highest_bit(below)
    # The bits below the highest set bit choose the part. The highest set bit itself adds 1 << PART_BITS, which skips
    # the first bucket; all but 1 of this is subtracted again.
    return (
        ((highest - LOWEST_BITS) << PART_BITS)
        + <int>(below >> (highest - PART_BITS))
        - ((1 << PART_BITS) - 1)
    )


@cython.final
cdef class MethodCounters:
    cdef:
        readonly str service             # the part of the full name before its last dot; "_other" stands for many
        readonly str method              # the part after the last dot
        readonly str side                # "client" or "server"
        readonly str protocol

        # Calls started and not ended.
        readonly int64_t in_flight

        # The sum of _ended and the sum of _buckets both equal the number of calls of `ended`.
        uint64_t[STATUSES] _ended
        uint64_t[BUCKETS] _buckets
        uint64_t _elapsed_ns

        # Bytes that this side received and sent.
        readonly uint64_t received_bytes
        readonly uint64_t sent_bytes

    cdef inline void started(self) noexcept:
        if COUNTS:
            self.in_flight += 1

    cdef inline void ended(self, int status, uint64_t elapsed_ns) noexcept:
        if COUNTS:
            self.in_flight -= 1
            self._ended[status if 0 <= status < STATUSES else UNKNOWN] += 1
            self._buckets[bucket_of(elapsed_ns)] += 1
            self._elapsed_ns += elapsed_ns

    cdef inline void moved(self, uint64_t bytes_in, uint64_t bytes_out) noexcept:
        if COUNTS:
            self.received_bytes += bytes_in
            self.sent_bytes += bytes_out

    cdef void _merge_counters(self, MethodCounters other) noexcept
    cdef int _merge_snapshot(self, object snapshot) except -1


@cython.final
cdef class Durations:
    cdef:
        # `_buckets`: the number of durations in each bucket; `_elapsed_ns`: the sum of all durations.
        uint64_t[BUCKETS] _buckets
        uint64_t _elapsed_ns

    cdef inline void counted(self, uint64_t elapsed_ns) noexcept:
        self._buckets[bucket_of(elapsed_ns)] += 1
        self._elapsed_ns += elapsed_ns


# The times that calls waited for their start: in the queue of a server, or for a thread.
cdef Durations queue_waits
# The times that our calls waited for a free call slot of their server.
cdef Durations client_waits


@cython.final
cdef class CallTotals:
    cdef:
        # `_calls` and `_retries`: started first attempts, and started retries; `_ended`: ended attempts by status.
        uint64_t _calls
        uint64_t _retries
        uint64_t[STATUSES] _ended

        # Bytes of payloads.
        uint64_t _sent_bytes
        uint64_t _received_bytes

        # Connections made.
        public uint64_t connections

    cdef inline void started(self, bint is_retry, uint64_t sent_bytes) noexcept:
        if is_retry:
            self._retries += 1
        else:
            self._calls += 1
        self._sent_bytes += sent_bytes

    cdef inline void ended(self, int status) noexcept:
        self._ended[status if 0 <= status < STATUSES else UNKNOWN] += 1

    cdef inline void sent(self, uint64_t sent_bytes) noexcept:
        self._sent_bytes += sent_bytes

    cdef inline void received(self, uint64_t received_bytes) noexcept:
        self._received_bytes += received_bytes


@cython.final
cdef class CounterRegistry:
    cdef:
        # (service, method, side, protocol) -> MethodCounters; at most LIMIT entries, and one more for each side and
        # protocol, which counts all other methods.
        dict _counters

    cpdef MethodCounters counters(self, str name, str side, str protocol=*)


# Return service and method of a full name; a mounted application has a path as its method.
cdef tuple labels_of(str name)
