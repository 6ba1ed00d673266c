"""Convert values, encoded by msgspec, to the bytes of a message.

The plain value is read from start to end, and each value is written immediately. The length of a nested message is
known only after its bytes are written: one byte is reserved for it, and the bytes are moved if the length needs more.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Realloc
from libc.math cimport isinf
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memmove, memset

cimport fastrpc._core.protobuf.message as table
cimport fastrpc._core.protobuf.plain_input as plain_input
from fastrpc._core.base.buffer cimport WriteBuffer
from fastrpc._core.base.protobuf_wire cimport WIRE_EIGHT_BYTES, WIRE_VARINT, put_varint
from fastrpc._core.base.wire cimport store32, store64
from fastrpc._core.payload.prescan cimport PRESCAN_DEEPEST
from fastrpc._core.protobuf.message cimport label_of
from fastrpc._core.protobuf.plain_input cimport (
    NIL,
    is_array,
    is_integer,
    is_map,
    is_text,
    need,
    peek,
    skip,
    take_count,
    take_instant,
    take_integer,
    take_number,
    take_size,
    take_text,
)
from fastrpc._core.protobuf.plain_output cimport put_byte, put_copy

from fastrpc.errors import EncodeError

cdef enum:
    # The tags of google.protobuf.Value: null, number, string, bool, struct, list.
    TAG_NULL = 0x08
    TAG_NUMBER = 0x11
    TAG_STRING = 0x1A
    TAG_BOOL = 0x20
    TAG_STRUCT = 0x2A
    TAG_LIST = 0x32
    # The tags of the first two fields of a message: of number fields, and of fields with a length.
    TAG_FIRST_NUMBER = 0x08
    TAG_SECOND_NUMBER = 0x10
    TAG_FIRST = 0x0A
    TAG_SECOND = 0x12
    FIRST_CHOSEN = 64
    SECONDS_OF_DAY = 86_400
    NANOS = 1_000_000_000

cdef uint64_t MOST_EXACT = <uint64_t>1 << 53
# The maximum of google/protobuf/duration.proto: 10,000 years.
cdef int64_t LONGEST_SECONDS = 315_576_000_000


# While a value is written: the message so far. Each value is written without interruption, so all encoders share this
# buffer. A thread may be interrupted while it raises an error, but then it no longer needs the buffer.
cdef WriteBuffer out = WriteBuffer()
# For all encoders, too: for each oneof of the messages under way the field that is set, borrowed from its table.
cdef const FieldTable** chosen = NULL
cdef Py_ssize_t chosen_capacity = 0


cdef str plain_name(uint8_t lead):
    """Return the name of a plain value's type."""
    if is_integer(lead):
        return "int"
    if is_map(lead):
        return "an object or a map"
    if is_array(lead):
        return "a list"
    if is_text(lead):
        return "str"
    if lead == NIL:
        return "None"
    if lead == plain_input.FALSE or lead == plain_input.TRUE:
        return "bool"
    if lead == plain_input.FLOAT32 or lead == plain_input.FLOAT64:
        return "float"
    return "bytes" if lead < plain_input.EXT8 else "a datetime or an array"


cdef object refused(const FieldTable* field, str text):
    return EncodeError(text if field == NULL else f"{label_of(field)}: {text}")


cdef object misfit(const FieldTable* field, str expected, uint8_t lead):
    return refused(field, f"expected {expected}, got {plain_name(lead)}")


cdef object beyond(const FieldTable* field, uint64_t bits, bint is_negative, str name):
    number = str(<int64_t>bits) if is_negative else str(bits)
    return refused(field, f"{number} is beyond {name}")


cdef void free_chosen() noexcept:
    global chosen, chosen_capacity
    PyMem_Free(<void*>chosen)
    chosen = NULL
    chosen_capacity = 0


cdef inline int put_tag(const FieldTable* field) except -1:
    if field.tag_size == 1:
        return put_byte(out, field.tag[0])
    return put_copy(out, field.tag, field.tag_size)


@cython.final
cdef class MessageEncoder:
    def __cinit__(self, MessageSchema root not None, encode not None, *, bint in_row=False):
        self.root = root
        self.encode = encode
        self.in_row = in_row

    def __call__(self, value):
        return self.write(<bytes?>self.encode(value))

    cdef bytes write(self, bytes plain):
        # The caller keeps the bytes alive.
        self._plain.place = <const uint8_t*>PyBytes_AS_STRING(plain)
        self._plain.end = self._plain.place + PyBytes_GET_SIZE(plain)
        self._depth = 0
        self._chosen_count = 0
        out.clear()
        try:
            if self.in_row and is_map(<uint8_t>peek(&self._plain)):
                # Arguments by name: the map has exactly one.
                take_count(&self._plain)
                skip(&self._plain)
            elif self.in_row:
                self._array(NULL)
            self._message(&self.root.table, NULL)
            return out.take()
        finally:
            out.clear()
            if chosen_capacity > FIRST_CHOSEN:
                free_chosen()

    cdef Py_ssize_t _array(self, const FieldTable* field) except -1:
        """Skip the head of an array; return its length."""
        cdef uint8_t lead = <uint8_t>peek(&self._plain)
        if not is_array(lead):
            raise misfit(field, "a list", lead)
        return take_count(&self._plain)

    cdef Py_ssize_t _map(self, const FieldTable* field) except -1:
        """Skip the head of a map; return its length."""
        cdef uint8_t lead = <uint8_t>peek(&self._plain)
        if not is_map(lead):
            raise misfit(field, "an object or a map", lead)
        return take_count(&self._plain)

    # Messages

    cdef int _message(self, const MessageTable* message, const FieldTable* field) except -1:
        """Write the content of a message that is the value of `field`."""
        cdef uint8_t form = message.form
        cdef uint8_t lead
        self._deepen(field)
        if form == table.FORM_MAP:
            self._fields(message, field)
        elif form == table.FORM_ROW or form == table.FORM_ARGUMENTS:
            if form == table.FORM_ARGUMENTS and is_map(<uint8_t>peek(&self._plain)):
                self._fields(message, field)
            else:
                self._row(message, field)
        elif form == table.FORM_VALUE:
            self._field(&message.fields[0])
        elif form == table.FORM_UNION:
            self._member(message, field)
        elif form == table.FORM_ANY:
            self._any(field)
        elif form == table.FORM_TIMESTAMP:
            self._timestamp(field)
        elif form == table.FORM_DURATION:
            self._duration(field)
        else:
            lead = <uint8_t>peek(&self._plain)
            if lead != NIL:
                raise misfit(field, "None", lead)
        self._depth -= 1
        return 0

    cdef int _deepen(self, const FieldTable* field) except -1:
        self._depth += 1
        if self._depth > PRESCAN_DEEPEST:
            raise refused(field, "it is nested too deep, or contains itself")
        return 0

    cdef int _fields(self, const MessageTable* message, const FieldTable* field) except -1:
        """Write the fields in a map."""
        cdef Py_ssize_t left = self._map(field), oneofs = self._chosen_count
        cdef int at, guess = 0
        if message.oneof_count:
            self._reserve_chosen(message.oneof_count)
        if left and message.head.data != NULL and self._takes(&message.head):
            left -= 1
        while left:
            left -= 1
            at = self._position(message, guess)
            if at < 0:
                skip(&self._plain)
                continue
            guess = at + 1
            if message.fields[at].oneof:
                self._field_of(&message.fields[at], oneofs)
            else:
                self._field(&message.fields[at])
        self._chosen_count = oneofs
        return 0

    cdef int _field_of(self, const FieldTable* field, Py_ssize_t oneofs) except -1:
        """Write a field. If it is in a oneof, note it; the oneofs of its message begin at `oneofs` in `chosen`."""
        cdef Py_ssize_t before = out.size
        cdef const FieldTable* other
        self._field(field)
        if out.size > before:
            other = chosen[oneofs + field.oneof - 1]
            if other != NULL and other != field:
                raise EncodeError(
                    f"{label_of(other)} and {label_of(field)} are in one oneof, and at most one of its fields may be set"
                )
            chosen[oneofs + field.oneof - 1] = field
        return 0

    cdef int _reserve_chosen(self, int count) except -1:
        """Reserve entries in `chosen` for the oneofs of a message."""
        global chosen, chosen_capacity
        cdef Py_ssize_t start = self._chosen_count, capacity = max(chosen_capacity, <Py_ssize_t>FIRST_CHOSEN)
        cdef const FieldTable** grown
        while capacity < start + count:
            capacity *= 2
        if capacity != chosen_capacity:
            grown = <const FieldTable**>PyMem_Realloc(<void*>chosen, capacity * sizeof(FieldTable*))
            if grown == NULL:
                raise MemoryError
            chosen = grown
            chosen_capacity = capacity
        memset(<void*>&chosen[start], 0, count * sizeof(FieldTable*))
        self._chosen_count += count
        return 0

    cdef int _position(self, const MessageTable* message, int guess) except -2:
        """Skip a key; return the position of its field, or -1 if there is no such field."""
        cdef const FieldTable* field
        cdef int _tried, at = guess
        for _tried in range(message.count):
            if at >= message.count:
                at = 0
            field = &message.fields[at]
            if self._takes(&field.key) or (field.name_key.data != NULL and self._takes(&field.name_key)):
                return at
            at += 1
        skip(&self._plain)
        return -1

    cdef bint _takes(self, const Piece* piece) noexcept:
        """Skip these bytes if they come next; return whether they did."""
        if piece.size > self._plain.end - self._plain.place or memcmp(self._plain.place, piece.data, piece.size):
            return False
        self._plain.place += piece.size
        return True

    cdef int _row(self, const MessageTable* message, const FieldTable* field) except -1:
        """Write the fields in an array."""
        cdef Py_ssize_t count = self._array(field), oneofs = self._chosen_count
        cdef int at
        if message.oneof_count:
            self._reserve_chosen(message.oneof_count)
        if count and message.head.data != NULL:
            skip(&self._plain)
            count -= 1
        if count > message.count:
            raise refused(field, f"{count} values for {message.count} fields")
        for at in range(<int>count):
            if message.fields[at].oneof:
                self._field_of(&message.fields[at], oneofs)
            else:
                self._field(&message.fields[at])
        self._chosen_count = oneofs
        return 0

    cdef int _member(self, const MessageTable* message, const FieldTable* field) except -1:
        """Write a tagged Struct as the field that its tag names."""
        cdef const uint8_t* start = self._plain.place
        cdef uint8_t lead = <uint8_t>peek(&self._plain)
        cdef int at
        if not is_array(lead) and not is_map(lead):
            raise misfit(field, "a Struct of the union", lead)
        take_count(&self._plain)
        for at in range(message.count):
            if self._takes(&message.fields[at].message.head):
                self._plain.place = start
                return self._field(&message.fields[at])
        raise refused(field, "its class is not in the union")

    cdef int _any(self, const FieldTable* field) except -1:
        """Write any value as a google.protobuf.Value."""
        cdef uint8_t lead = <uint8_t>peek(&self._plain)
        cdef Py_ssize_t size
        if lead == NIL or lead == plain_input.FALSE or lead == plain_input.TRUE:
            self._plain.place += 1
            put_byte(out, TAG_NULL if lead == NIL else TAG_BOOL)
            return put_byte(out, lead == plain_input.TRUE)
        if is_text(lead):
            put_byte(out, TAG_STRING)
            size = take_text(&self._plain)
            return self._copy(size)
        if is_map(lead) or is_array(lead):
            return self._any_items(field, is_map(lead))
        if not is_integer(lead) and lead != plain_input.FLOAT32 and lead != plain_input.FLOAT64:
            raise refused(
                field,
                f"a google.protobuf.Value holds None, bool, numbers, str, lists and maps, not {plain_name(lead)}",
            )
        put_byte(out, TAG_NUMBER)
        if is_integer(lead):
            self._check_exact(field)
        self._double(field)
        return 0

    cdef int _check_exact(self, const FieldTable* field) except -1:
        """Refuse the next integer if a float cannot represent it exactly."""
        cdef const uint8_t* start = self._plain.place
        cdef bint is_negative = False
        cdef uint64_t value = 0
        take_integer(&self._plain, &value, &is_negative)
        if (<uint64_t>0 - value if is_negative else value) > MOST_EXACT:
            raise beyond(field, value, is_negative, "2**53, and a google.protobuf.Value holds a float")
        self._plain.place = start
        return 0

    cdef int _any_items(self, const FieldTable* field, bint is_struct) except -1:
        """Write a map as google.protobuf.Struct, or an array as ListValue."""
        cdef Py_ssize_t left = take_count(&self._plain), size
        cdef Py_ssize_t start, item, value
        cdef uint8_t lead
        put_byte(out, TAG_STRUCT if is_struct else TAG_LIST)
        start = item = self._begin()
        self._deepen(field)
        while left:
            left -= 1
            put_byte(out, TAG_FIRST)
            if is_struct:
                item = self._begin()
                lead = <uint8_t>peek(&self._plain)
                if not is_text(lead):
                    raise misfit(field, "str as the key of a map", lead)
                size = take_text(&self._plain)
                put_byte(out, TAG_FIRST)
                self._copy(size)
                put_byte(out, TAG_SECOND)
            value = self._begin()
            self._any(field)
            self._close(value)
            if is_struct:
                self._close(item)
        self._depth -= 1
        return self._close(start)

    cdef int _timestamp(self, const FieldTable* field) except -1:
        """Write a datetime as google.protobuf.Timestamp."""
        cdef int64_t seconds = 0, nanos = 0
        cdef uint8_t lead = <uint8_t>peek(&self._plain)
        if is_text(lead):
            raise refused(field, "the datetime has no time zone, which a google.protobuf.Timestamp needs")
        if not take_instant(&self._plain, &seconds, &nanos):
            raise misfit(field, "a datetime", lead)
        return self._seconds(seconds, nanos)

    cdef int _duration(self, const FieldTable* field) except -1:
        """Write a timedelta, which is a text such as -P1DT5.25S, as google.protobuf.Duration."""
        cdef int64_t seconds = 0, nanos = 0, number = 0, sign = 1, unit = 0
        cdef const uint8_t* end
        cdef Py_ssize_t size
        cdef uint8_t letter = <uint8_t>peek(&self._plain)
        if not is_text(letter):
            raise misfit(field, "a timedelta", letter)
        size = take_text(&self._plain)
        end = self._plain.place + size
        while self._plain.place < end:
            letter = self._plain.place[0]
            self._plain.place += 1
            if c"0" <= letter <= c"9" and number <= LONGEST_SECONDS:
                number = 10 * number + letter - c"0"
                unit //= 10
            elif letter == c"-":
                sign = -1
            elif letter == c"D":
                seconds += SECONDS_OF_DAY * number
                number = 0
            elif letter == c"." or (letter == c"S" and not unit):
                seconds += number
                number, unit = 0, NANOS
            elif letter == c"S":
                nanos = number * unit
        if seconds > LONGEST_SECONDS or (seconds == LONGEST_SECONDS and nanos):
            raise refused(field, "the timedelta is longer than the 10,000 years of a google.protobuf.Duration")
        return self._seconds(sign * seconds, sign * nanos)

    cdef int _seconds(self, int64_t seconds, int64_t nanos) except -1:
        if seconds:
            put_byte(out, TAG_FIRST_NUMBER)
            put_varint(out, <uint64_t>seconds)
        if nanos:
            put_byte(out, TAG_SECOND_NUMBER)
            put_varint(out, <uint64_t>nanos)
        return 0

    # Fields

    cdef int _field(self, const FieldTable* field) except -1:
        """Write a field with its value."""
        cdef Py_ssize_t before = out.size
        if peek(&self._plain) == NIL and field.takes_none:
            self._plain.place += 1
            return 0
        if field.shape == table.SHAPE_REPEATED:
            return self._list(field)
        if field.shape == table.SHAPE_MAP:
            return self._entries(field)
        put_tag(field)
        if field.kind == table.KIND_MESSAGE:
            return self._nested(field)
        if self._scalar(field) and not field.has_presence:
            out.keep(before)
        return 0

    cdef int _list(self, const FieldTable* field) except -1:
        cdef Py_ssize_t left = self._array(field), start = -1
        if field.is_packed and left:
            put_tag(field)
            start = self._begin()
        while left:
            left -= 1
            if not field.is_packed:
                put_tag(field)
            if field.kind == table.KIND_MESSAGE:
                self._nested(field)
            else:
                self._scalar(field)
        return 0 if start < 0 else self._close(start)

    cdef int _entries(self, const FieldTable* field) except -1:
        cdef Py_ssize_t left = self._map(field), start
        while left:
            left -= 1
            put_tag(field)
            start = self._begin()
            self._field(&field.message.fields[0])
            self._field(&field.message.fields[1])
            self._close(start)
        return 0

    cdef int _nested(self, const FieldTable* field) except -1:
        """Write a message after its length."""
        cdef Py_ssize_t start = self._begin()
        self._message(field.message, field)
        return self._close(start)

    cdef Py_ssize_t _begin(self) except -1:
        """Reserve a byte for a length; return its position."""
        out.reserve(1)
        return out.size - 1

    cdef int _close(self, Py_ssize_t start) except -1:
        """Write the length of all bytes after its position."""
        cdef Py_ssize_t size = out.size - start - 1
        cdef Py_ssize_t more = 0, rest = size
        cdef uint8_t* place
        while rest >= 0x80:
            more += 1
            rest >>= 7
        if more:
            out.reserve(more)
        # The pointer is valid until the next `reserve`.
        place = <uint8_t*>out.data() + start
        if more:
            memmove(place + 1 + more, place + 1, size)
        while size >= 0x80:
            place[0] = <uint8_t>(size | 0x80)
            place += 1
            size >>= 7
        place[0] = <uint8_t>size
        return 0

    # Single values

    cdef int _copy(self, Py_ssize_t size) except -1:
        """Write the length of bytes, and the bytes."""
        put_varint(out, <uint64_t>size)
        put_copy(out, self._plain.place, size)
        self._plain.place += size
        return 0

    cdef bint _scalar(self, const FieldTable* field) except -1:
        """Write one value; return whether it is its type's zero."""
        cdef uint8_t kind = field.kind, lead = <uint8_t>peek(&self._plain)
        cdef Py_ssize_t size
        if kind == table.KIND_STRING or kind == table.KIND_BYTES:
            if kind == table.KIND_STRING and is_text(lead):
                size = take_text(&self._plain)
            elif kind == table.KIND_BYTES and plain_input.BIN8 <= lead < plain_input.EXT8:
                size = take_size(&self._plain, 1, 1 << (lead - plain_input.BIN8))
                need(&self._plain, size)
            else:
                raise misfit(field, "str" if kind == table.KIND_STRING else "bytes", lead)
            self._copy(size)
            return size == 0
        if kind == table.KIND_DOUBLE:
            return self._double(field)
        if kind == table.KIND_FLOAT:
            return self._float(field)
        if kind == table.KIND_BOOL:
            if lead != plain_input.FALSE and lead != plain_input.TRUE:
                raise misfit(field, "bool", lead)
            self._plain.place += 1
            put_byte(out, lead == plain_input.TRUE)
            return lead == plain_input.FALSE
        return self._enum(field) if field.values != NULL else self._integer(field)

    cdef bint _enum(self, const FieldTable* field) except -1:
        cdef int at
        for at in range(field.value_count):
            if self._takes(&field.values[at].plain):
                put_varint(out, <uint64_t><int64_t>field.values[at].number)
                return field.values[at].number == 0
        raise misfit(field, "a member of the enum", <uint8_t>peek(&self._plain))

    cdef bint _integer(self, const FieldTable* field) except -1:
        cdef uint8_t lead = <uint8_t>peek(&self._plain)
        cdef bint is_negative = False
        cdef uint64_t value = 0
        if not is_integer(lead):
            raise misfit(field, table.kind_name(field.kind), lead)
        take_integer(&self._plain, &value, &is_negative)
        if value > field.most if not is_negative else <int64_t>value < field.least:
            raise beyond(field, value, is_negative, table.kind_name(field.kind))
        if field.wire_type == WIRE_VARINT:
            # Zigzag: the lowest bit is the sign.
            put_varint(out, value << 1 ^ (<uint64_t>0 - (value >> 63)) if field.is_zigzag else value)
        elif field.wire_type == WIRE_EIGHT_BYTES:
            store64(out.reserve(8), value)
        else:
            store32(out.reserve(4), <uint32_t>value)
        return value == 0

    cdef double _number(self, const FieldTable* field) except? -1:
        """Skip a float or an integer, and return it."""
        cdef uint8_t lead = <uint8_t>peek(&self._plain)
        cdef double value = 0
        if not is_integer(lead) and lead != plain_input.FLOAT32 and lead != plain_input.FLOAT64:
            raise misfit(field, table.kind_name(field.kind), lead)
        take_number(&self._plain, &value)
        return value

    cdef bint _double(self, const FieldTable* field) except -1:
        cdef double value = self._number(field)
        cdef uint64_t bits
        memcpy(&bits, &value, 8)
        store64(out.reserve(8), bits)
        return bits == 0

    cdef bint _float(self, const FieldTable* field) except -1:
        cdef double value = self._number(field)
        cdef float narrow = <float>value
        cdef uint32_t bits
        if isinf(narrow) and not isinf(value):
            raise refused(field, f"{value!r} is beyond float, ±3.4028235e+38")
        memcpy(&bits, &narrow, 4)
        store32(out.reserve(4), bits)
        return bits == 0
