"""The head of a response: its status line, fields and length; the response to the handshake of a WebSocket."""

from fastrpc._core.base.buffer cimport WriteBuffer
from fastrpc._core.exchange.request_head cimport RequestHead

# Return the status line and the line of Date, each with its line end.
cdef bytes first_lines_of(int status)

# Write the head of a response. With -1 as `body_size` it gets no Content-Length, as it has no body.
cdef int write_head(WriteBuffer out, bytes first, bytes lines, bytes connection, Py_ssize_t body_size) except -1

# Return the response to the handshake of a WebSocket, with a subprotocol ("": none) and further fields.
cdef bytes switching_head(RequestHead head, str protocol, bytes lines)
