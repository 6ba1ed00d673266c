cimport cython
from libc.stdint cimport int64_t, uint8_t, uint64_t

from fastrpc._core.base.buffer cimport WriteBuffer
from fastrpc._core.http2.frames cimport Violation
from fastrpc._core.http2.header_block cimport DynamicTable, HeaderBlock, HeaderField

cdef enum:
    # Kept blocks, a power of two.
    KNOWN_BLOCKS = 8


@cython.final
cdef class HpackDecoder:
    cdef:
        readonly DynamicTable table

        # The size limit of the table that the peer acknowledged; whether its next block has to begin with a table size
        # update, since the limit became lower.
        readonly Py_ssize_t table_limit
        bint _needs_update

        # The most bytes of a block, as MAX_HEADER_LIST_SIZE counts them.
        readonly Py_ssize_t list_limit

        # Blocks that changed no table, by a hash of their bytes: HeaderBlock or None; the bytes of their fields.
        list _known
        # The hashes of the last blocks that were not kept, at the same places; whether some have values.
        uint64_t[KNOWN_BLOCKS] _seen
        bint _knows_values

        # Blocks with a timeout, by their path: HeaderBlock or None.
        list _twins
        readonly Py_ssize_t known_bytes

        # While a block is decoded: its next byte and its end, in the bytes of the caller.
        const uint8_t* _at
        const uint8_t* _end
        # The last long string that was decoded.
        bytes _large

    # Return the fields of a whole block. None: the peer broke a rule of the connection, and the decoder is of no more use.
    cdef HeaderBlock decode(self, const char* data, Py_ssize_t size, Violation* violation)

    # Apply a table limit that the peer acknowledged.
    cdef int limit_table(self, Py_ssize_t limit) except -1

    cdef inline int count_note(self, HeaderBlock block, Py_ssize_t size) noexcept:
        """Count the bytes of a note on a kept block."""
        block.noted_bytes += size
        self.known_bytes += size
        return 0

    # Blocks that came before.
    cdef HeaderBlock _find(self, const char* data, Py_ssize_t size)
    cdef HeaderBlock _begin(self, const char* data, Py_ssize_t run)
    cdef int _find_twin(self, HeaderBlock block) except -1
    cdef bint _comes_again(self, const char* data, Py_ssize_t size) noexcept
    cdef int _know(self, HeaderBlock block, const char* data, Py_ssize_t size) except -1

    # The parts of decoding. For a violation, functions of a number return -1, functions of an object None.
    cdef int _decode_updates(self, Violation* violation) except? -1
    cdef int _decode_fields(self, HeaderBlock block, Violation* violation) except? -1
    cdef HeaderField _decode_field(self, Violation* violation)
    cdef HeaderField _decode_literal(self, int prefix, Violation* violation)
    cdef HeaderField _field_at(self, int64_t index, Violation* violation)
    cdef int64_t _read_integer(self, int prefix, Violation* violation) noexcept
    cdef const char* _read_string(self, char* room, Py_ssize_t* size, Violation* violation) except? NULL


cdef enum Indexing:
    # Inserted into the table; sent in full in each block; sent in full, and never indexed by an intermediary either.
    INDEXING_TABLE = 0
    INDEXING_NONE = 1
    INDEXING_NEVER = 2
    # The name is inserted into the table with its first value; later values are sent in full.
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

        # The place of the template among the templates that an encoder knows.
        int _place


@cython.final
cdef class HpackEncoder:
    cdef:
        readonly DynamicTable table

        # By their places: templates (or None), and the block of each for that generation of the table.
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
