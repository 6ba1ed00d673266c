"""The two parts of a connection that know calls: one serves the peer's calls, the other makes ours.

::

    Connection ──► ServingPart   (server/served_calls)  of a server, of a client that serves: gate, connection, limits
               └─► NativeCalling (client/own_calls)    of a client, of a server that calls a client that serves

Either side of a connection may hold both. These classes are the interface that the connection knows. A NativeCalling is
a CallingPart as well, the interface that our calls know. A connection without the part for a call never has the call: a
NativeCalling opens ours, and without a ServingPart no REQUEST is taken.
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
        """Note the method of a REQUEST that is incomplete, or refused at once."""
        return 0

    cdef int on_request(self, Call call, Frame* frame, bytes payload) except -1:
        """A REQUEST is complete; `frame` has its head. A call that is not answered at once has to be held.

        A one-way call (its state is STATE_GONE) keeps its place in `one_way_calls` until its handler ends.
        """
        return 0

    cdef int on_message(self, Call call, Frame* frame, bytes payload, Py_ssize_t cost) except -1:
        return 0

    cdef int on_end(self, Call call) except -1:
        """No further message of the caller will come."""
        return 0

    cdef int on_sendable(self, Call call) except -1:
        return 0

    cdef int on_cancel(self, Call call, int reason) except -1:
        """The caller has cancelled the call. A RESPONSE still has to be sent."""
        return 0

    cdef int on_refused(self, Call call, int status, str text) except -1:
        """Handle that a call is about to be answered as not started, or dropped if it is one-way."""
        return 0

    cdef int on_ended(self, Call call) except -1:
        """Note the end of a peer's call, which may have been noted before."""
        return 0

    cdef int on_local_end(self, Call call, int status, str text) except -1:
        return 0

    cdef int on_piece(self, Call call) except -1:
        return 0

    cdef int on_cut(self, Py_ssize_t change) except -1:
        """The bytes held by incomplete stream messages grow by `change`."""
        return 0

    cdef str on_part(self, Frame* frame, Py_ssize_t size):
        """Count `size` bytes of a frame's payload; return the reason to refuse the rest, or None."""
        return None

    cdef int on_part_ended(self, bint is_over) except -1:
        return 0

    cdef int on_cut_request(self) except -1:
        """A REQUEST is incomplete at the end of a read; the frame reader has its fields."""
        return 0

    cdef bint on_stuck(self, Call call, str text) except -1:
        """A cut message has stalled; return whether that was handled."""
        return False

    cdef int on_made(self) except -1:
        """Note that a client's connection is made, and counts from now on."""
        return 0

    cdef int on_read(self) except -1:
        """All received input is handled."""
        return 0

    cdef int on_stall(self) except -1:
        return 0

    cdef int on_tail(self, Py_ssize_t change) except -1:
        return 0

    cdef int on_flushed(self) except -1:
        """The stream has all output that it takes."""
        return 0

    cdef bint withholds(self, Frame* frame) noexcept:
        """Return whether the credit of this frame is withheld; if so, the frame is counted."""
        return False

    cdef bint may_lend(self) noexcept:
        """Return whether memory is left for streams to grow."""
        return True

    cdef uint64_t check(self, uint64_t now) except? 0:
        """Return the instant of the next check, 0 = never."""
        return 0

    cdef int end_calls(self, str text) except -1:
        """Answer every call that is still under way, and stop its handler."""
        return 0

    cdef int on_drain(self) except -1:
        """The connection takes no new calls."""
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
        """The other side never received this call."""
        return 0

    cdef int stop(self) except -1:
        """Send no new calls, and give back calls of which the other side has seen no byte."""
        return 0

    cdef int fail_all(self, str why, bint leaves) except -1:
        """End every call that is still under way; calls not sent yet did not run. `leaves`: written output is still sent."""
        return 0
