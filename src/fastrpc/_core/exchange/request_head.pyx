"""The head of a request, in every version of HTTP: method, target and fields, checked.

::

    HTTP/1.1: the bytes of a head ──► `http1/head` ──► RequestHead ──► method, target, path, query
    HTTP/2: a block of fields ──► head_of_fields ─────────┘      └──► noted fields, values, all fields

Fields that engines read are noted as positions in one text, so that an unread field costs no object.

Field values are checked by RFC 9110, section 5.5; names and methods by the rule for tokens in section 5.6.2.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t
from libc.string cimport memcmp

from fastrpc._core.base.digits cimport number_in

cdef enum:
    # The bytes that a field has as a line of text in addition to its name and value.
    LINE_BYTES = 3
    # The bytes of the objects for a field that is kept: a pair, a name, a value.
    PAIR_BYTES = 128
    # The length of the longest name of a noted field.
    LONGEST_NAME = 17
    # A number of 18 digits fits 63 bits.
    NUMBER_DIGITS = 18

# The names of noted fields, indexed by their numbers.
cdef tuple FIELD_NAMES = (
    b"host", b"content-length", b"transfer-encoding", b"connection", b"expect", b"content-type", b"content-encoding",
    b"accept", b"authorization", b"origin", b"sec-fetch-site", b"timeout-ms", b"grpc-timeout", b"traceparent",
    b"tracestate", b"x-request-id",
)
# The numbers of fields, sorted by the length of their names; the index of the first number of each length.
cdef uint8_t[FIELD_COUNT] fields_by_size
cdef uint8_t[LONGEST_NAME + 2] first_of_size


def _fill_kinds():
    token = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    for byte in range(256):
        kinds[byte] = (
            (IN_TOKEN if byte in token else 0)
            | (IN_VALUE if byte in b"\t " or byte > 0x20 and byte != 0x7F else 0)
            # "#" is no byte of a target: fragments are never sent, so a client that sends one means another target than
            # we do.
            | (IN_TARGET if 0x20 < byte < 0x7F and byte != 0x23 else 0)
            | (IN_HOST if byte in token and byte not in b"#^`|" else 0)
            | (IN_ADDRESS if byte in b":.0123456789abcdefABCDEF" else 0)
            | (IN_NAME if byte in token.lower() else 0)
            | (IN_PSEUDO if 0x20 < byte < 0x7F else 0)
        )


def _fill_fields():
    by_size = sorted(range(FIELD_COUNT), key=lambda field: len(FIELD_NAMES[field]))
    for place, field in enumerate(by_size):
        fields_by_size[place] = field
    for size in range(LONGEST_NAME + 2):
        first_of_size[size] = sum(len(name) < size for name in FIELD_NAMES)


_fill_kinds()
_fill_fields()


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


cdef class RequestHead:

    @property
    def method(self):
        return self._text[:self._method_size].decode("ascii")

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
        return [(name.decode("ascii"), value.decode("latin-1")) for name, value in self.pairs()]

    def values(self, str name not None):
        cdef bytes known = name.encode("ascii")
        return [value.decode("latin-1") for found, value in self.pairs() if found == known]

    def __repr__(self):
        # Values may be secrets.
        return f"<RequestHead {self.method} {self.path} HTTP/{self.version}>"

    cdef list pairs(self):
        """Return all fields in order, with lower-case names, and values without surrounding white space."""
        return list(self._pairs)

    cdef const char* target_data(self, Py_ssize_t* size) noexcept:
        """Return a pointer to the path with the query, which this object owns."""
        if self._relative is not None:
            size[0] = PyBytes_GET_SIZE(self._relative)
            return PyBytes_AS_STRING(self._relative)
        size[0] = self._target_size
        return PyBytes_AS_STRING(self._text) + self._target_at

    cdef const char* field_data(self, int field, Py_ssize_t* size) noexcept:
        """Return a pointer to the value of the first field of this kind, owned by this object, or NULL."""
        if self._noted[field].count == 0:
            return NULL
        size[0] = self._noted[field].size
        return PyBytes_AS_STRING(self._text) + self._noted[field].at

    cdef str field_text(self, int field):
        """Return the value of the first field of this kind, or None."""
        cdef Py_ssize_t size = 0
        cdef const char* data = self.field_data(field, &size)
        return None if data is NULL else data[:size].decode("latin-1")


cpdef RequestHead head_of_fields(
    bytes method, bytes target, list pairs, RequestLimits limits, int64_t content_length=-1, bint is_whole=False,
    bytes protocol=None
):
    """Return the head of a request whose fields the version of HTTP has split and checked."""
    cdef RequestHead head = RequestHead.__new__(RequestHead)
    cdef Py_ssize_t at = PyBytes_GET_SIZE(method), total = 0
    # A byte that no target has follows the target.
    cdef list texts = [method, target, b" "]
    cdef bytes name, value
    cdef int field
    check_method(method)
    if PyBytes_GET_SIZE(target) > limits.target_bytes:
        raise RequestRefusedError(414, f"the target is longer than {limits.target_bytes} bytes")
    if len(pairs) > limits.headers:
        raise RequestRefusedError(431, f"there are more than {limits.headers} fields")
    head.verb = verb_of(PyBytes_AS_STRING(method), at)
    head._method_size = head._target_at = <int>at
    head._target_size = <int>PyBytes_GET_SIZE(target)
    at += PyBytes_GET_SIZE(target) + 1
    for name, value in pairs:
        total += PyBytes_GET_SIZE(name) + PyBytes_GET_SIZE(value) + LINE_BYTES
        field = field_of(PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name))
        note_field(head, field, at, PyBytes_GET_SIZE(value))
        if field < FIELD_COUNT:
            texts.append(value)
            at += PyBytes_GET_SIZE(value)
    if total > limits.header_bytes:
        raise RequestRefusedError(431, f"the fields have more than {limits.header_bytes} bytes")
    head.version = "2"
    head._text = b"".join(texts)
    head._pairs = pairs
    head.kept_bytes = total + at + PAIR_BYTES * len(pairs)
    head.content_length = 0 if is_whole else content_length
    head.protocol = protocol
    check_host(head, True)
    take_expectation(head)
    return head


cdef int check_method(bytes method) except -1:
    cdef Py_ssize_t size = PyBytes_GET_SIZE(method), at
    for at in range(size):
        if not is_kind(PyBytes_AS_STRING(method)[at], IN_TOKEN):
            size = 0
            break
    if not 0 < size <= METHOD_BYTES:
        raise RequestRefusedError(400, f"the method is not a token of at most {METHOD_BYTES} bytes")
    return 0


cdef Py_ssize_t check_field(const char* line, Py_ssize_t size) except -1:
    cdef Py_ssize_t colon = 0, at
    if size and line[0] in b" \t":
        raise RequestRefusedError(400, "a field is folded over several lines")
    while colon < size and is_kind(line[colon], IN_TOKEN):
        colon += 1
    if colon == 0 or colon == size or line[colon] != b":":
        raise RequestRefusedError(400, "a field must begin with a name and a colon directly after it")
    for at in range(colon + 1, size):
        if not is_kind(line[at], IN_VALUE):
            raise RequestRefusedError(400, f"a field value contains the invalid byte 0x{<unsigned char>line[at]:02x}")
    return colon


cdef bint is_text(const char* text, Py_ssize_t size, const char* lower) noexcept:
    cdef Py_ssize_t at
    for at in range(size):
        if lower[at] == 0 or text[at] != lower[at] and not (b"A" <= text[at] <= b"Z" and (text[at] | 32) == lower[at]):
            return False
    return lower[size] == 0


cdef int field_of(const char* name, Py_ssize_t size) noexcept:
    """Return the number of the field with this name."""
    cdef int at, field
    if size >= 5 and is_text(name, 5, b"meta-"):
        return FIELD_META
    if size > LONGEST_NAME:
        return FIELD_UNKNOWN
    for at in range(first_of_size[size], first_of_size[size + 1]):
        field = fields_by_size[at]
        # The tuple keeps the names alive.
        if is_text(name, size, PyBytes_AS_STRING(<bytes>FIELD_NAMES[field])):
            return field
    return FIELD_UNKNOWN


cdef int verb_of(const char* name, Py_ssize_t size) noexcept:
    """Return the number of the method with this name. Names of methods are upper case."""
    if size == 3 and memcmp(name, b"GET", 3) == 0:
        return VERB_GET
    if size == 4 and memcmp(name, b"POST", 4) == 0:
        return VERB_POST
    if size == 4 and memcmp(name, b"HEAD", 4) == 0:
        return VERB_HEAD
    return VERB_OPTIONS if size == 7 and memcmp(name, b"OPTIONS", 7) == 0 else VERB_OTHER


cdef int check_host(RequestHead head, bint is_needed) except -1:
    """Accept a name, an address, or an IPv6 address in brackets, optionally with a colon and a port."""
    cdef int hosts = head.count_of(FIELD_HOST)
    cdef Py_ssize_t size = 0, at = 0
    cdef const char* data
    if hosts > 1 or hosts == 0 and is_needed:
        raise RequestRefusedError(400, f"there are {hosts} Host fields, there must be one")
    if hosts == 0:
        return 0
    data = head.field_data(FIELD_HOST, &size)
    if size == 0:
        raise RequestRefusedError(400, "Host is empty")
    if data[0] == b"[":
        at = 1
        while at < size and is_kind(data[at], IN_ADDRESS):
            at += 1
        if at < 3 or at == size or data[at] != b"]":
            raise RequestRefusedError(400, "Host must be a name or an address, optionally with :port")
        at += 1
    else:
        while at < size and is_kind(data[at], IN_HOST):
            at += 1
    if at == 0 or at < size and not is_port(data + at, size - at):
        raise RequestRefusedError(400, "Host must be a name or an address, optionally with :port")
    return 0


cdef bint is_port(const char* text, Py_ssize_t size) noexcept:
    """Return whether this is a colon and a port. Port 0 is accepted."""
    return text[0] == b":" and size <= 6 and 0 <= number_of(text + 1, size - 1) <= 65_535


cdef int64_t number_of(const char* text, Py_ssize_t size) noexcept:
    return number_in(text, size, NUMBER_DIGITS)


cdef int take_expectation(RequestHead head) except -1:
    if head.count_of(FIELD_EXPECT):
        if [value.lower() for value in head.values("expect")] != ["100-continue"]:
            raise RequestRefusedError(417, "Expect must be 100-continue, other expectations are not supported")
        head.expects_continue = True
    return 0


cdef object long_body_error(int64_t most):
    return RequestRefusedError(413, f"the body has more than {most} bytes")
