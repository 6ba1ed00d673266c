"""The body of a request: bytes of a stated length, or chunks (RFC 9112, section 7.1).

::

    Content-Length ──► BYTES ──────────────────────────────────► WHOLE
    chunked ──► SIZE ──► CHUNK ──► CHUNK_END ──► SIZE               ▲
                  └── 0 ──► TRAILERS, which are dropped ────────────┘

The extensions of a chunk are checked and ignored. The limit of a line limits their size.
"""

cimport cython
from cpython.bytearray cimport PyByteArray_GET_SIZE

from fastrpc._core.exchange.request_head cimport check_field, long_body_error
from fastrpc._core.http1.head cimport line_size

from fastrpc._core.exchange.request_head import RequestRefusedError

cdef enum:
    # The most bytes of the line before a chunk, with its extensions.
    SIZE_BYTES = 128
    # The most digits of a chunk's size, so that it fits 63 bits.
    SIZE_DIGITS = 15


@cython.final
cdef class BodyReader:

    def __init__(self, int64_t content_length, int64_t limit, RequestLimits limits not None):
        self.content = bytearray()
        self.limit = limit
        self.limits = limits
        if content_length < 0:
            self.state = BODY_SIZE
        else:
            _check_size(self, content_length)
            self.left = content_length
            self.state = BODY_BYTES if content_length else BODY_WHOLE

    @property
    def is_whole(self):
        return self.state == BODY_WHOLE

    def take_data(self, bytes data not None):
        return self.take(data, len(data))

    def value(self):
        return bytes(self.content)

    cdef Py_ssize_t take(self, const char* data, Py_ssize_t size) except -1:
        cdef Py_ssize_t at = 0, taken = 1
        while at < size and taken and self.state != BODY_WHOLE:
            taken = _take_part(self, data + at, size - at)
            at += taken
        return at

    cdef bytes taken_content(self):
        cdef bytes taken = bytes(self.content)
        self.content.clear()
        return taken


cdef int _check_size(BodyReader body, int64_t more) except -1:
    if PyByteArray_GET_SIZE(body.content) + more > body.limit:
        raise long_body_error(body.limit)
    return 0


cdef Py_ssize_t _take_part(BodyReader body, const char* data, Py_ssize_t size) except -1:
    if body.state == BODY_SIZE:
        return _take_size(body, data, size)
    if body.state == BODY_CHUNK_END:
        return _take_chunk_end(body, data, size)
    if body.state == BODY_TRAILERS:
        return _take_trailer(body, data, size)
    return _take_bytes(body, data, size)


cdef Py_ssize_t _take_bytes(BodyReader body, const char* data, Py_ssize_t size) except -1:
    cdef Py_ssize_t part = <Py_ssize_t>min(<int64_t>size, body.left)
    body.content += data[:part]
    body.total += part
    body.left -= part
    if body.left == 0:
        body.state = BODY_WHOLE if body.state == BODY_BYTES else BODY_CHUNK_END
    return part


cdef Py_ssize_t _take_size(BodyReader body, const char* data, Py_ssize_t size) except -1:
    cdef Py_ssize_t whole = line_size(data, size, SIZE_BYTES, "the line before a chunk"), at = 0
    cdef int64_t number = 0
    cdef char digit
    if whole == 0:
        return 0
    # More digits would overflow the number. They are refused below, as they do not begin an extension.
    while at < min(whole - 2, <Py_ssize_t>SIZE_DIGITS):
        digit = data[at]
        if b"0" <= digit <= b"9":
            number = number * 16 + digit - 48
        elif b"a" <= digit <= b"f" or b"A" <= digit <= b"F":
            # Lower and upper case differ in one bit.
            number = number * 16 + (digit | 32) - 87
        else:
            break
        at += 1
    if at == 0 or not _is_extension(data + at, whole - 2 - at):
        raise RequestRefusedError(400, "the size of a chunk is not a hexadecimal number")
    _check_size(body, number)
    body.left = number
    body.state = BODY_CHUNK if number else BODY_TRAILERS
    return whole


cdef Py_ssize_t _take_chunk_end(BodyReader body, const char* data, Py_ssize_t size) except -1:
    if data[0] != b"\r" or (size > 1 and data[1] != b"\n"):
        raise RequestRefusedError(400, "a chunk does not end with CRLF after the stated size")
    if size < 2:
        return 0
    body.state = BODY_SIZE
    return 2


cdef Py_ssize_t _take_trailer(BodyReader body, const char* data, Py_ssize_t size) except -1:
    cdef Py_ssize_t whole = line_size(data, size, body.limits.header_bytes, "a trailer")
    if whole == 2:
        body.state = BODY_WHOLE
    elif whole:
        check_field(data, whole - 2)
        body.trailers += 1
        body.trailer_bytes += whole
        if body.trailers > body.limits.headers or body.trailer_bytes > body.limits.header_bytes:
            raise RequestRefusedError(431, "the body has too many trailers")
    return whole


cdef bint _is_extension(const char* text, Py_ssize_t size) noexcept:
    """Return whether a text is empty or has the form of a chunk's extensions."""
    cdef Py_ssize_t at
    if size and text[0] != b";":
        return False
    for at in range(size):
        if not (text[at] == b"\t" or 0x20 <= text[at] < 0x7F):
            return False
    return True


cdef bint leaves_body(RequestHead head, BodyReader body, bint asks_later) noexcept:
    """Return whether the connection has to close because the rest of a body is unread; a short rest is dropped."""
    # A client that waits for `100 Continue` may never send the body. Chunks may end late.
    return body is not None and (asks_later or not 0 <= head.content_length <= AHEAD_BYTES)
