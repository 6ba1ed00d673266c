"""Instants of the monotonic clock and durations, in nanoseconds. 0 is an instant that never comes, or no limit."""

from libc.stdint cimport int64_t, uint64_t

cdef enum:
    # The lowest average rate of an incoming message in bytes per second, as in Kestrel (MinRequestBodyDataRate).
    LOWEST_RATE = 240


cdef inline uint64_t earlier(uint64_t first, uint64_t second) noexcept:
    """Return the smaller instant."""
    if first == 0 or (second != 0 and second < first):
        return second
    return first


cdef inline uint64_t pace_due(uint64_t began_ns, uint64_t heard_ns, int64_t received) noexcept:
    """Return the instant after which the sender of an incomplete message is silent, or below the lowest rate."""
    return min(heard_ns, began_ns + <uint64_t>received * 1_000_000_000 // LOWEST_RATE)


cdef inline uint64_t nanoseconds(object seconds) except? 0:
    """Return a setting in seconds as nanoseconds; only None gives 0."""
    return 0 if seconds is None else max(<uint64_t>1, <uint64_t>(seconds * 1e9))
