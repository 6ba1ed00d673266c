"""The head of a request: its line and its fields, checked.

It is stricter than RFC 9112 allows, as two programs that understand one request differently let a caller smuggle a second
one past the first of them: every line ends with CRLF, no field is folded, no space stands before a colon, the length of
the body is told once and in one way. What is refused closes the connection, as nobody knows where the next request would
begin.

The checks of the field values are those of RFC 9110, section 5.5; names and methods are tokens of section 5.6.2.
"""

import re
from string import hexdigits

cimport cython
from libc.string cimport memchr

# A port at the end of a Host.
PORT_DIGITS = re.compile(rb"[0-9]{1,5}\Z")

cdef enum:
    # The kinds of bytes: of a token, of a field value, of a target.
    IN_TOKEN = 1
    IN_VALUE = 2
    IN_TARGET = 4
    IN_HOST = 8
    # The longest name of a method.
    METHOD_BYTES = 32
    # Digits of a Content-Length: no body that anybody takes needs more, and the number fits 63 bits.
    LENGTH_DIGITS = 18

cdef unsigned char[256] kinds


def _fill_kinds():
    token = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    for byte in range(256):
        kinds[byte] = (
            (IN_TOKEN if byte in token else 0)
            | (IN_VALUE if byte in b"\t " or byte > 0x20 and byte != 0x7F else 0)
            # A fragment is never sent: who sends one means something else by the target than we do.
            | (IN_TARGET if 0x20 < byte < 0x7F and byte != 0x23 else 0)
            | (IN_HOST if byte in token and byte not in b"#^`|" else 0)
        )


_fill_kinds()


cdef inline bint is_kind(char byte, int kind) noexcept:
    return (kinds[<unsigned char>byte] & kind) != 0


class RequestRefusedError(Exception):
    status = 400
    text = ""

    def __init__(self, status, text):
        super().__init__(text)
        self.status = status
        self.text = text


@cython.final
cdef class RequestLimits:

    def __init__(self, *, double header_seconds=5, double idle_seconds=75, double body_idle_seconds=10,
                 Py_ssize_t headers=100, Py_ssize_t header_bytes=32_768, Py_ssize_t target_bytes=8_192):
        self.header_seconds = header_seconds
        self.idle_seconds = idle_seconds
        self.body_idle_seconds = body_idle_seconds
        self.headers = headers
        self.header_bytes = header_bytes
        self.target_bytes = target_bytes


@cython.final
cdef class RequestHead:

    @property
    def path(self):
        return self.target.partition("?")[0]

    @property
    def query(self):
        return self.target.partition("?")[2]

    @property
    def has_body(self):
        return self.content_length != 0

    def values(self, str name not None):
        return [value for known, value in self.fields if known == name]

    def __repr__(self):
        # Values may be secrets.
        return f"<RequestHead {self.method} {self.path} HTTP/1.{self.minor_version}>"


def parse_request_head(bytes data not None, RequestLimits limits not None):
    """Return the head at the start of these bytes and its size; None and 0 where it is not whole."""
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


cdef Py_ssize_t check_field(const char* line, Py_ssize_t size) except -1:
    cdef Py_ssize_t colon = 0, at
    if size and line[0] in b" \t":
        raise RequestRefusedError(400, "a field is folded over several lines")
    while colon < size and is_kind(line[colon], IN_TOKEN):
        colon += 1
    if colon == 0 or colon == size or line[colon] != b":":
        raise RequestRefusedError(400, "a field is no name with a colon right behind it")
    for at in range(colon + 1, size):
        if not is_kind(line[at], IN_VALUE):
            raise RequestRefusedError(400, f"the value of a field has the byte 0x{<unsigned char>line[at]:02x}")
    return colon


cdef RequestHead parse_head(const char* data, Py_ssize_t size, RequestLimits limits):
    """Parse a whole head, whose lines all end with CRLF."""
    cdef RequestHead head = RequestHead.__new__(RequestHead)
    cdef Py_ssize_t line = _parse_line(head, data, limits), end, colon, first, last
    head.fields = []
    if size - line - 2 > limits.header_bytes:
        raise RequestRefusedError(431, f"the fields have more than {limits.header_bytes} bytes")
    # The empty line is there, so each search ends within the head.
    while data[line] != b"\r" or data[line + 1] != b"\n":
        end = <const char*>memchr(data + line, b"\n", <size_t>(size - line)) - data - 1
        colon = line + check_field(data + line, end - line)
        if len(head.fields) >= limits.headers:
            raise RequestRefusedError(431, f"there are more than {limits.headers} fields")
        first, last = colon + 1, end
        while first < last and data[first] in b" \t":
            first += 1
        while last > first and data[last - 1] in b" \t":
            last -= 1
        head.fields.append((data[line:colon].decode("ascii").lower(), data[first:last].decode("latin-1")))
        line = end + 2
    _understand(head)
    return head


cdef Py_ssize_t _parse_line(RequestHead head, const char* data, RequestLimits limits) except -1:
    """Parse the request line; return where the fields begin."""
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
    # Compared from left to right, so nothing is read behind the end of the line.
    if at == target or not (
        data[at] == b" " and data[at + 1] == b"H" and data[at + 2] == b"T" and data[at + 3] == b"T"
        and data[at + 4] == b"P" and data[at + 5] == b"/" and data[at + 6] == b"1" and data[at + 7] == b"."
        and data[at + 8] in b"01" and data[at + 9] == b"\r" and data[at + 10] == b"\n"
    ):
        raise RequestRefusedError(400, "the request line is not METHOD target HTTP/1.1")
    head.method = data[:method].decode("ascii")
    head.target = data[target:at].decode("ascii")
    head.minor_version = data[at + 8] - 48
    return at + 11


cdef int _understand(RequestHead head) except -1:
    """Take what the fields say about the connection and the body."""
    cdef list hosts = head.values("host")
    if len(hosts) > 1 or (not hosts and head.minor_version == 1):
        raise RequestRefusedError(400, f"there are {len(hosts)} Host fields, there must be one")
    head.host = hosts[0] if hosts else ""
    if hosts:
        _check_host(head.host)
    _take_target(head)
    _take_length(head)
    options = {option.strip().lower() for value in head.values("connection") for option in value.split(",")}
    head.keeps_alive = "close" not in options and (head.minor_version == 1 or "keep-alive" in options)
    expected = [value.lower() for value in head.values("expect")]
    if expected and expected != ["100-continue"]:
        raise RequestRefusedError(417, "Expect is something else than 100-continue")
    head.expects_continue = bool(expected) and head.minor_version == 1
    return 0


cdef int _check_host(str host) except -1:
    """Accept a name, an address, or one of version 6 in brackets; behind it nothing, or a colon and a port."""
    cdef bytes text = host.encode("latin-1")
    cdef const char* data = text
    cdef Py_ssize_t size = len(text), at = 0
    if size == 0:
        raise RequestRefusedError(400, "Host is empty")
    if data[0] == b"[":
        at = 1
        while at < size and (data[at] in b":." or chr(data[at]) in hexdigits):
            at += 1
        if at < 3 or at == size or data[at] != b"]":
            raise RequestRefusedError(400, "Host is not host:port")
        at += 1
    else:
        while at < size and is_kind(data[at], IN_HOST):
            at += 1
    if at == 0 or at < size and (data[at] != b":" or not PORT_DIGITS.match(text, at + 1)):
        raise RequestRefusedError(400, "Host is not host:port")
    return 0


cdef int _take_target(RequestHead head) except -1:
    """Accept a path, `*` for OPTIONS, and an absolute target of the host that the field names as well."""
    cdef str scheme, rest, authority, path = head.target
    if path.startswith("/") or (path == "*" and head.method == "OPTIONS"):
        return 0
    scheme, _, rest = path.partition("://")
    if scheme.lower() not in ("http", "https") or head.method == "CONNECT":
        raise RequestRefusedError(400, "the target is no path")
    authority = rest.partition("/")[0].partition("?")[0]
    if not authority or authority.lower() != head.host.lower():
        raise RequestRefusedError(400, "the target names another host than the Host field")
    path = rest[len(authority):]
    head.target = path if path.startswith("/") else "/" + path
    return 0


cdef int _take_length(RequestHead head) except -1:
    """Take how the body is delimited: by one Content-Length, by chunks, or not at all."""
    cdef list lengths = head.values("content-length"), codings = head.values("transfer-encoding")
    if codings:
        if lengths:
            raise RequestRefusedError(400, "there are both Content-Length and Transfer-Encoding")
        if head.minor_version == 0:
            raise RequestRefusedError(400, "Transfer-Encoding is not of HTTP/1.0")
        if len(codings) > 1 or codings[0].lower() != "chunked":
            raise RequestRefusedError(400, "Transfer-Encoding is something else than chunked")
        head.content_length = -1
    elif lengths:
        if len(lengths) > 1:
            raise RequestRefusedError(400, f"there are {len(lengths)} Content-Length fields")
        # Not by isdigit alone, which takes digits of other scripts.
        if not (lengths[0].isascii() and lengths[0].isdigit()) or len(lengths[0]) > LENGTH_DIGITS:
            raise RequestRefusedError(400, "Content-Length is not a number of bytes")
        head.content_length = int(lengths[0])
    return 0
