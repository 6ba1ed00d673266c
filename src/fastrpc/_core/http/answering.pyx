"""The ways to answer a request. One is chosen when its head arrives.

::

    head ──► HttpTerms ──► answering_of ──► Answering
                                               │ answer, fail: the whole response, or its end
    Gate ──► HttpOutcomes ─────────────────────┤ head, message, room: the parts of a stream
                                               │ hold, sign: a silent stream
                                               └ note, check_sent, marshal: before the response

    ValueAnswering   JSON, msgpack      StreamAnswering  lines, events     PartAnswering    a part of a document
    WebAnswering     gRPC-Web, Connect  HeaderAnswering  rpcx, Phobos      MountAnswering   an application
    SocketEnd        a WebSocket, from the end of its handshake on

`HttpOutcomes` uses an `Answering` only while the request of a call waits for its response, so no class checks whether
the client is still connected. A method that a class omits raises, as no call of that class needs it.
"""


from fastrpc._core.link.contract cimport lacking


cdef class Answering:
    """One way to answer a request."""

    cdef int answer(self, Exchange exchange, ServerCall call, bytes payload) except -1:
        """Send the result of a call, and end the response."""
        raise lacking(self, "answer")

    cdef int fail(self, Exchange exchange, ServerCall call, Failure failure, int status, bytes lines) except -1:
        """Send a failure with an HTTP status and further fields, and end the response."""
        raise lacking(self, "fail")

    cdef int head(self, Exchange exchange, ServerCall call, bytes metadata) except -1:
        """Send the head of a stream, with the metadata that precedes its first message."""
        raise lacking(self, "head")

    cdef int message(self, Exchange exchange, ServerCall call, bytes payload, int compressor) except -1:
        """Send a message of a stream; send the head before it if that was not sent yet."""
        raise lacking(self, "message")

    cdef int hold(self, Exchange exchange, ServerCall call) except -1:
        """Note that the handler of a call suspends, and schedule the next sign of life of its stream."""
        raise lacking(self, "hold")

    cdef int sign(self, Exchange exchange, ServerCall call, uint64_t now) except -1:
        """Send a sign of life in a stream that was silent for too long."""
        raise lacking(self, "sign")

    cdef int room(self, Exchange exchange, ServerCall call) except -1:
        """After some output was sent, wake a sender that waits for room."""
        raise lacking(self, "room")

    cdef int note(self, Exchange exchange, ServerCall call, int status, dict fields, object compress) except -1:
        """Keep the status, fields and compression that the handler sets; `exchange` is None once the exchange is over.

        Args:
            status: the HTTP status, 0 for the usual one.
            compress: whether the answer is compressed; None: the setting decides.
        """
        raise lacking(self, "note")

    cdef int check_sent(self, ServerCall call, bytes metadata) except -1:
        """Raise CallError if the answer to a call cannot carry this metadata."""
        raise lacking(self, "check_sent")

    cdef Marshal marshal(self, ServerCall call):
        """Return the marshal of the payloads of a call, or None for the method's usual one."""
        raise lacking(self, "marshal")


cdef class BareAnswering(Answering):
    """A base for answers with one message: it sends no signs of life, and notes and checks nothing."""

    cdef int hold(self, Exchange exchange, ServerCall call) except -1:
        return 0

    cdef int room(self, Exchange exchange, ServerCall call) except -1:
        # No sender waits, as there is no stream of messages.
        return 0

    cdef int note(self, Exchange exchange, ServerCall call, int status, dict fields, object compress) except -1:
        return 0

    cdef int check_sent(self, ServerCall call, bytes metadata) except -1:
        return 0

    cdef Marshal marshal(self, ServerCall call):
        return None
