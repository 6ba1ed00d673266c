"""Convert the bytes of a message to plain values in msgpack.

A message is scanned once: for each field a `Run` notes where its values are. Then the values are written in the order
of the schema, since a map or an array begins with its length, and the values of a list must be adjacent. Fields may
arrive in any order, in parts and repeatedly; a repeated message is merged from its parts.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Realloc
from libc.stdio cimport snprintf
from libc.string cimport memcpy, memset

cimport fastrpc._core.protobuf.message as table
from fastrpc._core.base.buffer cimport WriteBuffer
from fastrpc._core.base.protobuf_wire cimport (
    LONGEST_SIZE,
    LONGEST_VARINT,
    WIRE_BYTES,
    WIRE_EIGHT_BYTES,
    WIRE_FOUR_BYTES,
    WIRE_VARINT,
    count_varints,
    load_tag,
    load_varint,
    skip_value,
)
from fastrpc._core.base.wire cimport load32, load64
from fastrpc._core.payload.arguments cimport refusal
from fastrpc._core.payload.prescan cimport PRESCAN_DEEPEST
from fastrpc._core.protobuf.message cimport label_of, position_of
from fastrpc._core.protobuf.plain_output cimport (
    put_array_head,
    put_bin,
    put_byte,
    put_copy,
    put_double,
    put_int,
    put_map_head,
    put_text,
    put_timestamp,
    put_whole,
)

from fastrpc.errors import DecodeError
from fastrpc.status import Status

cdef enum:
    FIRST_RUNS = 64
    # Msgpack bytes: an array of one value, nil, false.
    ONE_ITEM = 0x91
    NIL = 0xC0
    FALSE = 0xC2
    NANOS = 1_000_000_000
    NANOS_OF_MICROSECOND = 1_000

# The maximum of google/protobuf/duration.proto: 10,000 years.
cdef int64_t LONGEST_SECONDS = 315_576_000_000
# Whole numbers up to this one are exact as floats, so each of them represents an int.
cdef double MOST_EXACT = 9007199254740992.0


# While a payload is read: the plain value so far, and the runs of all messages under way. Each payload is read without
# interruption, so all decoders share these objects. A thread may be interrupted while it raises an error, but then it
# no longer needs them.
cdef WriteBuffer out = WriteBuffer()
cdef Run* runs = NULL
cdef int32_t run_capacity = 0


cdef object malformed():
    return DecodeError("malformed protobuf")


@cython.final
cdef class MessageDecoder:
    def __cinit__(self, MessageSchema root not None, *, int depth, Py_ssize_t items, bint in_row=False):
        self.root = root
        self.in_row = in_row
        self._deepest = min(depth, <int>PRESCAN_DEEPEST)
        self._most_items = items

    def __call__(self, payload):
        return self.read(payload)

    cdef bytes read(self, object payload):
        cdef Py_buffer view
        if PyBytes_CheckExact(payload):
            return self._read(<const uint8_t*>PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload))
        # The view keeps the payload in place until it is released.
        PyObject_GetBuffer(payload, &view, PyBUF_SIMPLE)
        try:
            return self._read(<const uint8_t*>view.buf, view.len)
        finally:
            PyBuffer_Release(&view)

    cdef bytes _read(self, const uint8_t* data, Py_ssize_t size):
        global runs, run_capacity
        self._depth = 0
        self._items = 0
        out.clear()
        # Index 0 belongs to no field: it means that no run follows.
        self._run_count = 1
        try:
            if self.in_row:
                self._open(1)
                put_byte(out, ONE_ITEM)
            self._message(&self.root.table, data, data + size)
            return out.take()
        finally:
            out.clear()
            if run_capacity > FIRST_RUNS:
                PyMem_Free(runs)
                runs = NULL
                run_capacity = 0

    cdef int _reserve_runs(self, int count) except -1:
        """Append `count` empty runs."""
        global runs, run_capacity
        cdef Run* grown
        cdef int32_t capacity = max(run_capacity, <int32_t>FIRST_RUNS)
        while capacity < self._run_count + count:
            capacity *= 2
        if capacity != run_capacity:
            grown = <Run*>PyMem_Realloc(runs, capacity * sizeof(Run))
            if grown == NULL:
                raise MemoryError
            runs = grown
            run_capacity = capacity
        memset(&runs[self._run_count], 0, count * sizeof(Run))
        self._run_count += count
        return 0

    cdef int _message(self, const MessageTable* message, const uint8_t* start, const uint8_t* end) except -1:
        """Write a message that is in one piece."""
        cdef int32_t base = self._run_count
        self._reserve_runs(message.count)
        self._scan(message, base, start, end)
        self._emit(message, base)
        self._run_count = base
        return 0

    cdef int _merged(self, const MessageTable* message, Run run) except -1:
        """Write a message that is merged from the parts in its runs."""
        cdef int32_t base = self._run_count
        cdef const uint8_t* place
        cdef uint32_t tag = 0
        cdef uint64_t size = 0
        self._reserve_runs(message.count)
        while True:
            place = run.start
            while True:
                # The scan of the outer message has checked that the parts are complete.
                place = load_varint(place, run.end, LONGEST_SIZE, &size)
                self._scan(message, base, place, place + size)
                place += size
                if place >= run.end:
                    break
                place = load_tag(place, run.end, &tag)
            if run.next == 0:
                break
            run = runs[run.next]
        self._emit(message, base)
        self._run_count = base
        return 0

    # The scan

    cdef int _scan(self, const MessageTable* message, int32_t base, const uint8_t* start, const uint8_t* end) except -1:
        """Note where the values of each field are."""
        cdef const uint8_t* place = start
        cdef const uint8_t* behind_tag
        cdef const FieldTable* field
        cdef Run* run
        cdef uint32_t tag
        cdef int at, guess = 0
        while place < end:
            tag = place[0]
            behind_tag = place + 1
            if tag >= 0x80 or tag < 8:
                behind_tag = load_tag(place, end, &tag)
                if behind_tag == NULL:
                    raise malformed()
            at = guess
            if at >= message.count or message.fields[at].number != tag >> 3:
                at = position_of(message, tag >> 3)
            start = place
            place = skip_value(behind_tag, end, tag)
            if place == NULL:
                raise malformed()
            if at < 0:
                continue
            field, run = &message.fields[at], &runs[base + at]
            if tag & 7 != field.wire_type and not (field.is_packed and tag & 7 == WIRE_BYTES):
                continue
            self._drop_others(message, base, at)
            if field.shape == table.SHAPE_SINGLE:
                guess = at + 1
                if field.kind != table.KIND_MESSAGE:
                    run.start, run.end = behind_tag, place
                    continue
            elif run.end == start and not field.is_packed and not run.last:
                # A further value of the list follows.
                run.end = place
                run.count += 1
                self._count(1)
                continue
            self._note(field, base + at, start, Run(behind_tag, place, 1, 0, 0, tag & 7))
        return 0

    cdef void _drop_others(self, const MessageTable* message, int32_t base, int at) noexcept:
        """Forget all members of a oneof except this one. All fields of a union are in one oneof."""
        cdef int other, oneof = message.fields[at].oneof
        if not oneof and message.form != table.FORM_UNION and message.form != table.FORM_ANY:
            return
        for other in range(message.count):
            if other != at and message.fields[other].oneof == oneof:
                runs[base + other].start = NULL

    cdef int _note(self, const FieldTable* field, int32_t slot, const uint8_t* tag, Run found) except -1:
        """Note values after `tag`: append them to the last run, or begin a new run."""
        cdef Run* run = &runs[slot]
        cdef Run* tail
        if field.is_packed and found.wire_type == WIRE_BYTES:
            found.count = count_packed(field, found.start, found.end)
        self._count(found.count)
        if run.start == NULL:
            run[0] = found
            return 0
        run.count += found.count
        tail = &runs[run.last] if run.last else run
        if tail.end == tag:
            tail.end = found.end
            return 0
        self._reserve_runs(1)
        runs[self._run_count - 1] = found
        run = &runs[slot]
        tail = &runs[run.last] if run.last else run
        tail.next = run.last = self._run_count - 1
        return 0

    cdef int _count(self, Py_ssize_t values) except -1:
        """Count values; refuse a message with too many values."""
        self._items += values
        if self._items > self._most_items:
            raise refusal(
                f"more than {self._most_items} items (Memory.items)",
                "raise Memory.items on the server, or send less at a time",
                Status.RESOURCE_EXHAUSTED,
            )
        return 0

    # The plain value

    cdef int _open(self, Py_ssize_t values) except -1:
        """Begin an array or a map with `values` values, and count these."""
        self._depth += 1
        if self._depth > self._deepest:
            raise DecodeError(
                f"nested deeper than {self._deepest} levels (Limits.depth)", status=Status.INVALID_ARGUMENT
            )
        return self._count(values)

    cdef int _emit(self, const MessageTable* message, int32_t base) except -1:
        """Write the plain value of a scanned message."""
        if message.form == table.FORM_MAP or message.form == table.FORM_ARGUMENTS:
            return self._emit_map(message, base)
        if message.form == table.FORM_ROW:
            return self._emit_row(message, base, message.count)
        if message.form == table.FORM_VALUE:
            return self._emit_field(&message.fields[0], base)
        if message.form == table.FORM_ENTRY:
            self._emit_field(&message.fields[0], base)
            return self._emit_field(&message.fields[1], base + 1)
        if message.form == table.FORM_TIMESTAMP:
            return self._emit_timestamp(message, base)
        if message.form == table.FORM_DURATION:
            return self._emit_duration(message, base)
        if message.form == table.FORM_UNION or message.form == table.FORM_ANY:
            return self._emit_member(message, base)
        return put_byte(out, NIL)

    cdef int _emit_map(self, const MessageTable* message, int32_t base) except -1:
        cdef const FieldTable* field
        cdef int at, pairs = 0, last = 0
        for at in range(message.count):
            if message.fields[at].absent.data != NULL or self._is_there(&message.fields[at], base + at):
                pairs += 1
                last = at + 1
        if message.has_row and pairs == last:
            return self._emit_row(message, base, pairs)
        if message.head.data != NULL:
            pairs += 1
        self._open(2 * pairs)
        put_map_head(out, pairs)
        put_copy(out, message.head.data, message.head.size)
        for at in range(message.count):
            field = &message.fields[at]
            if field.absent.data != NULL or self._is_there(field, base + at):
                put_copy(out, field.key.data, field.key.size)
                self._emit_field(field, base + at)
        self._depth -= 1
        return 0

    cdef int _emit_row(self, const MessageTable* message, int32_t base, int count) except -1:
        """Write the first fields as an array."""
        cdef int at, heads = message.head.data != NULL
        self._open(heads + count)
        put_array_head(out, heads + count)
        put_copy(out, message.head.data, message.head.size)
        for at in range(count):
            self._emit_field(&message.fields[at], base + at)
        self._depth -= 1
        return 0

    cdef int _emit_member(self, const MessageTable* message, int32_t base) except -1:
        cdef int at
        for at in range(message.count):
            if runs[base + at].start != NULL:
                return self._emit_field(&message.fields[at], base + at)
        return put_byte(out, NIL)

    cdef int _emit_timestamp(self, const MessageTable* message, int32_t base) except -1:
        cdef int64_t seconds = self._number(base), nanos = self._number(base + 1)
        if not 0 <= nanos < NANOS:
            raise DecodeError(f"a Timestamp has {nanos} nanoseconds, allowed are 0 to 999,999,999")
        # Python's datetime has microseconds.
        return put_timestamp(out, seconds, <uint32_t>(nanos - nanos % NANOS_OF_MICROSECOND))

    cdef int _emit_duration(self, const MessageTable* message, int32_t base) except -1:
        cdef int64_t seconds = self._number(base), nanos = self._number(base + 1)
        cdef int64_t rest
        cdef char[64] text
        cdef const char* sign = "-" if seconds < 0 or nanos < 0 else ""
        cdef int size
        if not -NANOS < nanos < NANOS or (seconds < 0 < nanos) or (nanos < 0 < seconds):
            raise DecodeError(f"a Duration has {seconds} seconds and {nanos} nanoseconds")
        if not -LONGEST_SECONDS <= seconds <= LONGEST_SECONDS:
            raise DecodeError(f"a Duration has {seconds} seconds, more than 10,000 years")
        rest = (-nanos if nanos < 0 else nanos) // NANOS_OF_MICROSECOND
        size = snprintf(
            text,
            sizeof(text),
            b"%sPT%lld.%06lldS",
            sign,
            <long long>(-seconds if seconds < 0 else seconds),
            <long long>rest,
        )
        return put_text(out, <const uint8_t*>text, size)

    cdef int64_t _number(self, int32_t slot) except? -1:
        """Return the value of a field of google.protobuf.Timestamp or Duration."""
        cdef uint64_t value = 0
        if runs[slot].start != NULL:
            load_varint(runs[slot].start, runs[slot].end, LONGEST_VARINT, &value)
        return <int64_t>value

    cdef bint _is_there(self, const FieldTable* field, int32_t slot) noexcept:
        cdef uint64_t value = 0
        if runs[slot].start == NULL:
            return False
        if not field.zero_is_absent:
            return True
        load_varint(runs[slot].start, runs[slot].end, LONGEST_VARINT, &value)
        return <int32_t>value != 0

    cdef int _emit_field(self, const FieldTable* field, int32_t slot) except -1:
        cdef Run run = runs[slot]
        if field.shape != table.SHAPE_SINGLE:
            self._open(0)
            if field.shape == table.SHAPE_MAP:
                put_map_head(out, run.count)
            else:
                put_array_head(out, run.count)
            if run.start != NULL:
                self._emit_values(field, run)
            self._depth -= 1
            return 0
        if not self._is_there(field, slot):
            if field.absent.data != NULL:
                return put_copy(out, field.absent.data, field.absent.size)
            if field.is_filled:
                return self._message(field.message, NULL, NULL)
            return put_byte(out, NIL)
        if field.kind == table.KIND_MESSAGE:
            return self._merged(field.message, run)
        self._emit_scalar(field, run.start, run.end)
        return 0

    cdef int _emit_values(self, const FieldTable* field, Run run) except -1:
        """Write all values of a list or a map."""
        cdef const uint8_t* place
        cdef const uint8_t* stop
        cdef uint32_t tag = 0
        cdef uint64_t size = 0
        while True:
            place = run.start
            while True:
                # The scan has checked that all of them are complete.
                if field.is_packed and run.wire_type == WIRE_BYTES:
                    place = load_varint(place, run.end, LONGEST_SIZE, &size)
                    stop = place + size
                    while place < stop:
                        place = self._emit_scalar(field, place, stop)
                elif field.kind == table.KIND_MESSAGE:
                    place = load_varint(place, run.end, LONGEST_SIZE, &size)
                    self._message(field.message, place, place + size)
                    place += size
                else:
                    place = self._emit_scalar(field, place, run.end)
                if place >= run.end:
                    break
                place = load_tag(place, run.end, &tag)
                run.wire_type = tag & 7
            if run.next == 0:
                return 0
            run = runs[run.next]

    cdef const uint8_t* _emit_scalar(
        self, const FieldTable* field, const uint8_t* place, const uint8_t* end
    ) except NULL:
        """Write one value, and return its end."""
        cdef uint64_t value = 0
        if field.wire_type == WIRE_BYTES:
            place = load_varint(place, end, LONGEST_SIZE, &value)
            if field.kind == table.KIND_STRING:
                put_text(out, place, <Py_ssize_t>value)
            else:
                put_bin(out, place, <Py_ssize_t>value)
            return place + value
        if field.wire_type == WIRE_VARINT:
            place = load_varint(place, end, LONGEST_VARINT, &value)
            if place == NULL:
                raise malformed()
            self._emit_varint(field, value)
            return place
        if field.wire_type == WIRE_FOUR_BYTES:
            self._emit_four_bytes(field, load32(<const char*>place))
            return place + 4
        value = load64(<const char*>place)
        if field.kind == table.KIND_SFIXED64:
            put_int(out, <int64_t>value)
        elif field.kind == table.KIND_FIXED64:
            put_whole(out, value)
        else:
            self._emit_double(field.kind, value)
        return place + 8

    cdef int _emit_varint(self, const FieldTable* field, uint64_t value) except -1:
        cdef int at
        if field.kind == table.KIND_BOOL or field.kind == table.KIND_NULL:
            return put_byte(out, FALSE + (value != 0) if field.kind == table.KIND_BOOL else NIL)
        if field.is_narrow:
            value = <uint32_t>value if field.is_zigzag or not field.least else <uint64_t><int64_t><int32_t>value
        if field.is_zigzag:
            value = value >> 1 ^ (<uint64_t>0 - (value & 1))
        if field.values == NULL:
            return put_int(out, <int64_t>value) if field.least else put_whole(out, value)
        for at in range(field.value_count):
            if field.values[at].number == <int64_t>value:
                return put_copy(out, field.values[at].plain.data, field.values[at].plain.size)
        raise DecodeError(f"{label_of(field)}: no member of the enum has the number {<int64_t>value}")

    cdef int _emit_four_bytes(self, const FieldTable* field, uint32_t value) except -1:
        cdef float narrow
        cdef double wide
        cdef uint64_t bits
        if field.kind != table.KIND_FLOAT:
            return put_int(out, <int32_t>value if field.least else <int64_t>value)
        memcpy(&narrow, &value, 4)
        wide = narrow
        memcpy(&bits, &wide, 8)
        return put_double(out, bits)

    cdef int _emit_double(self, uint8_t kind, uint64_t bits) except -1:
        cdef double value
        if kind == table.KIND_NUMBER:
            memcpy(&value, &bits, 8)
            if -MOST_EXACT <= value <= MOST_EXACT and value == <double><int64_t>value and (value or not bits):
                return put_int(out, <int64_t>value)
        return put_double(out, bits)


cdef Py_ssize_t count_packed(const FieldTable* field, const uint8_t* place, const uint8_t* end) except -1:
    """Return the number of values in a packed field."""
    cdef uint64_t size = 0
    cdef int width
    place = load_varint(place, end, LONGEST_SIZE, &size)
    if field.wire_type == WIRE_VARINT:
        if size and (end - 1)[0] & 0x80:
            raise malformed()
        return count_varints(place, <Py_ssize_t>size)
    width = 8 if field.wire_type == WIRE_EIGHT_BYTES else 4
    if size % width:
        raise malformed()
    return <Py_ssize_t>size // width
