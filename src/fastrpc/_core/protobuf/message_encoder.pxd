"""Convert values, encoded by msgspec, to the bytes of a message."""

cimport cython
from libc.stdint cimport int64_t

from fastrpc._core.protobuf.message cimport FieldTable, MessageSchema, MessageTable, Piece
from fastrpc._core.protobuf.plain_input cimport Plain


@cython.final
cdef class MessageEncoder:
    cdef:
        # The schema of the whole message. `in_row`: its plain value is the only item of an array, as the only argument
        # of a method.
        readonly MessageSchema root
        readonly bint in_row

        # A function that returns the plain value of a value, in msgpack.
        readonly object encode

        # While a value is written: the rest of the plain value, whose bytes `write` keeps alive.
        Plain _plain
        # `_depth`: the number of messages around the present value; `_chosen_count`: the number of their oneofs.
        int _depth
        Py_ssize_t _chosen_count

    cdef bytes write(self, bytes plain)
    cdef Py_ssize_t _array(self, const FieldTable* field) except -1
    cdef Py_ssize_t _map(self, const FieldTable* field) except -1
    cdef int _message(self, const MessageTable* message, const FieldTable* field) except -1
    cdef int _deepen(self, const FieldTable* field) except -1
    cdef int _fields(self, const MessageTable* message, const FieldTable* field) except -1
    cdef int _field_of(self, const FieldTable* field, Py_ssize_t oneofs) except -1
    cdef int _reserve_chosen(self, int count) except -1
    cdef int _position(self, const MessageTable* message, int guess) except -2
    cdef bint _takes(self, const Piece* piece) noexcept
    cdef int _row(self, const MessageTable* message, const FieldTable* field) except -1
    cdef int _member(self, const MessageTable* message, const FieldTable* field) except -1
    cdef int _any(self, const FieldTable* field) except -1
    cdef int _check_exact(self, const FieldTable* field) except -1
    cdef int _any_items(self, const FieldTable* field, bint is_struct) except -1
    cdef int _timestamp(self, const FieldTable* field) except -1
    cdef int _duration(self, const FieldTable* field) except -1
    cdef int _seconds(self, int64_t seconds, int64_t nanos) except -1
    cdef int _field(self, const FieldTable* field) except -1
    cdef int _list(self, const FieldTable* field) except -1
    cdef int _entries(self, const FieldTable* field) except -1
    cdef int _nested(self, const FieldTable* field) except -1
    cdef Py_ssize_t _begin(self) except -1
    cdef int _close(self, Py_ssize_t start) except -1
    cdef int _copy(self, Py_ssize_t size) except -1
    cdef bint _scalar(self, const FieldTable* field) except -1
    cdef bint _enum(self, const FieldTable* field) except -1
    cdef bint _integer(self, const FieldTable* field) except -1
    cdef double _number(self, const FieldTable* field) except? -1
    cdef bint _double(self, const FieldTable* field) except -1
    cdef bint _float(self, const FieldTable* field) except -1
