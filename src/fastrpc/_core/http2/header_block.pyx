"""A decoded header block, and the rules of heads and trailers (RFC 9113, section 8).

A rule that is broken makes the message malformed, an error of its stream alone; the table of the connection is in step.
Requests are checked more strictly than the RFC demands, as two programs that understand a request differently let a caller
smuggle a second one past the first: one authority, equal to Host, no user in it; a path, no fragment; one content-length.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.list cimport PyList_Append, PyList_GET_ITEM, PyList_GET_SIZE
from libc.string cimport memchr, memcpy

from fastrpc._core.http2.hpack_tables cimport (
    TOKEN_AUTHORITY, TOKEN_CONTENT_LENGTH, TOKEN_HOST, TOKEN_METHOD, TOKEN_OTHER, TOKEN_PATH, TOKEN_PROTOCOL,
    TOKEN_SCHEME, TOKEN_STATUS, is_same,
)
from fastrpc._core.http2.violations cimport (
    RULE_AUTHORITY, RULE_CONTENT_LENGTH, RULE_LATE_PSEUDO, RULE_MISPLACED_PSEUDO, RULE_MISSING_PSEUDO, RULE_NONE,
    RULE_PATH, RULE_REPEATED_PSEUDO, RULE_STATUS,
)

cdef enum:
    # Digits of a content-length: no accepted body needs more, and the number fits 63 bits.
    LENGTH_DIGITS = 18
    MOST_PLACES = 0xFFFF


@cython.final
@cython.freelist(16)
cdef class HeaderBlock:

    def __repr__(self):
        return f"<HeaderBlock of {len(self.fields)} fields>"

    @cython.nonecheck(False)
    cdef int add(self, HeaderField field) except -1:
        cdef int token = field.token
        cdef Py_ssize_t place
        if self.rule == RULE_NONE and (
            field.rule or field.is_pseudo or token == TOKEN_CONTENT_LENGTH or token == TOKEN_HOST
        ):
            self._judge(field)
        self._has_regular = self._has_regular or not field.is_pseudo
        PyList_Append(self.fields, field)
        if self._places[token] == 0:
            place = PyList_GET_SIZE(self.fields)
            self._places[token] = <uint16_t>place if place <= MOST_PLACES else 0
        return 0

    cdef int _judge(self, HeaderField field) except -1:
        """Note the rule that a field breaks by itself, or behind the others."""
        cdef int token = field.token
        if field.rule:
            self.rule = field.rule
        elif field.is_pseudo:
            if self._has_regular:
                self.rule = RULE_LATE_PSEUDO
            elif self._places[token]:
                self.rule = RULE_REPEATED_PSEUDO
        elif token == TOKEN_CONTENT_LENGTH:
            if self._places[token] or not is_length(field.value):
                self.rule = RULE_CONTENT_LENGTH
        elif self._places[token]:
            self.rule = RULE_AUTHORITY
        return 0

    @cython.nonecheck(False)
    cdef bint is_twin(self, HeaderBlock other, int token) noexcept:
        cdef Py_ssize_t index, count = PyList_GET_SIZE(self.fields)
        cdef HeaderField own, others
        if count != PyList_GET_SIZE(other.fields):
            return False
        for index in range(count):
            if PyList_GET_ITEM(self.fields, index) == PyList_GET_ITEM(other.fields, index):
                continue
            # The lists have the fields, and are never changed once the blocks are decoded.
            own = <HeaderField>PyList_GET_ITEM(self.fields, index)
            others = <HeaderField>PyList_GET_ITEM(other.fields, index)
            if own.token == others.token == token and own.rule == others.rule:
                continue
            if own.token != others.token or not is_same(own.name, others.name) or not is_same(own.value, others.value):
                return False
        return True

    @cython.nonecheck(False)
    cdef HeaderField field(self, int token):
        cdef int place = self._places[token]
        # The list has the field, and is never changed once the block is decoded.
        return <HeaderField>PyList_GET_ITEM(self.fields, place - 1) if place and token != TOKEN_OTHER else None

    cdef bint _has_only(self, bint is_request) noexcept:
        """Return whether there are no pseudo-header fields of the other kind of head."""
        if is_request:
            return self._places[<int>TOKEN_STATUS] == 0
        return not (
            self._places[<int>TOKEN_METHOD] or self._places[<int>TOKEN_PATH] or self._places[<int>TOKEN_SCHEME]
            or self._places[<int>TOKEN_AUTHORITY] or self._places[<int>TOKEN_PROTOCOL]
        )

    @cython.nonecheck(False)
    cdef int check(self, int kind) except -1:
        cdef HeaderBlock same = self if self.twin is None else self.twin
        if same._checked_as != kind:
            if kind == CHECKED_AS_REQUEST:
                same._checked_rule = same.check_request()
            else:
                same._checked_rule = same.check_response() if kind == CHECKED_AS_RESPONSE else same.check_trailers()
            same._checked_as = kind
        return same._checked_rule

    @cython.nonecheck(False)
    cdef int check_request(self) except -1:
        cdef HeaderField method = self.field(TOKEN_METHOD), path = self.field(TOKEN_PATH)
        cdef HeaderField scheme = self.field(TOKEN_SCHEME), authority = self.field(TOKEN_AUTHORITY)
        cdef HeaderField host = self.field(TOKEN_HOST)
        if self.rule:
            return self.rule
        # Extended CONNECT (RFC 8441) is not offered.
        if not self._has_only(True) or self._places[<int>TOKEN_PROTOCOL]:
            return RULE_MISPLACED_PSEUDO
        if authority is not None and (
            not authority.value or b"@" in authority.value or host is not None and host.value != authority.value
        ):
            return RULE_AUTHORITY
        if method is None or not method.value:
            return RULE_MISSING_PSEUDO
        if method.value == b"CONNECT":
            if path is not None or scheme is not None:
                return RULE_MISPLACED_PSEUDO
            return RULE_NONE if authority is not None else RULE_MISSING_PSEUDO
        if scheme is None or path is None or not scheme.value or not path.value:
            return RULE_MISSING_PSEUDO
        return RULE_NONE if is_path(path.value, method.value) else RULE_PATH

    cdef int check_response(self) except -1:
        cdef HeaderField status = self.field(TOKEN_STATUS)
        if self.rule:
            return self.rule
        if not self._has_only(False):
            return RULE_MISPLACED_PSEUDO
        if status is None:
            return RULE_MISSING_PSEUDO
        return RULE_NONE if is_status(status.value) else RULE_STATUS

    cdef int check_trailers(self) except -1:
        if self.rule:
            return self.rule
        return RULE_NONE if self._has_only(False) and self._has_only(True) else RULE_MISPLACED_PSEUDO

    @cython.nonecheck(False)
    cdef int64_t content_length(self) except? -2:
        cdef HeaderField found = self.field(TOKEN_CONTENT_LENGTH)
        return -1 if found is None else int(found.value)


cdef HeaderBlock new_block():
    cdef HeaderBlock block = HeaderBlock.__new__(HeaderBlock)
    block.fields = []
    return block


cdef HeaderBlock begun_with(HeaderBlock base):
    cdef HeaderBlock block = HeaderBlock.__new__(HeaderBlock)
    block.fields = base.fields[:]
    memcpy(block._places, base._places, sizeof(base._places))
    block._has_regular = base._has_regular
    block.rule = base.rule
    block.size = base.size
    return block


cdef bint is_path(bytes path, bytes method) noexcept:
    cdef const char* text = PyBytes_AS_STRING(path)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(path)
    if text[0] != b"/":
        return size == 1 and text[0] == b"*" and method == b"OPTIONS"
    # No client sends a fragment: one that does means something else by the path than we do.
    return memchr(text, b"#", <size_t>size) is NULL


cdef bint are_digits(const char* text, Py_ssize_t size) noexcept:
    cdef Py_ssize_t at
    for at in range(size):
        if not b"0" <= text[at] <= b"9":
            return False
    return True


cdef bint is_length(bytes value) noexcept:
    cdef Py_ssize_t size = PyBytes_GET_SIZE(value)
    return 0 < size <= LENGTH_DIGITS and are_digits(PyBytes_AS_STRING(value), size)


cdef bint is_status(bytes value) noexcept:
    cdef const char* text = PyBytes_AS_STRING(value)
    return PyBytes_GET_SIZE(value) == 3 and text[0] != b"0" and are_digits(text, 3)
