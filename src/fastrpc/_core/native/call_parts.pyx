"""The two parts of a connection that handle calls: one serves the peer's calls, the other makes ours.

::

    Connection ──► ServingPart   (server/served_calls)  of a server, of a client that serves: gate, connection, limits
               └─► NativeCalling (client/own_calls)    of a client, of a server that calls a client that serves

Either side of a connection may hold both. The connection uses these classes as interfaces. Our calls use NativeCalling
through its base, CallingPart. A listed call always has its part: only a NativeCalling opens our calls, and without a
ServingPart every REQUEST is rejected.
"""


cdef class ServingPart:
    """The part of a connection that serves the peer's calls."""

    cdef object connection_of(self):
        """Return the connection as the gate knows it."""
        return None

    cdef Call new_call(self):
        """Make the object for a call of the peer."""
        return Call.__new__(Call)

    cdef int on_begun(self, Call call, Frame* frame) except -1:
        """Note the method of a REQUEST that is incomplete, or is refused immediately."""
        return 0

    cdef int on_request(self, Call call, Frame* frame, bytes payload) except -1:
        """Handle a complete REQUEST; `frame` has its head. A call that is not answered immediately has to be held.

        A one-way call, whose state is STATE_GONE, counts in `one_way_calls` until its handler ends.
        """
        return 0

    cdef int on_message(self, Call call, Frame* frame, bytes payload, Py_ssize_t cost) except -1:
        return 0

    cdef int on_end(self, Call call) except -1:
        """Note that the caller sends no further messages."""
        return 0

    cdef int on_sendable(self, Call call) except -1:
        return 0

    cdef int on_cancel(self, Call call, int reason) except -1:
        """Handle a CANCEL of the caller. A RESPONSE still has to be sent."""
        return 0

    cdef int on_refused(self, Call call, int status, str text) except -1:
        """Note a refused call: it will be answered as not started, or dropped if it is one-way."""
        return 0

    cdef int on_ended(self, Call call) except -1:
        """Note the end of a peer's call. May be called twice for a call."""
        return 0

    cdef int on_local_end(self, Call call, int status, str text) except -1:
        return 0

    cdef int on_piece(self, Call call) except -1:
        return 0

    cdef int on_cut(self, Py_ssize_t change) except -1:
        """Add `change`, which may be negative, to the bytes held by incomplete stream messages."""
        return 0

    cdef str on_part(self, Frame* frame, Py_ssize_t size):
        """Count `size` bytes of a frame's payload; return the reason to refuse the rest, or None."""
        return None

    cdef int on_part_ended(self, bint is_over) except -1:
        return 0

    cdef int on_cut_request(self) except -1:
        """Handle a REQUEST that is incomplete at the end of a read; the frame reader has its fields."""
        return 0

    cdef bint on_stuck(self, Call call, str text) except -1:
        """Handle a cut message that has stalled; return whether that was handled."""
        return False

    cdef int on_made(self) except -1:
        """Note that a client's connection is established, and count it from now on."""
        return 0

    cdef int on_read(self) except -1:
        """Called after all received input was handled."""
        return 0

    cdef int on_stall(self) except -1:
        return 0

    cdef int on_tail(self, Py_ssize_t change) except -1:
        return 0

    cdef int on_flushed(self) except -1:
        """Called after the stream was given all output that it accepts."""
        return 0

    cdef bint withholds(self, Frame* frame) noexcept:
        """Return whether the credit of this frame is withheld; if so, the frame is counted."""
        return False

    cdef bint may_lend(self) noexcept:
        """Return whether there is memory left to grow the windows of streams."""
        return True

    cdef uint64_t check(self, uint64_t now) except? 0:
        """Make the checks that are due; return the instant of the next check, 0 = never."""
        return 0

    cdef int end_calls(self, str text) except -1:
        """Answer every call that is still in progress, and stop its handler."""
        return 0

    cdef int on_drain(self) except -1:
        """Called when the connection starts to refuse new calls."""
        return 0

    cdef int on_closed(self) except -1:
        return 0

    cdef int on_lost(self, object error) except -1:
        return 0


cdef class NativeCalling(CallingPart):
    """The part of a native connection that makes our calls."""

    cdef int on_response(self, Call call, Frame* frame, bytes payload) except -1:
        return 0

    cdef int on_message(self, Call call, Frame* frame, bytes payload, Py_ssize_t cost) except -1:
        return 0

    cdef int on_head(self, Call call, bytes metadata) except -1:
        return 0

    cdef int on_sendable(self, Call call) except -1:
        return 0

    cdef int on_local_end(self, Call call, int status, str text) except -1:
        return 0

    cdef int on_unsendable(self, Call call, object error) except -1:
        return 0

    cdef int on_not_started(self, Call call) except -1:
        """Handle a call that the other side never received."""
        return 0

    cdef int stop(self) except -1:
        """Send no new calls, and end the calls of which no byte was sent, as not started."""
        return 0

    cdef int fail_all(self, str why, bint leaves) except -1:
        """End every call that is still under way; calls not sent yet did not run. `leaves`: written output is still sent."""
        return 0
