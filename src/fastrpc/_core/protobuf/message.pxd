"""The messages of a schema, as the tables that decoder and encoder follow."""

cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

cdef enum FieldKind:
    # google.protobuf.FieldDescriptorProto.Type
    KIND_DOUBLE = 1
    KIND_FLOAT = 2
    KIND_INT64 = 3
    KIND_UINT64 = 4
    KIND_INT32 = 5
    KIND_FIXED64 = 6
    KIND_FIXED32 = 7
    KIND_BOOL = 8
    KIND_STRING = 9
    KIND_MESSAGE = 11
    KIND_BYTES = 12
    KIND_UINT32 = 13
    KIND_ENUM = 14
    KIND_SFIXED32 = 15
    KIND_SFIXED64 = 16
    KIND_SINT32 = 17
    KIND_SINT64 = 18
    # Members of google.protobuf.Value: its null; its number, which is an int if it is whole.
    KIND_NULL = 32
    KIND_NUMBER = 33

cdef enum FieldShape:
    SHAPE_SINGLE
    SHAPE_REPEATED
    # Each entry is a message of the form FORM_ENTRY.
    SHAPE_MAP

cdef enum MessageForm:
    # The plain value of a message: a map by the keys of the fields; an array in their order.
    FORM_MAP
    FORM_ROW
    # Arguments: an array of the first ones, or a map by position and name.
    FORM_ARGUMENTS
    # The value of the only field; nil.
    FORM_VALUE
    FORM_NOTHING
    # The value of the one field that is set; google.protobuf.Value, of which the encoder makes any value.
    FORM_UNION
    FORM_ANY
    # A key and its value, one after the other.
    FORM_ENTRY
    # An extension of msgpack; a text as in ISO 8601.
    FORM_TIMESTAMP
    FORM_DURATION


# Bytes of an object that the table's message keeps.
cdef struct Piece:
    const uint8_t* data
    Py_ssize_t size


# A value of an enum: its number, and its plain value in msgpack.
cdef struct EnumValue:
    int32_t number
    Piece plain


cdef struct FieldTable:
    uint32_t number
    uint8_t kind
    uint8_t shape
    # The wire type of one value; the tag, after which the encoder puts a value, or all of them if they are packed.
    uint8_t wire_type
    bint is_packed
    # For an integer: its bounds; whether it has 32 bits; whether its lowest bit on the wire is the sign.
    uint64_t most
    int64_t least
    bint is_narrow
    bint is_zigzag
    uint8_t[5] tag
    uint8_t tag_size

    # `Message.field`, for errors.
    Piece label

    # The key in the plain map of the message, in msgpack; for arguments also their name.
    Piece key
    Piece name_key

    # The plain value of an absent field; NULL: it is omitted.
    Piece absent

    # A zero is written, since an absent field means something else.
    bint has_presence
    # None leaves the field out.
    bint takes_none
    # The number 0 of its enum means that the field is absent.
    bint zero_is_absent
    # An absent message is the empty one.
    bint is_filled

    # The number of its oneof in the message, from 1; 0: it is in none.
    int oneof

    # The table of a message, or of a map's entries; borrowed from the MessageSchema, which the table's owner keeps.
    MessageTable* message
    # The `value_count` values of an enum whose plain values are not its numbers.
    EnumValue* values
    int value_count


cdef struct MessageTable:
    uint8_t form
    # Whether the whole arguments may be an array.
    bint has_row
    int count
    int oneof_count
    FieldTable* fields
    # The first pair of its map, or the first item of its array: the tag of a Struct.
    Piece head
    # The position in `fields` of each number below LOW_NUMBERS, plus 1, 0: unknown; all positions, by rising numbers.
    uint8_t[64] low
    int* by_number


@cython.final
cdef class MessageSchema:
    cdef:
        # The name in the schema.
        readonly str name

        # The tables; `_kept` holds all objects to whose bytes or tables they point.
        MessageTable table
        list _kept

    cdef int _fill(self, FieldTable* field, object spec) except -1
    cdef int _fill_number(self, FieldTable* field) except -1
    cdef int _keep(self, object data, Piece* piece) except -1
    cdef int _fill_values(self, FieldTable* field, list values) except -1


# Returns the position of a field in a message, -1 if the number is unknown.
cdef int position_of(const MessageTable* message, uint32_t number) noexcept

# Returns `Message.field`, and the name of a kind.
cdef str label_of(const FieldTable* field)
cdef str kind_name(int kind)

# Returns the error for a plain value whose end is missing.
cdef object cut_short()
