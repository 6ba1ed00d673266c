"""The deadline of a call: the timeout of its caller or the server's default, at most the timeout of the method."""

cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.server.served_call cimport ServerCall
from fastrpc._core.wire.frame cimport STREAM_IN, STREAM_OUT, TIMEOUT_NONE


# Return the timeout that the caller stated, else the server's default; 0 = no timeout.
@cython.nonecheck(False)
cdef inline uint64_t stated_timeout(uint64_t default_ns, uint64_t stated_us, int flags) noexcept:
    if stated_us == TIMEOUT_NONE:
        return 0
    if stated_us:
        # A timeout above 2^62 ns, 146 years, is no limit.
        return stated_us * 1000 if stated_us < (<uint64_t>1 << 62) // 1000 else 0
    # The default does not apply to streams.
    return 0 if flags & (STREAM_IN | STREAM_OUT) else default_ns


# Set the deadline from the caller's timeout or the server's default, at most `most`, the method's timeout (0 = no cap).
@cython.nonecheck(False)
cdef inline int set_deadline(uint64_t default_ns, ServerCall call, uint64_t most) noexcept:
    cdef uint64_t timeout = stated_timeout(default_ns, call.stated_timeout_us, call.flags)
    if most and (timeout == 0 or timeout > most):
        timeout = most
    if timeout:
        call.deadline_ns = min(call.deadline_ns, call.started_ns + timeout)
    return 0
