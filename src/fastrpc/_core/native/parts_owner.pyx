"""What the parts of a connection share, and what they ask of the one that holds them.

::

    Connection (a PartsOwner) ──holds──► FrameReader, MessageAssembler, SendQueue, CallSlots
         ▲                                            │
         └────── hooks, shared state ─────────────────┘  by a borrowed pointer, `owner`

A part keeps no reference to its owner, so the two make no cycle. Its owner makes it, and takes the pointer back when it
goes; nobody else calls a part.
"""


cdef class PartsOwner(Timed):
    """The state that the parts of a connection share, and the hooks they call."""

    # Of the reader

    cdef Py_ssize_t on_opening(self, const char* data, Py_ssize_t size) except -1:
        """Take what comes before frames: its size; 0: nothing of it is left; OPENING_INCOMPLETE: it is not whole."""
        return 0

    cdef bint on_many_frames(self) except -1:
        """Several frames were handled since the last time. Return whether the rest has to wait."""
        return False

    cdef int on_frame(self, Frame* frame, bytes payload) except -1:
        """A frame is whole. `payload` is set when it was received into memory of its own."""
        return 0

    cdef Assembly sink_for(self, Frame* frame):
        """Return where the payload of a frame goes that is not whole: a new message, a begun one, or None: nowhere."""
        return None

    cdef int violate(self, int reason, str text) except -1:
        """The peer broke the rules: the connection ends."""
        self.is_closed = True
        return 0

    # Of the assembler

    cdef int on_message(self, Call call, Frame* frame, bytes payload, Py_ssize_t cost) except -1:
        """A stream message is whole; `frame` has its codec and compressor. Call `message_taken(call, cost)` when the
        application has it.
        """
        return 0

    cdef int on_piece(self, Call call) except -1:
        """A piece came that did not complete its message."""
        return 0

    cdef int on_whole_request(self, Call call, Frame* frame, bytes payload) except -1:
        """The last piece of a REQUEST came; `frame` has the head of its first one."""
        return 0

    cdef int on_whole_response(self, Call call, Frame* frame, bytes payload) except -1:
        """The last piece of a RESPONSE came; `frame` has the head of its first one."""
        return 0

    cdef int end_locally(self, Call call, int status, str text, int reason) except -1:
        """What the peer sent on a call goes over a limit: the call ends."""
        return 0

    # Of the sender

    cdef int begin_call(self, Call call) except -1:
        """The first frame of a call of ours is about to be written: give it its id."""
        return 0

    cdef int give_up(self, Call call, int reason) except -1:
        """Stop a call of ours."""
        return 0

    cdef int on_output(self) except -1:
        """There is something to take."""
        return 0

    cdef int on_answered(self, Call call) except -1:
        """The last piece of the RESPONSE to a call of theirs is written."""
        return 0

    cdef int on_answer_waits(self, Call call) except -1:
        """The RESPONSE to a call of theirs has to wait for credit or for its turn."""
        return 0

    cdef int on_unsent(self, Call call) except -1:
        """A call of ours was dropped before its first frame: the peer never hears of it."""
        return 0

    cdef int on_unsendable(self, Call call, object error) except -1:
        """A waiting call of ours turned out to be over the limits the peer has now announced."""
        return 0

    # Of the call slots

    cdef int on_ids_used_up(self) except -1:
        """The last call id was given away: what is to be called now needs another connection."""
        return 0
