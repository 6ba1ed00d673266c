"""The ways to answer a request: one is chosen at its head.

::

    head ──► HttpTerms ──► answering_of ──► Answering
                                               │ answer, fail: the whole response, or its end
    Gate ──► HttpOutcomes ─────────────────────┤ head, message, room: the parts of a stream
                                               │ hold, sign: a silent stream
                                               └ note, check_sent, marshal: what is known before the response

    ValueAnswering   JSON, msgpack      StreamAnswering  lines, events     PartAnswering    a part of a document
    WebAnswering     gRPC-Web, Connect  HeaderAnswering  rpcx, Phobos      MountAnswering   an application
    SocketEnd        a WebSocket, from the end of its handshake on

The outcomes ask only for a call whose request waits for its response, so no class checks whether the client is still
connected. A method that a class omits raises: no call uses it.
"""


from fastrpc._core.link.contract cimport lacking


cdef class Answering:
    """One way to answer a request."""

    cdef int answer(self, Exchange exchange, ServerCall call, bytes payload) except -1:
        """Send the result of a call, and the end of the response."""
        raise lacking(self, "answer")

    cdef int fail(self, Exchange exchange, ServerCall call, Failure failure, int status, bytes lines) except -1:
        """Send a failure under a status of HTTP, with further fields, and the end of the response."""
        raise lacking(self, "fail")

    cdef int head(self, Exchange exchange, ServerCall call, bytes metadata) except -1:
        """Send the head of a stream, with the metadata that comes before its first message."""
        raise lacking(self, "head")

    cdef int message(self, Exchange exchange, ServerCall call, bytes payload, int compressor) except -1:
        """Send a message of a stream, after the head if the head was not sent yet."""
        raise lacking(self, "message")

    cdef int hold(self, Exchange exchange, ServerCall call) except -1:
        """Note that the handler of a call suspends: its stream has to give a sign of life in time."""
        raise lacking(self, "hold")

    cdef int sign(self, Exchange exchange, ServerCall call, uint64_t now) except -1:
        """Send a sign of life in a stream that was silent for long."""
        raise lacking(self, "sign")

    cdef int room(self, Exchange exchange, ServerCall call) except -1:
        """After some output was sent, wake a sender that waits for room."""
        raise lacking(self, "room")

    cdef int note(self, Exchange exchange, ServerCall call, int status, dict fields, object compress) except -1:
        """Keep what the handler sets for its answer; `exchange` is None once the exchange is over.

        Args:
            status: of HTTP, 0: none.
            compress: whether the answer is compressed; None: as the setting says.
        """
        raise lacking(self, "note")

    cdef int check_sent(self, ServerCall call, bytes metadata) except -1:
        """Raise CallError if the answer to a call cannot carry this metadata."""
        raise lacking(self, "check_sent")

    cdef Marshal marshal(self, ServerCall call):
        """Return the marshal of the payloads of a call; None: the common one of its method."""
        raise lacking(self, "marshal")


cdef class BareAnswering(Answering):
    """An answering with a single message and no signs of life: nothing is noted or checked for it."""

    cdef int hold(self, Exchange exchange, ServerCall call) except -1:
        return 0

    cdef int room(self, Exchange exchange, ServerCall call) except -1:
        # Such an answering has no stream of messages.
        return 0

    cdef int note(self, Exchange exchange, ServerCall call, int status, dict fields, object compress) except -1:
        return 0

    cdef int check_sent(self, ServerCall call, bytes metadata) except -1:
        return 0

    cdef Marshal marshal(self, ServerCall call):
        return None
