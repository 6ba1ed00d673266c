"""A loop's transport: its socket and the layers above it."""

from libc.stdint cimport int64_t

from fastrpc._core.loop.loop_state cimport LoopState


cdef struct SentOutput:
    # The number of bytes given to a transport so far.
    int64_t bytes
    # The positions in the output at which the last long part begins and ends.
    int64_t long_begins
    int64_t long_ends
    # The position at which the previous long part begins, if some of it was unsent then. No third long part is given.
    int64_t earlier_begins


cdef int note_long(SentOutput* sent, Py_ssize_t size, int64_t untaken) noexcept
cdef int64_t kept_of(const SentOutput* sent, int64_t untaken) noexcept

cdef int plain_descriptor(object transport) except -2
cdef int socket_of(object transport) except -2
cpdef bint is_nameless(object transport) except -1
cdef int64_t unsent_bytes(object transport) except? -1
cdef int64_t unsent_in_socket(int descriptor) except? -1
cdef int64_t unread_bytes(object transport) except? -1


cdef class Layer:
    cdef:
        readonly LoopState loop_state

        # `transport`: the transport below, None before it is connected; `_place`: the buffer into which it receives.
        readonly object transport
        object _place

        # The protocol above, None before there is one and once the transport is gone.
        object _protocol

        # `is_paused`: whether the protocol above has paused reading. `_is_scheduled`: whether a callback is scheduled
        # that passes on waiting bytes.
        bint is_paused
        bint _is_scheduled

    cdef int rest_in(self, loop) except -1
    cdef int hand_over(self) except -1
    cdef int hand_over_soon(self) except -1
