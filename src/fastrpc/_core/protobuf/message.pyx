"""The messages of a schema, as tables that decoder and encoder use."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Calloc, PyMem_Free

from fastrpc._core.base.protobuf_wire cimport WIRE_BYTES, WIRE_EIGHT_BYTES, WIRE_FOUR_BYTES, WIRE_VARINT

from fastrpc.errors import EncodeError

cdef enum:
    LOW_NUMBERS = 64
    # A position in `low` is one byte.
    MOST_LOW = 254

cdef dict FORMS = {
    "map": FORM_MAP,
    "row": FORM_ROW,
    "arguments": FORM_ARGUMENTS,
    "value": FORM_VALUE,
    "nothing": FORM_NOTHING,
    "union": FORM_UNION,
    "any": FORM_ANY,
    "entry": FORM_ENTRY,
    "timestamp": FORM_TIMESTAMP,
    "duration": FORM_DURATION,
}
cdef dict KINDS = {
    KIND_DOUBLE: "double",
    KIND_FLOAT: "float",
    KIND_INT64: "int64",
    KIND_UINT64: "uint64",
    KIND_INT32: "int32",
    KIND_FIXED64: "fixed64",
    KIND_FIXED32: "fixed32",
    KIND_UINT32: "uint32",
    KIND_ENUM: "a member of the enum",
    KIND_SFIXED32: "sfixed32",
    KIND_SFIXED64: "sfixed64",
    KIND_SINT32: "sint32",
    KIND_SINT64: "sint64",
}
# Integers of 32 bits; unsigned integers; integers whose lowest bit is the sign.
cdef frozenset NARROW = frozenset({KIND_INT32, KIND_UINT32, KIND_SINT32, KIND_FIXED32, KIND_SFIXED32, KIND_ENUM})
cdef frozenset UNSIGNED = frozenset({KIND_UINT32, KIND_UINT64, KIND_FIXED32, KIND_FIXED64})
cdef frozenset ZIGZAG = frozenset({KIND_SINT32, KIND_SINT64})

cdef dict SHAPES = {"single": SHAPE_SINGLE, "repeated": SHAPE_REPEATED, "map": SHAPE_MAP}


cdef uint8_t wire_type_of(int kind) noexcept:
    if kind == KIND_STRING or kind == KIND_BYTES or kind == KIND_MESSAGE:
        return WIRE_BYTES
    if kind == KIND_DOUBLE or kind == KIND_FIXED64 or kind == KIND_SFIXED64 or kind == KIND_NUMBER:
        return WIRE_EIGHT_BYTES
    if kind == KIND_FLOAT or kind == KIND_FIXED32 or kind == KIND_SFIXED32:
        return WIRE_FOUR_BYTES
    return WIRE_VARINT


cdef int position_of(const MessageTable* message, uint32_t number) noexcept:
    cdef int low = 0, high = message.count, middle
    cdef uint32_t found
    if number < LOW_NUMBERS and message.count <= MOST_LOW:
        return message.low[number] - 1
    while low < high:
        middle = (low + high) // 2
        found = message.fields[message.by_number[middle]].number
        if found == number:
            return message.by_number[middle]
        if found < number:
            low = middle + 1
        else:
            high = middle
    return -1


cdef str kind_name(int kind):
    return KINDS[kind]


cdef object cut_short():
    return EncodeError("a value is not whole")


cdef str label_of(const FieldTable* field):
    # The schema keeps the bytes alive.
    return (<const char*>field.label.data)[:field.label.size].decode()


@cython.final
cdef class MessageSchema:
    def __init__(self, str name not None, str form not None, *, bytes head=b"", bint has_row=False):
        self.name = name
        self._kept = []
        self.table.form = FORMS[form]
        self.table.has_row = has_row
        self._keep(head, &self.table.head)

    def __dealloc__(self):
        cdef int at
        for at in range(self.table.count):
            PyMem_Free(self.table.fields[at].values)
        PyMem_Free(self.table.fields)
        PyMem_Free(self.table.by_number)

    def define(self, list fields not None):
        cdef int at
        if self.table.fields != NULL:
            raise ValueError(f"{self.name} has its fields already")
        self.table.fields = <FieldTable*>PyMem_Calloc(len(fields) + 1, sizeof(FieldTable))
        self.table.by_number = <int*>PyMem_Calloc(len(fields) + 1, sizeof(int))
        if self.table.fields == NULL or self.table.by_number == NULL:
            raise MemoryError
        self.table.count = <int>len(fields)
        for at, place in enumerate(sorted(range(len(fields)), key=lambda place: fields[place].number)):
            self.table.by_number[at] = place
        for at in range(self.table.count):
            self._fill(&self.table.fields[at], fields[at])
            if self.table.fields[at].number < LOW_NUMBERS and at < MOST_LOW:
                self.table.low[self.table.fields[at].number] = <uint8_t>(at + 1)

    cdef int _fill(self, FieldTable* field, object spec) except -1:
        cdef MessageSchema message = spec.message
        field.number = spec.number
        field.kind = spec.kind
        field.shape = SHAPES[spec.shape]
        field.wire_type = WIRE_BYTES if field.shape == SHAPE_MAP else wire_type_of(field.kind)
        field.is_packed = field.shape == SHAPE_REPEATED and field.wire_type != WIRE_BYTES
        self._fill_number(field)
        self._keep(f"{self.name}.{spec.name}".encode(), &field.label)
        self._keep(spec.key, &field.key)
        self._keep(spec.name_key, &field.name_key)
        self._keep(spec.absent, &field.absent)
        field.has_presence = spec.has_presence
        field.takes_none = spec.takes_none
        field.zero_is_absent = spec.zero_is_absent
        field.is_filled = spec.is_filled
        field.oneof = spec.oneof
        self.table.oneof_count = max(self.table.oneof_count, field.oneof)
        if message is not None:
            self._kept.append(message)
            # The list keeps the message alive.
            field.message = &message.table
        if spec.values is not None:
            self._fill_values(field, spec.values)
        return 0

    cdef int _fill_number(self, FieldTable* field) except -1:
        """Set the tag of a field and the bounds of its numbers."""
        cdef uint32_t tag = field.number << 3 | (WIRE_BYTES if field.is_packed else field.wire_type)
        while tag >= 0x80:
            field.tag[field.tag_size] = <uint8_t>(tag | 0x80)
            field.tag_size += 1
            tag >>= 7
        field.tag[field.tag_size] = <uint8_t>tag
        field.tag_size += 1
        field.is_narrow = field.kind in NARROW
        field.is_zigzag = field.kind in ZIGZAG
        if field.kind in UNSIGNED:
            field.most = <uint64_t>0xFFFFFFFF if field.is_narrow else ~<uint64_t>0
        else:
            field.most = <uint64_t>0x7FFFFFFF if field.is_narrow else (<uint64_t>1 << 63) - 1
            field.least = -<int64_t>field.most - 1
        return 0

    cdef int _keep(self, object data, Piece* piece) except -1:
        """Point to bytes and keep them alive; for None and empty bytes the pointer stays NULL."""
        if data:
            self._kept.append(data)
            # The list keeps the bytes alive.
            piece.data = <const uint8_t*>PyBytes_AS_STRING(<bytes?>data)
            piece.size = PyBytes_GET_SIZE(data)
        return 0

    cdef int _fill_values(self, FieldTable* field, list values) except -1:
        cdef int at
        field.values = <EnumValue*>PyMem_Calloc(len(values) + 1, sizeof(EnumValue))
        if field.values == NULL:
            raise MemoryError
        for at in range(len(values)):
            field.values[at].number = values[at][0]
            self._keep(values[at][1], &field.values[at].plain)
        field.value_count = <int>len(values)
        return 0
