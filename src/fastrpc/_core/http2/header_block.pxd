cimport cython
from libc.stdint cimport int64_t, uint16_t, uint64_t

from fastrpc._core.http2.hpack_tables cimport TOKEN_COUNT, HeaderField

cdef enum CheckedAs:
    CHECKED_AS_REQUEST = 1
    CHECKED_AS_RESPONSE
    CHECKED_AS_TRAILERS


@cython.final
cdef class HeaderBlock:
    cdef:
        # The fields in order (HeaderField); for each token the place of the first one, counted from 1, 0: no such field.
        readonly list fields
        uint16_t[TOKEN_COUNT] _places
        bint _has_regular

        # The first rule of RFC 9113, section 8, that its fields break (Rule).
        readonly int rule

        # The kind it was last checked as (CheckedAs), and the rule that it breaks then: a known block comes again.
        int _checked_as
        int _checked_rule

        # Its bytes as MAX_HEADER_LIST_SIZE counts them. Above the limit the fields behind are left out.
        readonly Py_ssize_t size
        readonly bint is_too_large

        # The bytes it was decoded from, and the generation of the table they count for; None: it is not kept.
        bytes raw
        uint64_t generation

        # A block that came before with the same fields, but for grpc-timeout, or None: its note holds but for that.
        HeaderBlock twin

        # Kept by the user of the connection, as equal blocks are one object. It must not lead back to the connection.
        public object note

    cdef int add(self, HeaderField field) except -1

    # Return whether another block has the same fields, but for the values of this token.
    cdef bint is_twin(self, HeaderBlock other, int token) noexcept
    cdef int _judge(self, HeaderField field) except -1

    cdef inline bint has(self, int token) noexcept:
        """Return whether there is a field with a token."""
        return self._places[token] != 0

    # Return the first field with a token, or None.
    cdef HeaderField field(self, int token)

    # Return the rule (Rule) that these fields break as the head of a request, of an answer, or as trailers.
    cdef int check(self, int kind) except -1
    cdef int check_request(self) except -1
    cdef int check_response(self) except -1
    cdef int check_trailers(self) except -1

    # Return content-length of a block that breaks no rule; -1: it has no such field.
    cdef int64_t content_length(self) except? -2
    cdef bint _has_only(self, bint is_request) noexcept


cdef HeaderBlock new_block()

# Make a block that begins with the fields of another one.
cdef HeaderBlock begun_with(HeaderBlock base)
