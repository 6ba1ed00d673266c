"""Convert the bytes of a message to plain values in msgpack."""

cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from fastrpc._core.protobuf.message cimport FieldTable, MessageSchema, MessageTable


# Consecutive values of one field, with its tag before each but the first.
cdef struct Run:
    const uint8_t* start
    const uint8_t* end
    # In the first run: the number of values in all runs of the field.
    Py_ssize_t count
    # `next`: the index of the field's next run, 0: there is no further run. `last`, in the first run: the index of the
    # last one.
    int32_t next
    int32_t last
    # The wire type of the first value.
    uint32_t wire_type


@cython.final
cdef class MessageDecoder:
    cdef:
        # The schema of the whole message. `in_row`: its plain value is the only item of an array, as the only argument
        # of a method.
        readonly MessageSchema root
        readonly bint in_row

        # Limits of the plain value: the depth of its containers (`_deepest`), and the number of its values
        # (`_most_items`).
        int _deepest
        Py_ssize_t _most_items

        # While a payload is read: the number of runs of all messages under way. Each message begins with one run for
        # each of its fields.
        int32_t _run_count
        # The number of containers around the present value.
        int _depth
        # The number of values so far.
        Py_ssize_t _items

    cdef bytes read(self, object payload)
    cdef bytes _read(self, const uint8_t* data, Py_ssize_t size)
    cdef int _reserve_runs(self, int count) except -1
    cdef int _message(self, const MessageTable* message, const uint8_t* start, const uint8_t* end) except -1
    cdef int _merged(self, const MessageTable* message, Run run) except -1
    cdef int _scan(
        self, const MessageTable* message, int32_t base, const uint8_t* start, const uint8_t* end
    ) except -1
    cdef void _drop_others(self, const MessageTable* message, int32_t base, int at) noexcept
    cdef int _note(self, const FieldTable* field, int32_t slot, const uint8_t* tag, Run found) except -1
    cdef int _count(self, Py_ssize_t values) except -1
    cdef int _open(self, Py_ssize_t values) except -1
    cdef int _emit(self, const MessageTable* message, int32_t base) except -1
    cdef int _emit_map(self, const MessageTable* message, int32_t base) except -1
    cdef int _emit_row(self, const MessageTable* message, int32_t base, int count) except -1
    cdef int _emit_member(self, const MessageTable* message, int32_t base) except -1
    cdef int _emit_timestamp(self, const MessageTable* message, int32_t base) except -1
    cdef int _emit_duration(self, const MessageTable* message, int32_t base) except -1
    cdef int64_t _number(self, int32_t slot) except? -1
    cdef bint _is_there(self, const FieldTable* field, int32_t slot) noexcept
    cdef int _emit_field(self, const FieldTable* field, int32_t slot) except -1
    cdef int _emit_values(self, const FieldTable* field, Run run) except -1
    cdef const uint8_t* _emit_scalar(
        self, const FieldTable* field, const uint8_t* place, const uint8_t* end
    ) except NULL
    cdef int _emit_varint(self, const FieldTable* field, uint64_t value) except -1
    cdef int _emit_four_bytes(self, const FieldTable* field, uint32_t value) except -1
    cdef int _emit_double(self, uint8_t kind, uint64_t bits) except -1
