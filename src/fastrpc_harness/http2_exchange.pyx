"""Both sides of unary calls on an HTTP/2 connection, in a C loop: the cost of the HTTP/2 layer."""

cimport cython

from fastrpc._core.http2.connection cimport new_http2
from fastrpc._core.http2.header_block cimport TOKEN_GRPC_TIMEOUT, HeaderBlock
from fastrpc._core.http2.stream_table cimport Http2Stream

cdef enum:
    WINDOW = 65_535
    MOST_FIELDS = 8_192
    TIMEOUTS = 97


@cython.final
cdef class ExchangingClient(StreamHandler):

    def __init__(self, HeaderTemplate request not None, bytes payload not None):
        self.http2 = new_http2(self, True, 0, WINDOW, MOST_FIELDS)
        self._request = request
        self._payload = payload
        # All timeouts of a burst differ, as with real deadlines, so no head equals a cached head.
        self._timeouts = [[(TOKEN_GRPC_TIMEOUT, b"grpc-timeout", b"%du" % (999_700 + i))] for i in range(TIMEOUTS)]
        self._owner = Engine.__new__(Engine)
        self.http2.join(self._owner)
        self.http2.open(True)

    cdef int on_head(self, Http2Stream stream, HeaderBlock block, bint ends_stream) except -1:
        return 0

    cdef int on_data(self, Http2Stream stream, const char* data, Py_ssize_t size, bint ends_stream) except -1:
        return 0

    cdef int on_trailers(self, Http2Stream stream, HeaderBlock block) except -1:
        self.answered += 1
        return 0

    cdef int on_over(self, Http2Stream stream) except -1:
        return 0


@cython.final
cdef class ExchangingServer(StreamHandler):

    def __init__(self, HeaderTemplate head not None, HeaderTemplate trailers not None, bytes payload not None):
        self.http2 = new_http2(self, False, 1_000, WINDOW, MOST_FIELDS)
        self._head = head
        self._trailers = trailers
        self._payload = payload
        self._owner = Engine.__new__(Engine)
        self.http2.join(self._owner)
        self.http2.open(True)

    cdef int on_head(self, Http2Stream stream, HeaderBlock block, bint ends_stream) except -1:
        return 0

    cdef int on_data(self, Http2Stream stream, const char* data, Py_ssize_t size, bint ends_stream) except -1:
        self.http2.send_head(stream, self._head, None, False)
        self.http2.send_message(stream, self._payload, 0, False)
        self.http2.send_trailers(stream, self._trailers, None)
        return self.http2.note_answered()

    cdef int on_over(self, Http2Stream stream) except -1:
        return 0


def exchange(
    ExchangingClient client not None, ExchangingServer server not None, Py_ssize_t calls, Py_ssize_t in_flight,
    bint deadlines,
):
    """Make calls in bursts; each burst is passed to the other side in one piece."""
    cdef Py_ssize_t _index, begun = 0
    cdef Http2Connection asking = client.http2
    cdef Http2Stream stream
    cdef list timeout
    client._owner.is_reading = server._owner.is_reading = True
    while begun < calls:
        for _index in range(min(in_flight, calls - begun)):
            stream = asking.open_stream()
            timeout = <list>client._timeouts[begun % TIMEOUTS] if deadlines else None
            asking.send_head(stream, client._request, timeout, False)
            asking.send_message(stream, client._payload, 0, True)
            begun += 1
        hand_over(asking, server.http2)
        hand_over(server.http2, asking)


cdef int hand_over(Http2Connection giver, Http2Connection taker) except -1:
    """Pass the output of one side to the other side."""
    cdef Py_ssize_t size = 0
    cdef const char* data
    taker.engine().messages_left = 1_000_000
    if giver.sender.is_waiting():
        giver.pump()
    # The bytes stay in the giver's buffer until they are skipped.
    data = giver.sender.plain(&size)
    if data is NULL or taker.take(data, size) != size:
        raise ValueError("the output is cut")
    return giver.sender.skip()
