cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.base.buffer cimport WriteBuffer
from fastrpc._core.http2.hpack_tables cimport DynamicTable

cdef enum Indexing:
    # Into the table; in full, with each block anew; in full, and by no one who passes it on into a table either.
    INDEXING_TABLE = 0
    INDEXING_NONE = 1
    INDEXING_NEVER = 2
    # The name into the table, with the first value; later values in full.
    INDEXING_NAME = 3

cdef enum:
    # Templates whose block an encoder keeps, a power of two.
    KNOWN_TEMPLATES = 8


@cython.final
cdef class HeaderTemplate:
    cdef:
        # Names and values of fields that are sent again and again; for each name its token and its Indexing.
        readonly tuple pairs
        list _ways

        # Its place among those that an encoder knows.
        int _place


@cython.final
cdef class HpackEncoder:
    cdef:
        readonly DynamicTable table

        # By their places: templates (or None), and the block of each as it was when the table had that generation.
        list _templates
        list _blocks
        uint64_t[KNOWN_TEMPLATES] _generations

        # Table size updates that the next block begins with: the lowest size since the last block and the final one.
        bint _has_update
        Py_ssize_t _lowest

    # Apply the peer's SETTINGS_HEADER_TABLE_SIZE.
    cdef int limit_table(self, Py_ssize_t limit) except -1

    # Begin a block: each block, before its fields.
    cdef int begin(self, WriteBuffer out) except -1

    # Write a field whose name has this token, TOKEN_OTHER for others.
    cdef int put(self, WriteBuffer out, int token, bytes name, bytes value, int indexing) except -1

    # Write the fields of a template.
    cdef int put_template(self, WriteBuffer out, HeaderTemplate template) except -1
    cdef int _write_template(self, WriteBuffer out, HeaderTemplate template) except -1
    cdef int _put_literal(
        self, WriteBuffer out, int token, bytes name, bytes value, int indexing
    ) except -1


# Return how a field is sent: by its token, and by its name if it has none.
cdef int indexing_of(int token, bytes name) noexcept
