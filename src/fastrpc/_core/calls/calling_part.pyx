"""The interface between an outgoing call and its connection, for all protocols.

::

    ClientCall, ClientStream ──► CallingPart    OwnCalls (client/own_calls)          native, and rpcx above its translation
                                                PythonCalls (client/calling_engine)  protocols written in Python

A call holds its engine, which holds this part as `Engine.calling`. For a new protocol, a subclass overrides `send` and
`abandon`, and for streams the six methods of messages. The engine ends a call by `ClientCall.answer_came` or
`ClientCall.failed`, exactly once.

The clients of an event loop and of threads use the same part: `loop_state` tells them apart.
"""


cdef class CallingPart:
    """The interface of a connection for outgoing calls."""

    # The connection

    cdef bint takes_call(self, uint64_t now, uint64_t rested_ns) except -1:
        """Return whether a thread's new call may use this connection, which may be too old or idle for too long.

        Args:
            rested_ns: the instant since which no thread has used the connection; 0: a thread uses it now.
        """
        return True

    cdef bint output_waits(self) except -1:
        """Return whether earlier output waits, because the peer does not read it."""
        return False

    cdef int await_output(self, Call call) except -1:
        """Call the call's `may_send` once the output was sent."""
        return 0

    # A call

    cdef int start(self, Call call, bytes payload) except -1:
        """Send a call and watch its deadline. The caller has set the connection's `now`."""
        raise NotImplementedError

    cdef int send(self, Call call, bytes payload) except -1:
        """Send a call, but do not watch its deadline. EncodeError: it cannot be encoded. CallError: the protocol lacks
        this kind of call.
        """
        raise NotImplementedError

    cdef int abandon(self, Call call, int reason) except -1:
        """Drop a call and notify the peer once. The reason is a code of CANCEL in PROTOCOL.md."""
        return 0

    # Its messages

    cdef int send_message(self, Call call, bytes payload, int codec, int compressor) except -1:
        """Send a message of a stream; `output_is_full` must have returned False."""
        raise NotImplementedError

    cdef int send_end(self, Call call) except -1:
        """Announce that no further message follows; no effect if the call cannot reach the peer any more."""
        return 0

    cdef bint output_is_full(self, Call call) noexcept:
        """Return whether a stream has to wait before it adds a message to the output."""
        return False

    cdef int await_turn(self, Call call) except -1:
        """Call the stream's `may_send` once it may add to the output."""
        return 0

    cdef int message_taken(self, Call call, Py_ssize_t cost) except -1:
        """Return the credit of a message that the program has read and that used `cost` bytes of the window."""
        return 0

    cdef int reader_waits(self, Call call) except -1:
        """Note that the program waits for a message, so that the window may grow."""
        return 0

    # The state of a call's request

    cdef bint was_written(self, Call call) noexcept:
        """Return whether the whole request was written. It will be sent unless the byte stream ends before."""
        return True

    cdef bint was_handed(self, Call call) noexcept:
        """Return whether the operating system has the whole request. From then on the call may have run."""
        return True

    cdef object error_of_end(self, Call call, bint handed, str why):
        """Return the error of a call whose connection ends without an answer.

        Args:
            handed: whether the peer may have the request.
            why: the reason why the connection ended; None: the peer drains and did not start the call.
        """
        raise NotImplementedError
