"""The head of a response: its first lines, its fields, and its length; the head that ends the handshake of a WebSocket."""

from fastrpc._core.base.buffer cimport WriteBuffer
from fastrpc._core.exchange.request_head cimport RequestHead

# Return the status line and the field Date, with their line ends.
cdef bytes first_lines_of(int status)

# Write a response up to its body; -1 as its size: it has neither a body nor a length.
cdef int write_head(WriteBuffer out, bytes first, bytes lines, bytes connection, Py_ssize_t body_size) except -1

# Return the answer that ends the handshake of a WebSocket, with a subprotocol ("": none) and further fields.
cdef bytes switching_head(RequestHead head, str protocol, bytes lines)
