cimport cython
from libc.stdint cimport int64_t, uint32_t

from fastrpc._core.http2.violations cimport Violation
from fastrpc._core.wire.window cimport Window


cdef struct StreamWindows:
    # Relative to the first windows of all streams, so that SETTINGS change each window without a look at each stream: raised
    # by WINDOW_UPDATE, lowered by DATA. The windows themselves may be negative.
    int64_t sending
    int64_t receiving
    # Bytes placed and not yet returned as credit.
    int64_t owed


@cython.final
cdef class FlowControl:
    cdef:
        # The windows of the connection.
        readonly int64_t sending
        Window receiving

        # The first windows of streams: by the peer's settings, and by those of ours that count.
        readonly int64_t first_sending
        readonly int64_t first_receiving

        # At least the highest `StreamWindows.sending` of all streams that are open.
        int64_t _highest

    # Return the bytes that a stream may send now.
    cdef int64_t sendable(self, const StreamWindows* stream) noexcept
    cdef int sent(self, StreamWindows* stream, Py_ssize_t size) noexcept

    # Apply WINDOW_UPDATE of the connection (stream NULL) or a stream. -1: it breaks a rule, of the connection or the stream.
    cdef int raise_window(self, StreamWindows* stream, uint32_t increment, Violation* violation) noexcept

    # Apply the peer's SETTINGS_INITIAL_WINDOW_SIZE: where `needs_highest` says so, with the highest sending window of all
    # open streams. -1: a window overflows.
    cdef bint needs_highest(self, int64_t first) noexcept
    cdef int change_first_sending(self, int64_t first, int64_t highest, Violation* violation) noexcept

    # Apply our own one, once it is acknowledged.
    cdef int change_first_receiving(self, int64_t first) noexcept

    # Count received DATA of a stream, NULL: one that is over. -1: it exceeds a window, of the connection or the stream.
    cdef int receive(self, StreamWindows* stream, Py_ssize_t size, Violation* violation) noexcept

    # Count bytes as placed; return the credit to send now, 0: none yet.
    cdef int64_t place(self, Py_ssize_t size) noexcept
    cdef int64_t place_of_stream(self, StreamWindows* stream, Py_ssize_t size) noexcept

    # Let a message go on beyond the window of its stream; return the credit to send now.
    cdef int64_t grant(self, StreamWindows* stream, int64_t size) noexcept

    # Raise the window of the connection to a size; return the credit to send now.
    cdef int64_t widen(self, int64_t size) noexcept
