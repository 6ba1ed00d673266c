"""The windows of a connection and of its streams (RFC 9113, sections 5.2 and 6.9).

A stream keeps how far WINDOW_UPDATE and DATA moved its windows; the first sizes lie here. So a change of
SETTINGS_INITIAL_WINDOW_SIZE costs the same with one stream and with ten thousand, and a peer gains nothing by repeating it.
An overflow depends on the highest window: a bound of it is kept, and the owner looks at all streams only where that bound
overflows.
"""

cimport cython
from libc.stdint cimport int64_t, uint32_t

from fastrpc._core.http2.settings cimport FIRST_WINDOW
from fastrpc._core.http2.violations cimport (
    RULE_STREAM_WINDOW, RULE_STREAM_WINDOW_OVERFLOW, RULE_WINDOW, RULE_WINDOW_OVERFLOW, RULE_ZERO_INCREMENT,
    RULE_ZERO_STREAM_INCREMENT, violated,
)
from fastrpc._core.wire.window cimport HIGHEST_WINDOW, open_window, placed


@cython.final
cdef class FlowControl:

    def __cinit__(self):
        self.sending = self.first_sending = self.first_receiving = FIRST_WINDOW
        open_window(&self.receiving, FIRST_WINDOW)

    cdef int64_t sendable(self, const StreamWindows* stream) noexcept:
        return max(<int64_t>0, min(self.sending, self.first_sending + stream.sending))

    cdef int sent(self, StreamWindows* stream, Py_ssize_t size) noexcept:
        self.sending -= size
        stream.sending -= size
        return 0

    cdef int raise_window(self, StreamWindows* stream, uint32_t increment, Violation* violation) noexcept:
        cdef int64_t raised
        if increment == 0:
            return violated(violation, RULE_ZERO_INCREMENT if stream is NULL else RULE_ZERO_STREAM_INCREMENT)
        if stream is NULL:
            raised = self.sending + increment
            if raised > HIGHEST_WINDOW:
                return violated(violation, RULE_WINDOW_OVERFLOW, raised, HIGHEST_WINDOW)
            self.sending = raised
            return 0
        raised = self.first_sending + stream.sending + increment
        if raised > HIGHEST_WINDOW:
            return violated(violation, RULE_STREAM_WINDOW_OVERFLOW, raised, HIGHEST_WINDOW)
        stream.sending += increment
        self._highest = max(self._highest, stream.sending)
        return 0

    cdef bint needs_highest(self, int64_t first) noexcept:
        return first + self._highest > HIGHEST_WINDOW

    cdef int change_first_sending(self, int64_t first, int64_t highest, Violation* violation) noexcept:
        if self.needs_highest(first):
            # Never below 0: the window of a stream to come.
            self._highest = max(highest, <int64_t>0)
            if self.needs_highest(first):
                return violated(violation, RULE_WINDOW_OVERFLOW, first + self._highest, HIGHEST_WINDOW)
        self.first_sending = first
        return 0

    cdef int change_first_receiving(self, int64_t first) noexcept:
        self.first_receiving = first
        return 0

    cdef int receive(self, StreamWindows* stream, Py_ssize_t size, Violation* violation) noexcept:
        cdef int64_t left = self.receiving.left
        if size > left:
            return violated(violation, RULE_WINDOW, size, left)
        # Also where the stream's window is exceeded: the connection goes on.
        self.receiving.left = left - size
        if stream is NULL:
            return 0
        left = self.first_receiving + stream.receiving
        stream.receiving -= size
        return violated(violation, RULE_STREAM_WINDOW, size, left) if size > left and size else 0

    cdef int64_t place(self, Py_ssize_t size) noexcept:
        return placed(&self.receiving, size)

    cdef int64_t place_of_stream(self, StreamWindows* stream, Py_ssize_t size) noexcept:
        cdef int64_t credit = stream.owed + size
        # Half a window at a time; where the window was lowered below what the stream still has, that is taken from it.
        if credit * 2 < self.first_receiving or credit == 0:
            stream.owed = credit
            return 0
        stream.owed = 0
        stream.receiving += credit
        return credit

    cdef int64_t grant(self, StreamWindows* stream, int64_t size) noexcept:
        cdef int64_t credit = min(size, HIGHEST_WINDOW - self.first_receiving - stream.receiving)
        if credit <= 0:
            return 0
        stream.receiving += credit
        return credit

    cdef int64_t widen(self, int64_t size) noexcept:
        cdef int64_t credit = size - self.receiving.size
        if credit <= 0:
            return 0
        self.receiving.size = size
        self.receiving.left += credit
        return credit
