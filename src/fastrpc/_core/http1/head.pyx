"""The head of a request: its line and its fields, checked.

It is stricter than RFC 9112 allows: if two programs understand one request differently, a caller can smuggle a second
request past the first program. Every line ends with CRLF, no field is folded, no space precedes a colon, the length of
the body is stated once and in one way. A refused head closes the connection, as the start of the next request is
unknown.

A head is kept unchanged. Fields that engines read are noted as places in it, so that an unread field costs no object.

Field values are checked by RFC 9110, section 5.5; names and methods are tokens of section 5.6.2.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.string cimport memchr, memcmp

cdef enum:
    # The kinds of bytes: of a token, of a field value, of a target.
    IN_TOKEN = 1
    IN_VALUE = 2
    IN_TARGET = 4
    IN_HOST = 8
    # The bit of bytes in an IPv6 address in brackets.
    IN_ADDRESS = 16
    # The longest name of a method.
    METHOD_BYTES = 32
    # Digits of a Content-Length: no accepted body needs more, and the number fits 63 bits.
    LENGTH_DIGITS = 18

cdef unsigned char[256] kinds


def _fill_kinds():
    token = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    for byte in range(256):
        kinds[byte] = (
            (IN_TOKEN if byte in token else 0)
            | (IN_VALUE if byte in b"\t " or byte > 0x20 and byte != 0x7F else 0)
            # A fragment is never sent: a client that sends one means something else by the target than we do.
            | (IN_TARGET if 0x20 < byte < 0x7F and byte != 0x23 else 0)
            | (IN_HOST if byte in token and byte not in b"#^`|" else 0)
            | (IN_ADDRESS if byte in b":.0123456789abcdefABCDEF" else 0)
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
    def method(self):
        return self._raw[:self._method_size].decode("ascii")

    @property
    def target(self):
        cdef Py_ssize_t size = 0
        cdef const char* data = self.target_data(&size)
        return data[:size].decode("ascii")

    @property
    def path(self):
        return self.target.partition("?")[0]

    @property
    def query(self):
        return self.target.partition("?")[2]

    @property
    def host(self):
        return self.field_text(FIELD_HOST) or ""

    @property
    def has_body(self):
        return self.content_length != 0

    @property
    def fields(self):
        cdef list found = []
        for line in self._raw[self._fields_at:].split(b"\r\n"):
            if not line:
                break
            name, _, value = line.partition(b":")
            found.append((name.decode("ascii").lower(), value.strip(b" \t").decode("latin-1")))
        return found

    def values(self, str name not None):
        return [value for known, value in self.fields if known == name]

    def __repr__(self):
        # Values may be secrets.
        return f"<RequestHead {self.method} {self.path} HTTP/1.{self.minor_version}>"

    cdef const char* target_data(self, Py_ssize_t* size) noexcept:
        """Return the path with the query; it lies in this object."""
        if self._relative is not None:
            size[0] = PyBytes_GET_SIZE(self._relative)
            return PyBytes_AS_STRING(self._relative)
        size[0] = self._target_size
        return PyBytes_AS_STRING(self._raw) + self._target_at

    cdef const char* field_data(self, int field, Py_ssize_t* size) noexcept:
        """Return the value of the first field of a kind, which lies in this object, or NULL."""
        if self._noted[field].count == 0:
            return NULL
        size[0] = self._noted[field].size
        return PyBytes_AS_STRING(self._raw) + self._noted[field].at

    cdef str field_text(self, int field):
        """Return the value of the first field of a kind, or None."""
        cdef Py_ssize_t size = 0
        cdef const char* data = self.field_data(field, &size)
        return None if data is NULL else data[:size].decode("latin-1")


def parse_request_head(bytes data not None, RequestLimits limits not None):
    """Return the head at the start of these bytes and its size; None and 0 if it is incomplete."""
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
        while first < last and data[first] in b" \t":
            first += 1
        while last > first and data[last - 1] in b" \t":
            last -= 1
        note_field(head, field_of(data + line, colon - line), first, last - first)
        line = end + 2
    head._raw = data[:size]
    _understand(head)
    return head


cdef inline int note_field(RequestHead head, int field, Py_ssize_t at, Py_ssize_t size) noexcept:
    if field == FIELD_META:
        head.meta_count += 1
    elif field < FIELD_COUNT:
        if head._noted[field].count == 0:
            head._noted[field].at = <int32_t>at
            head._noted[field].size = <int32_t>size
        head._noted[field].count += 1
    return 0


cdef bint is_text(const char* text, Py_ssize_t size, const char* lower) noexcept:
    cdef Py_ssize_t at
    for at in range(size):
        if lower[at] == 0 or text[at] != lower[at] and not (b"A" <= text[at] <= b"Z" and (text[at] | 32) == lower[at]):
            return False
    return lower[size] == 0


cdef int field_of(const char* name, Py_ssize_t size) noexcept:
    """Return the number of the field with this name."""
    if size >= 5 and is_text(name, 5, b"meta-"):
        return FIELD_META
    if size == 4:
        return FIELD_HOST if is_text(name, size, b"host") else FIELD_UNKNOWN
    if size == 6:
        if is_text(name, size, b"accept"):
            return FIELD_ACCEPT
        if is_text(name, size, b"origin"):
            return FIELD_ORIGIN
        return FIELD_EXPECT if is_text(name, size, b"expect") else FIELD_UNKNOWN
    if size == 10:
        if is_text(name, size, b"connection"):
            return FIELD_CONNECTION
        if is_text(name, size, b"timeout-ms"):
            return FIELD_TIMEOUT_MS
        return FIELD_TRACESTATE if is_text(name, size, b"tracestate") else FIELD_UNKNOWN
    if size == 12:
        if is_text(name, size, b"content-type"):
            return FIELD_CONTENT_TYPE
        if is_text(name, size, b"grpc-timeout"):
            return FIELD_GRPC_TIMEOUT
        return FIELD_REQUEST_ID if is_text(name, size, b"x-request-id") else FIELD_UNKNOWN
    if size == 14:
        if is_text(name, size, b"content-length"):
            return FIELD_CONTENT_LENGTH
        return FIELD_SEC_FETCH_SITE if is_text(name, size, b"sec-fetch-site") else FIELD_UNKNOWN
    return _long_field_of(name, size)


cdef int _long_field_of(const char* name, Py_ssize_t size) noexcept:
    if size == 11:
        return FIELD_TRACEPARENT if is_text(name, size, b"traceparent") else FIELD_UNKNOWN
    if size == 13:
        return FIELD_AUTHORIZATION if is_text(name, size, b"authorization") else FIELD_UNKNOWN
    if size == 16:
        return FIELD_CONTENT_ENCODING if is_text(name, size, b"content-encoding") else FIELD_UNKNOWN
    if size == 17:
        return FIELD_TRANSFER_ENCODING if is_text(name, size, b"transfer-encoding") else FIELD_UNKNOWN
    return FIELD_UNKNOWN


cdef int verb_of(const char* name, Py_ssize_t size) noexcept:
    """Return the number of the method with this name; methods have capital letters."""
    if size == 3 and memcmp(name, b"GET", 3) == 0:
        return VERB_GET
    if size == 4 and memcmp(name, b"POST", 4) == 0:
        return VERB_POST
    if size == 4 and memcmp(name, b"HEAD", 4) == 0:
        return VERB_HEAD
    return VERB_OPTIONS if size == 7 and memcmp(name, b"OPTIONS", 7) == 0 else VERB_OTHER


cdef Py_ssize_t _parse_line(RequestHead head, const char* data, RequestLimits limits) except -1:
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
    return at + 11


cdef int _understand(RequestHead head) except -1:
    """Evaluate the fields about the connection and the body."""
    cdef int hosts = head._noted[<int>FIELD_HOST].count
    if hosts > 1 or (hosts == 0 and head.minor_version == 1):
        raise RequestRefusedError(400, f"there are {hosts} Host fields, there must be one")
    if hosts:
        _check_host(head)
    _take_target(head)
    _take_length(head)
    head.keeps_alive = head.minor_version == 1
    if head._noted[<int>FIELD_CONNECTION].count:
        # Only space and tab are white space in a field (RFC 9110, section 5.6.3); `strip()` takes U+00A0 for it, too.
        values = head.values("connection")
        options = {option.strip(" \t").lower() for value in values for option in value.split(",")}
        head.keeps_alive = "close" not in options and (head.minor_version == 1 or "keep-alive" in options)
    if head._noted[<int>FIELD_EXPECT].count:
        if [value.lower() for value in head.values("expect")] != ["100-continue"]:
            raise RequestRefusedError(417, "Expect is something else than 100-continue")
        head.expects_continue = head.minor_version == 1
    return 0


cdef int _check_host(RequestHead head) except -1:
    """Accept a name, an address, or a version 6 address in brackets, optionally with a colon and a port."""
    cdef Py_ssize_t size = 0, at = 0
    cdef const char* data = head.field_data(FIELD_HOST, &size)
    if size == 0:
        raise RequestRefusedError(400, "Host is empty")
    if data[0] == b"[":
        at = 1
        while at < size and is_kind(data[at], IN_ADDRESS):
            at += 1
        if at < 3 or at == size or data[at] != b"]":
            raise RequestRefusedError(400, "Host is not host:port")
        at += 1
    else:
        while at < size and is_kind(data[at], IN_HOST):
            at += 1
    if at == 0 or at < size and not is_port(data + at, size - at):
        raise RequestRefusedError(400, "Host is not host:port")
    return 0


cdef bint is_port(const char* text, Py_ssize_t size) noexcept:
    """Return whether this is a colon and a port; 0 has the form of a port."""
    cdef Py_ssize_t at
    cdef int port = 0
    if text[0] != b":" or not 2 <= size <= 6:
        return False
    for at in range(1, size):
        if not b"0" <= text[at] <= b"9":
            return False
        port = port * 10 + (text[at] - 48)
    return port <= 65_535


cdef int _take_target(RequestHead head) except -1:
    """Accept a path, `*` for OPTIONS, and an absolute target of the host that the field names as well."""
    cdef const char* first = PyBytes_AS_STRING(head._raw) + head._target_at
    cdef str scheme, rest, authority, path
    if first[0] == b"/" or (first[0] == b"*" and head._target_size == 1 and head.verb == VERB_OPTIONS):
        return 0
    scheme, _, rest = head.target.partition("://")
    if scheme.lower() not in ("http", "https") or head.method == "CONNECT":
        raise RequestRefusedError(400, "the target is no path")
    authority = rest.partition("/")[0].partition("?")[0]
    if not authority or authority.lower() != head.host.lower():
        raise RequestRefusedError(400, "the target names another host than the Host field")
    path = rest[len(authority):]
    head._relative = (path if path.startswith("/") else "/" + path).encode("ascii")
    return 0


cdef int _take_length(RequestHead head) except -1:
    """Determine the framing of the body: one Content-Length, chunks, or no body."""
    cdef int lengths = head._noted[<int>FIELD_CONTENT_LENGTH].count
    cdef int codings = head._noted[<int>FIELD_TRANSFER_ENCODING].count
    cdef Py_ssize_t size = 0, at
    cdef const char* text
    if codings:
        if lengths:
            raise RequestRefusedError(400, "there are both Content-Length and Transfer-Encoding")
        if head.minor_version == 0:
            raise RequestRefusedError(400, "Transfer-Encoding is not of HTTP/1.0")
        text = head.field_data(FIELD_TRANSFER_ENCODING, &size)
        if codings > 1 or not is_text(text, size, b"chunked"):
            raise RequestRefusedError(400, "Transfer-Encoding is something else than chunked")
        head.content_length = -1
    elif lengths:
        if lengths > 1:
            raise RequestRefusedError(400, f"there are {lengths} Content-Length fields")
        text = head.field_data(FIELD_CONTENT_LENGTH, &size)
        if not 0 < size <= LENGTH_DIGITS:
            raise RequestRefusedError(400, "Content-Length is not a number of bytes")
        for at in range(size):
            if not b"0" <= text[at] <= b"9":
                raise RequestRefusedError(400, "Content-Length is not a number of bytes")
            head.content_length = head.content_length * 10 + (text[at] - 48)
    return 0
