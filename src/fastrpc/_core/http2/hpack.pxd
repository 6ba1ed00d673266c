cimport cython
from libc.stdint cimport int64_t, uint8_t, uint64_t

from fastrpc._core.base.buffer cimport WriteBuffer
from fastrpc._core.http2.frames cimport Violation
from fastrpc._core.http2.header_block cimport DynamicTable, HeaderBlock, HeaderField

cdef enum:
    # The number of kept blocks, a power of two.
    KNOWN_BLOCKS = 8


@cython.final
cdef class HpackDecoder:
    cdef:
        readonly DynamicTable table

        # `table_limit`: the limit for the size of the table, as acknowledged by the peer. `_needs_update`: whether this
        # limit became lower, so that the peer's next block has to begin with a table size update.
        readonly Py_ssize_t table_limit
        bint _needs_update

        # The limit for the fields of a block, as MAX_HEADER_LIST_SIZE counts them.
        readonly Py_ssize_t list_limit

        # The kept blocks, which change no table, by a hash of their bytes: HeaderBlock or None.
        list _known
        # `_seen`: the hashes of the last blocks that were not kept, by the same hash; `_knows_values`: whether some
        # kept blocks have literal values.
        uint64_t[KNOWN_BLOCKS] _seen
        bint _knows_values

        # The last blocks with grpc-timeout, by their path: HeaderBlock or None.
        list _twins

        # The bytes of the fields of all blocks that are kept here, and of their notes.
        readonly Py_ssize_t known_bytes

        # While a block is decoded: pointers to its next byte (`_at`) and its end (`_end`), in the bytes of the caller.
        const uint8_t* _at
        const uint8_t* _end
        # The last long string that was decoded.
        bytes _large

    # Decode a whole block. None: the peer broke a rule of the connection, and the decoder must not be used any more.
    cdef HeaderBlock decode(self, const char* data, Py_ssize_t size, Violation* violation)

    # Apply a limit for the table, once the peer has acknowledged it.
    cdef int limit_table(self, Py_ssize_t limit) except -1

    cdef inline int count_note(self, HeaderBlock block, Py_ssize_t size) noexcept:
        """Count the bytes of an object that is attached to a kept block."""
        block.noted_bytes += size
        self.known_bytes += size
        return 0

    # Kept blocks.
    cdef HeaderBlock _find(self, const char* data, Py_ssize_t size)
    cdef HeaderBlock _begin(self, const char* data, Py_ssize_t run)
    cdef int _find_twin(self, HeaderBlock block) except -1
    cdef bint _comes_again(self, const char* data, Py_ssize_t size) noexcept
    cdef int _know(self, HeaderBlock block, const char* data, Py_ssize_t size) except -1

    # The parts of decoding. If the peer broke a rule, they return -1, or None if they return objects.
    cdef int _decode_updates(self, Violation* violation) except? -1
    cdef int _decode_fields(self, HeaderBlock block, Violation* violation) except? -1
    cdef HeaderField _decode_field(self, Violation* violation)
    cdef HeaderField _decode_literal(self, int prefix, Violation* violation)
    cdef HeaderField _field_at(self, int64_t index, Violation* violation)
    cdef int64_t _read_integer(self, int prefix, Violation* violation) noexcept
    cdef const char* _read_string(self, char* room, Py_ssize_t* size, Violation* violation) except? NULL


cdef enum Indexing:
    # INDEXING_TABLE: a value is inserted into the table; INDEXING_NONE: sent in full in each block;
    # INDEXING_NEVER: sent in full, and proxies must not index it either.
    INDEXING_TABLE = 0
    INDEXING_NONE = 1
    INDEXING_NEVER = 2
    # The first value is inserted into the table, for its name; later values are sent in full.
    INDEXING_NAME = 3

cdef enum:
    # The number of templates whose encoded block an encoder keeps, a power of two.
    KNOWN_TEMPLATES = 8


@cython.final
cdef class HeaderTemplate:
    cdef:
        # `pairs`: the names and values of fields that are sent repeatedly; `_ways`: for each field, the token of its
        # name and its Indexing.
        readonly tuple pairs
        list _ways

        # The position of the template in `HpackEncoder._templates`.
        int _place


@cython.final
cdef class HpackEncoder:
    cdef:
        readonly DynamicTable table

        # At the index `HeaderTemplate._place`: the template or None (`_templates`), its encoded block (`_blocks`), the
        # generation of the table for which that block is valid (`_generations`).
        list _templates
        list _blocks
        uint64_t[KNOWN_TEMPLATES] _generations

        # `_has_update`: whether the next block begins with table size updates. `_lowest`: the lowest size since the
        # last block.
        bint _has_update
        Py_ssize_t _lowest

    # Apply the peer's SETTINGS_HEADER_TABLE_SIZE.
    cdef int limit_table(self, Py_ssize_t limit) except -1

    # Begin a block. This is called for each block, before its fields are written.
    cdef int begin(self, WriteBuffer out) except -1

    # Write a field; `token` is the token of its name.
    cdef int put(self, WriteBuffer out, int token, bytes name, bytes value, int indexing) except -1

    # Write the fields of a template.
    cdef int put_template(self, WriteBuffer out, HeaderTemplate template) except -1
    cdef int _write_template(self, WriteBuffer out, HeaderTemplate template) except -1
    cdef int _put_literal(
        self, WriteBuffer out, int token, bytes name, bytes value, int indexing
    ) except -1


# Return the Indexing of a field, by the token of its name, or by the name if it has no token.
cdef int indexing_of(int token, bytes name) noexcept
