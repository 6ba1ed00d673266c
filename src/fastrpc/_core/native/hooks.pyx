"""The interfaces through which parts of a native connection call other parts and the connection's side.

::

    FrameReader ──► on_opening, on_frame, sink_for ────────────────► FrameHandler  frames, by FrameRouter
    MessageAssembler ──► whole_request, end_served ────────────────► CalleeHooks   the peer's calls, by CalleeStates
                     └─► whole_response, end_called ───────────────► CallerHooks   our calls, by CallerStates
    SendQueue ──► answered, answer_waits ──────────────────────────► CalleeHooks
              └─► begin_call, give_up, was_unsent ─────────────────► CallerHooks
    ControlFrames, CallSlots, CallerStates ─► on_ready, on_crowd, … ► Side         the decisions of a client or server

The states of calls hold the assembler and the sender, so these two must not hold the states, which would be a cycle.
They get each interface from their owner (`parts_owner`).
"""

from fastrpc._core.io.engine cimport Engine


cdef class ConnectionPart:
    """A part of a connection. The sender is an `Output` instead."""

    def __cinit__(self, Engine owner not None, *parts):
        self.owner = <PyObject*>owner


cdef class FrameHandler(ConnectionPart):
    """The part that handles the opening and the frames of a reader."""

    cdef Py_ssize_t on_opening(self, const char* data, Py_ssize_t size) except -1:
        """Handle the opening. Return its size, 0 if it was already handled, or OPENING_INCOMPLETE to get more bytes."""
        raise NotImplementedError

    cdef int on_frame(self, Frame* frame, bytes payload) except -1:
        """Handle a complete frame. `payload` is set if it was received into separate memory."""
        raise NotImplementedError

    cdef Assembly sink_for(self, Frame* frame):
        """Return the memory for the payload of an incomplete frame: a new or an incomplete message; None to skip it."""
        raise NotImplementedError


cdef class CalleeHooks(ConnectionPart):
    """The interface of CalleeStates, the states of the peer's calls, for the parts that it holds."""

    cdef int whole_request(self, Call call, Frame* frame, bytes payload) except -1:
        """Handle the last piece of a REQUEST; `frame` has the head of its first piece."""
        raise NotImplementedError

    cdef int end_served(self, Call call, int status, str text) except -1:
        """End a call whose input exceeds a limit; answer it with this status."""
        raise NotImplementedError

    cdef int answered(self, Call call) except -1:
        """Handle that the last piece of the RESPONSE to a call was written."""
        raise NotImplementedError

    cdef int answer_waits(self, Call call) except -1:
        """Note that the RESPONSE to a call has to wait for credit or for its turn."""
        raise NotImplementedError


cdef class CallerHooks(ConnectionPart):
    """The interface of CallerStates, the states of our calls, for the parts that it holds."""

    cdef int whole_response(self, Call call, Frame* frame, bytes payload) except -1:
        """Handle the last piece of a RESPONSE; `frame` has the head of its first piece."""
        raise NotImplementedError

    cdef int end_called(self, Call call, int status, str text, int reason) except -1:
        """End a call whose input exceeds a limit; cancel it with this reason."""
        raise NotImplementedError

    cdef int begin_call(self, Call call) except -1:
        """Assign the id of a call whose first frame is about to be written."""
        raise NotImplementedError

    cdef int give_up(self, Call call, int reason) except -1:
        """Stop a call."""
        raise NotImplementedError

    cdef int was_unsent(self, Call call) except -1:
        """Note a call that was dropped before its first frame: the peer never sees it."""
        raise NotImplementedError


cdef class Side:
    """The decisions of one side of a connection. The default is a connection without a user."""

    cdef int on_ready(self) except -1:
        """Handle the peer's first SETTINGS: the connection is established."""
        return 0

    # Of a client

    cdef int on_forgotten(self, Call call) except -1:
        """Note the removal of a call of ours, whatever its outcome."""
        return 0

    cdef int on_ids_used_up(self) except -1:
        """Handle that the last call id was used. New calls are not sent here and need another connection."""
        return 0

    cdef int on_crowd(self) except -1:
        """Note that a call is opened beside as many others as `await_crowd` stated. It does not notify again."""
        return 0

    cdef int on_peer_drains(self) except -1:
        """Handle that the peer accepts no new calls. None are sent any more."""
        return 0

    cdef int on_verdict(self) except -1:
        """Handle the server's verdict on our credential; after a refusal the server ends the connection."""
        return 0

    # Of a server

    cdef int on_stranger(self, str text, bytes first) except -1:
        """Handle first bytes of another protocol. The connection ends with this error."""
        return 0

    cdef bint on_credential(self, Frame* frame) except -1:
        """Verify the credential in an AUTH; return False if this side verifies none."""
        return False

    cdef int on_drained(self) except -1:
        """Handle that GOAWAY FINAL was sent, which names the last accepted call."""
        return 0
