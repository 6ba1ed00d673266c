"""What the parts of a connection share, and what they ask of the one that holds them.

::

    Connection (a PartsOwner) ──holds──► SendQueue, CallSlots, …
         ▲                                     │
         └────── hooks, shared state ──────────┘  by a borrowed pointer, `owner`

A part keeps no reference to its owner, so the two make no cycle. Its owner makes it, and takes the pointer back when it
goes; nobody else calls a part.
"""


cdef class PartsOwner(Timed):
    """The state that the parts of a connection share, and the hooks they call."""

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
