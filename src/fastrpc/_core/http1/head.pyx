"""The head of a request: its line and its fields, checked.

The parser is stricter than RFC 9112 requires: if two programs understand one request differently, a caller can smuggle a
second request past the first program. Every line ends with CRLF, no field is folded, no space precedes a colon, the
length of the body is stated once and in one way. A refused head closes the connection, as the start of the next request
is unknown.

The bytes of a head are kept. Fields that engines read are kept as offsets into them, so an unread field costs no object.

Field values are checked by RFC 9110, section 5.5; names and methods are tokens of section 5.6.2.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.string cimport memchr, strchr

from fastrpc._core.exchange.request_head cimport (
    FIELD_CONNECTION,
    FIELD_CONTENT_LENGTH,
    FIELD_TRANSFER_ENCODING,
    IN_TARGET,
    IN_TOKEN,
    METHOD_BYTES,
    VERB_OPTIONS,
    check_field,
    check_host,
    field_of,
    is_kind,
    is_text,
    note_field,
    number_of,
    take_expectation,
    verb_of,
)

from fastrpc._core.exchange.request_head import RequestRefusedError


cdef inline int skip_blanks(const char* data, Py_ssize_t* first, Py_ssize_t* last) noexcept:
    """Move both ends of a value past the white space around it."""
    while first[0] < last[0] and data[first[0]] in b" \t":
        first[0] += 1
    while last[0] > first[0] and data[last[0] - 1] in b" \t":
        last[0] -= 1
    return 0


@cython.final
cdef class Http1Head(RequestHead):

    cdef list pairs(self):
        cdef list found = []
        # Raises TypeError if `_text` was never set.
        cdef const char* data = self._text
        cdef Py_ssize_t line = self._fields_at, colon, first, last, end
        # `parse_head` has accepted the head: each line has a colon, no value has CR or NUL (`check_field`), an empty
        # line is the last.
        while data[line] != b"\r":
            colon = <const char*>strchr(data + line, b":") - data
            first, last = colon + 1, <const char*>strchr(data + colon, b"\r") - data
            end = last
            skip_blanks(data, &first, &last)
            found.append((lowered(data + line, colon - line), data[first:last]))
            line = end + 2
        return found


cdef bytes lowered(const char* text, Py_ssize_t size):
    """Return a text with its ASCII letters in lower case."""
    cdef bytes found = PyBytes_FromStringAndSize(NULL, size)
    cdef char* into = PyBytes_AS_STRING(found)
    cdef Py_ssize_t at
    for at in range(size):
        into[at] = text[at] | 32 if b"A" <= text[at] <= b"Z" else text[at]
    return found


def parse_request_head(bytes data not None, RequestLimits limits not None):
    """Return the head at the start of these bytes and its size, or None and 0 if it is incomplete."""
    cdef Py_ssize_t seen = 0
    cdef Py_ssize_t size = head_size(data, len(data), &seen, limits)
    return (parse_head(data, size, limits), size) if size else (None, 0)


cdef Py_ssize_t line_size(const char* data, Py_ssize_t size, Py_ssize_t most, str subject) except -1:
    cdef const char* found = <const char*>memchr(data, b"\n", <size_t>min(size, most))
    cdef Py_ssize_t end
    if found is NULL:
        if size >= most:
            raise RequestRefusedError(400, f"{subject} has more than {most} bytes")
        return 0
    end = found - data
    if end == 0 or data[end - 1] != b"\r":
        raise RequestRefusedError(400, f"{subject} ends with LF alone, it must end with CRLF")
    return end + 1


cdef Py_ssize_t head_size(const char* data, Py_ssize_t size, Py_ssize_t* seen, RequestLimits limits) except -1:
    cdef const char* found
    cdef Py_ssize_t end, at = seen[0]
    if size and not is_kind(data[0], IN_TOKEN):
        raise RequestRefusedError(400, "the request does not begin with a method")
    while at < size:
        found = <const char*>memchr(data + at, b"\n", <size_t>(size - at))
        if found is NULL:
            break
        end = found - data
        if end == 0 or data[end - 1] != b"\r":
            raise RequestRefusedError(400, "a line of the head ends with LF alone, it must end with CRLF")
        if end >= 3 and data[end - 2] == b"\n":
            return end + 1
        at = end + 1
    seen[0] = size
    if size > limits.target_bytes + METHOD_BYTES + limits.header_bytes:
        if memchr(data, b"\n", <size_t>size) is NULL:
            raise RequestRefusedError(414, f"the target is longer than {limits.target_bytes} bytes")
        raise RequestRefusedError(431, f"the fields have more than {limits.header_bytes} bytes")
    return 0


cdef Http1Head parse_head(const char* data, Py_ssize_t size, RequestLimits limits):
    """Parse a whole head, whose lines all end with CRLF."""
    cdef Http1Head head = Http1Head.__new__(Http1Head)
    cdef Py_ssize_t line = _parse_line(head, data, limits), end, colon, first, last, count = 0
    if size - line - 2 > limits.header_bytes:
        raise RequestRefusedError(431, f"the fields have more than {limits.header_bytes} bytes")
    head._fields_at = <int>line
    # The empty line is present, so each search ends within the head.
    while data[line] != b"\r" or data[line + 1] != b"\n":
        end = <const char*>memchr(data + line, b"\n", <size_t>(size - line)) - data - 1
        colon = line + check_field(data + line, end - line)
        count += 1
        if count > limits.headers:
            raise RequestRefusedError(431, f"there are more than {limits.headers} fields")
        first, last = colon + 1, end
        skip_blanks(data, &first, &last)
        note_field(head, field_of(data + line, colon - line), first, last - first)
        line = end + 2
    head._text = data[:size]
    _understand(head)
    return head


cdef Py_ssize_t _parse_line(Http1Head head, const char* data, RequestLimits limits) except -1:
    """Parse the request line; return the start of the fields."""
    cdef Py_ssize_t method = 0, target, at
    while is_kind(data[method], IN_TOKEN):
        method += 1
    at = target = method + 1
    if not 0 < method <= METHOD_BYTES or data[method] != b" ":
        raise RequestRefusedError(400, "the request line is not METHOD target HTTP/1.1")
    while is_kind(data[at], IN_TARGET):
        at += 1
    if at - target > limits.target_bytes:
        raise RequestRefusedError(414, f"the target is longer than {limits.target_bytes} bytes")
    # Compared from left to right, so nothing after the end of the line is read.
    if at == target or not (
        data[at] == b" " and data[at + 1] == b"H" and data[at + 2] == b"T" and data[at + 3] == b"T"
        and data[at + 4] == b"P" and data[at + 5] == b"/" and data[at + 6] == b"1" and data[at + 7] == b"."
        and data[at + 8] in b"01" and data[at + 9] == b"\r" and data[at + 10] == b"\n"
    ):
        raise RequestRefusedError(400, "the request line is not METHOD target HTTP/1.1")
    head.verb = verb_of(data, method)
    head._method_size = <int>method
    head._target_at = <int>target
    head._target_size = <int>(at - target)
    head.minor_version = data[at + 8] - 48
    head.version = "1.1" if head.minor_version else "1.0"
    return at + 11


cdef int _understand(Http1Head head) except -1:
    """Evaluate the fields about the connection and the body."""
    check_host(head, head.minor_version == 1)
    _take_target(head)
    _take_length(head)
    head.keeps_alive = head.minor_version == 1
    if head.count_of(FIELD_CONNECTION):
        # Strip only space and tab (RFC 9110, section 5.6.3): `strip()` without an argument strips U+00A0 as well.
        values = head.values("connection")
        options = {option.strip(" \t").lower() for value in values for option in value.split(",")}
        head.keeps_alive = "close" not in options and (head.minor_version == 1 or "keep-alive" in options)
    take_expectation(head)
    # HTTP/1.0 has no `100 Continue`.
    head.expects_continue = head.expects_continue and head.minor_version == 1
    return 0


cdef int _take_target(Http1Head head) except -1:
    """Accept a path, `*` for OPTIONS, and an absolute target with the same host as the Host field."""
    cdef const char* first = PyBytes_AS_STRING(head._text) + head._target_at
    cdef str scheme, rest, authority, path
    if first[0] == b"/" or (first[0] == b"*" and head._target_size == 1 and head.verb == VERB_OPTIONS):
        return 0
    scheme, _, rest = head.target.partition("://")
    if scheme.lower() not in ("http", "https") or head.method == "CONNECT":
        raise RequestRefusedError(400, "the target is not a path")
    authority = rest.partition("/")[0].partition("?")[0]
    if not authority or authority.lower() != head.host.lower():
        raise RequestRefusedError(400, "the target names another host than the Host field")
    path = rest[len(authority):]
    head._relative = (path if path.startswith("/") else "/" + path).encode("ascii")
    return 0


cdef int _take_length(Http1Head head) except -1:
    """Read the framing of the body: one Content-Length, chunks, or none."""
    cdef int lengths = head.count_of(FIELD_CONTENT_LENGTH)
    cdef int codings = head.count_of(FIELD_TRANSFER_ENCODING)
    cdef Py_ssize_t size = 0
    cdef const char* text
    if codings:
        if lengths:
            raise RequestRefusedError(400, "there are both Content-Length and Transfer-Encoding")
        if head.minor_version == 0:
            raise RequestRefusedError(400, "HTTP/1.0 has no Transfer-Encoding")
        text = head.field_data(FIELD_TRANSFER_ENCODING, &size)
        if codings > 1 or not is_text(text, size, b"chunked"):
            raise RequestRefusedError(400, "Transfer-Encoding must be chunked")
        head.content_length = -1
    elif lengths:
        if lengths > 1:
            raise RequestRefusedError(400, f"there are {lengths} Content-Length fields")
        text = head.field_data(FIELD_CONTENT_LENGTH, &size)
        head.content_length = number_of(text, size)
        if head.content_length < 0:
            raise RequestRefusedError(400, "Content-Length is not a number of bytes")
    return 0
