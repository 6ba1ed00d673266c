"""The messages of a schema, as tables that decoder and encoder use."""

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
    # Members of google.protobuf.Value: null; a number, which becomes an int if it is whole.
    KIND_NULL = 32
    KIND_NUMBER = 33

cdef enum FieldShape:
    SHAPE_SINGLE
    SHAPE_REPEATED
    # Each entry is a message of the form FORM_ENTRY.
    SHAPE_MAP

cdef enum MessageForm:
    # FORM_MAP: the plain value is a map by the keys of the fields. FORM_ROW: it is an array in the order of the fields.
    FORM_MAP
    FORM_ROW
    # Arguments: the plain value is an array of the first ones, or a map by position and name.
    FORM_ARGUMENTS
    # FORM_VALUE: the plain value is the value of the only field. FORM_NOTHING: it is nil.
    FORM_VALUE
    FORM_NOTHING
    # The plain value is the value of the one field that is set. FORM_ANY: a google.protobuf.Value, for which the
    # encoder accepts any value.
    FORM_UNION
    FORM_ANY
    # The plain value is a key followed by its value.
    FORM_ENTRY
    # FORM_TIMESTAMP: the plain value is a msgpack extension. FORM_DURATION: it is a text as in ISO 8601.
    FORM_TIMESTAMP
    FORM_DURATION


# Bytes of an object that the message keeps alive.
cdef struct Piece:
    const uint8_t* data
    Py_ssize_t size


# A member of an enum: its number, and its plain value in msgpack.
cdef struct EnumValue:
    int32_t number
    Piece plain


cdef struct FieldTable:
    uint32_t number
    uint8_t kind
    uint8_t shape
    # `wire_type`: the wire type of one value. `is_packed`: whether a list is packed. The encoder writes `tag` before
    # one value, or before all packed values.
    uint8_t wire_type
    bint is_packed
    # For an integer: its bounds (`most`, `least`); whether it has 32 bits (`is_narrow`); whether the lowest bit on the
    # wire is its sign (`is_zigzag`).
    uint64_t most
    int64_t least
    bint is_narrow
    bint is_zigzag
    uint8_t[5] tag
    uint8_t tag_size

    # `Message.field`, for errors.
    Piece label

    # `key`: the key in the plain map of the message, in msgpack; `name_key`: for arguments also the key by name.
    Piece key
    Piece name_key

    # The plain value of a missing field; NULL: the field is omitted.
    Piece absent

    # Whether a zero is written, since a missing field has another meaning.
    bint has_presence
    # Whether the field is omitted for None.
    bint takes_none
    # Whether the enum's number 0 means that the field is missing.
    bint zero_is_absent
    # Whether a missing message is decoded as an empty one.
    bint is_filled

    # The number of the field's oneof in the message, from 1; 0: it is in no oneof.
    int oneof

    # The table of a message field, or of a map's entries; borrowed from a MessageSchema that the owner of this table
    # keeps.
    MessageTable* message
    # The `value_count` members of an enum whose plain values differ from their numbers.
    EnumValue* values
    int value_count


cdef struct MessageTable:
    uint8_t form
    # Whether the arguments may be an array.
    bint has_row
    int count
    int oneof_count
    FieldTable* fields
    # The first pair of the plain map, or the first item of the plain array, if the message is a tagged Struct.
    Piece head
    # `low`: the position in `fields` plus 1 for each field number below LOW_NUMBERS, 0: unknown; `by_number`: all
    # positions, in order of the numbers.
    uint8_t[64] low
    int* by_number


@cython.final
cdef class MessageSchema:
    cdef:
        # The name in the schema.
        readonly str name

        # The tables. `_kept` holds all objects to whose bytes or tables these point.
        MessageTable table
        list _kept

    cdef int _fill(self, FieldTable* field, object spec) except -1
    cdef int _fill_number(self, FieldTable* field) except -1
    cdef int _keep(self, object data, Piece* piece) except -1
    cdef int _fill_values(self, FieldTable* field, list values) except -1


# Return the position of a field in a message, -1 if the number is unknown.
cdef int position_of(const MessageTable* message, uint32_t number) noexcept

# Return `Message.field`. `kind_name` returns the name of a kind.
cdef str label_of(const FieldTable* field)
cdef str kind_name(int kind)

# Return the error for a plain value that is incomplete.
cdef object cut_short()
