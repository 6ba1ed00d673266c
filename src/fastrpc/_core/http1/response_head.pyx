"""The head of a response: its status line, fields and length; the response to the handshake of a WebSocket."""

import base64
import hashlib

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.string cimport memcpy

from fastrpc._core.exchange.response_parts cimport SIZE_DIGITS, phrases, put_digits, response_date

# The text that a server appends to the key of a handshake (RFC 6455, section 1.3).
cdef str KEY_SUFFIX = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

cdef bytes LENGTH = b"Content-Length: "
cdef bytes LINE_END = b"\r\n"
# The first lines of responses by status (`first_lines_of`), and the Date in them.
cdef dict first_lines = {}
cdef bytes first_lines_date = None


cdef bytes first_lines_of(int status):
    """Return the status line and the line of Date, each with its line end."""
    global first_lines_date
    cdef bytes date = response_date()
    if date is not first_lines_date:
        first_lines.clear()
        first_lines_date = date
    found = first_lines.get(status)
    if found is None:
        text = f"HTTP/1.1 {status} {phrases.get(status, '')}\r\nDate: "
        found = first_lines[status] = text.encode("ascii") + date + LINE_END
    return <bytes>found


cdef char* put(char* at, bytes part) noexcept:
    """Copy a part to an address; return the address after it."""
    memcpy(at, PyBytes_AS_STRING(part), <size_t>PyBytes_GET_SIZE(part))
    return at + PyBytes_GET_SIZE(part)


cdef int write_head(WriteBuffer out, bytes first, bytes lines, bytes connection, Py_ssize_t body_size) except -1:
    """Write the head of a response. With -1 as `body_size` it gets no Content-Length, as it has no body."""
    cdef char[SIZE_DIGITS] digits
    cdef Py_ssize_t total = PyBytes_GET_SIZE(first) + PyBytes_GET_SIZE(lines) + PyBytes_GET_SIZE(connection) + 2
    cdef int count = put_digits(digits + SIZE_DIGITS, body_size) if body_size >= 0 else 0
    cdef char* at
    if body_size >= 0:
        total += PyBytes_GET_SIZE(LENGTH) + count + 2
    at = put(put(put(out.reserve(total), first), lines), connection)
    if body_size >= 0:
        at = put(at, LENGTH)
        memcpy(at, digits + SIZE_DIGITS - count, <size_t>count)
        at = put(at + count, LINE_END)
    put(at, LINE_END)
    return 0


cdef bytes switching_head(RequestHead head, str protocol, bytes lines):
    cdef bytes key = (head.values("sec-websocket-key")[0] + KEY_SUFFIX).encode("ascii")
    accepted = base64.b64encode(hashlib.sha1(key, usedforsecurity=False).digest())
    chosen = b"Sec-WebSocket-Protocol: %b\r\n" % protocol.encode("ascii") if protocol else b""
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %b\r\n%b%b\r\n" % (accepted, chosen, lines)
    )
