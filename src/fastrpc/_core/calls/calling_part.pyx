"""The interface between a call of ours and its connection, whatever the protocol.

::

    ClientCall, ClientStream ──► CallingPart    OwnCalls (client/own_calls)          native, and rpcx above its translation
                                                PythonCalls (client/calling_engine)  protocols written in Python

A call holds its engine, which holds this part as `Engine.calling`. An engine of any protocol may have one: its class
overrides `send` and `abandon`, and for streams the six methods of messages. The engine ends a call by
`ClientCall.answer_came` or `ClientCall.failed`, once.

The clients of an event loop and of threads use the same part: `loop_state` tells them apart.
"""


cdef class CallingPart:
    """The interface of a connection for our calls on it."""

    # The connection

    cdef bint takes_call(self, uint64_t now, uint64_t rested_ns) except -1:
        """Return whether a new call of a thread may be sent here, by the age of the connection and by its time without
        calls.

        Args:
            rested_ns: the instant since which no thread uses the connection; 0: a thread uses it.
        """
        return True

    cdef bint output_waits(self) except -1:
        """Return whether the other side does not take the earlier output."""
        return False

    cdef int await_output(self, Call call) except -1:
        """Tell a call, by `may_send`, once the output has left."""
        return 0

    # A call

    cdef int start(self, Call call, bytes payload) except -1:
        """Send a call, and watch its deadline. The connection's `now` has been set."""
        raise NotImplementedError

    cdef int send(self, Call call, bytes payload) except -1:
        """Send a call whose deadline is watched elsewhere. EncodeError: it cannot be encoded; CallError: the protocol
        lacks this kind of call.
        """
        raise NotImplementedError

    cdef int abandon(self, Call call, int reason) except -1:
        """Forget a call, and notify the other side once; the reason is one of CANCEL in PROTOCOL.md."""
        return 0

    # Its messages

    cdef int send_message(self, Call call, bytes payload, int codec, int compressor) except -1:
        """Send a message of a stream; `output_is_full` said that there is room."""
        raise NotImplementedError

    cdef int send_end(self, Call call) except -1:
        """Announce that no further message follows; has no effect if the other side cannot get the call any more."""
        return 0

    cdef bint output_is_full(self, Call call) noexcept:
        """Return whether a stream has to wait before it adds a message to the output."""
        return False

    cdef int await_turn(self, Call call) except -1:
        """Tell a stream, by `may_send`, once it may add to the output."""
        return 0

    cdef int message_taken(self, Call call, Py_ssize_t cost) except -1:
        """The program has a message that took `cost` bytes of the stream's window: return the credit."""
        return 0

    cdef int reader_waits(self, Call call) except -1:
        """The program waits for a message: the window may grow."""
        return 0

    # The state of its request

    cdef bint was_written(self, Call call) noexcept:
        """Return whether the whole request is written: it will be sent unless the stream ends."""
        return True

    cdef bint was_handed(self, Call call) noexcept:
        """Return whether the system has the whole request: from then on it is unknown whether the call ran."""
        return True

    cdef object error_of_end(self, Call call, bint handed, str why):
        """Return the error of a call that the connection does not answer.

        Args:
            handed: whether the other side may have the request.
            why: why the connection ended; None: the other side drains, and did not start the call.
        """
        raise NotImplementedError
