"""The settings of a connection (RFC 9113, section 6.5).

The peer's count as soon as they are read; ours count for what it sends once it has acknowledged them, in their order.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t

from fastrpc._core.base.buffer cimport WriteBuffer
from fastrpc._core.http2.big_endian cimport load16_big, load32_big, store16_big, store32_big
from fastrpc._core.http2.frames cimport FLAG_ACK, KIND_SETTINGS, LEAST_FRAME_LIMIT, MOST_FRAME_LIMIT, put_head
from fastrpc._core.http2.hpack_tables cimport FIRST_TABLE_BYTES
from fastrpc._core.http2.violations cimport (
    RULE_CONNECT_SETTING, RULE_FRAME_SETTING, RULE_FRAME_SIZE, RULE_PUSH_SETTING, RULE_UNASKED_ACK, RULE_WINDOW_SETTING,
    violated,
)
from fastrpc._core.wire.window cimport HIGHEST_WINDOW

cdef enum:
    SETTING_BYTES = 6

cdef uint32_t UNLIMITED = 0xFFFFFFFF


cdef class Http2Settings:

    def __cinit__(self):
        self.header_table_bytes = FIRST_TABLE_BYTES
        self.streams = self.header_list_bytes = UNLIMITED
        self.window_bytes = FIRST_WINDOW
        self.frame_bytes = LEAST_FRAME_LIMIT
        self.allows_push = True

    cdef int apply(self, const char* data, Py_ssize_t size, bint is_of_server, Violation* violation) noexcept:
        cdef Py_ssize_t at
        if size % SETTING_BYTES:
            return violated(violation, RULE_FRAME_SIZE, size, size - size % SETTING_BYTES)
        for at in range(0, size, SETTING_BYTES):
            if self._apply_one(load16_big(data + at), load32_big(data + at + 2), is_of_server, violation) < 0:
                return -1
        return 0

    cdef int _apply_one(self, int id, uint32_t value, bint is_of_server, Violation* violation) noexcept:
        if id == SETTING_HEADER_TABLE:
            self.header_table_bytes = value
        elif id == SETTING_PUSH:
            # A server cannot ask a client to push.
            if value > (0 if is_of_server else 1):
                return violated(violation, RULE_PUSH_SETTING, value, 0 if is_of_server else 1)
            self.allows_push = value != 0
        elif id == SETTING_STREAMS:
            self.streams = value
        elif id == SETTING_WINDOW:
            if value > HIGHEST_WINDOW:
                return violated(violation, RULE_WINDOW_SETTING, value, HIGHEST_WINDOW)
            self.window_bytes = value
        elif id == SETTING_FRAME:
            if not LEAST_FRAME_LIMIT <= value <= MOST_FRAME_LIMIT:
                return violated(violation, RULE_FRAME_SETTING, value, MOST_FRAME_LIMIT)
            self.frame_bytes = value
        elif id == SETTING_HEADER_LIST:
            self.header_list_bytes = value
        elif id == SETTING_CONNECT:
            if value > 1 or value == 0 and self.allows_connect:
                return violated(violation, RULE_CONNECT_SETTING, value, 1)
            self.allows_connect = value != 0
        return 0


@cython.final
cdef class OwnSettings:

    def __cinit__(self, bint is_server):
        self.acknowledged = Http2Settings()
        self._sent = []
        self._is_server = is_server

    @property
    def unacknowledged(self):
        return len(self._sent)

    cdef int send(self, WriteBuffer out, dict changes) except -1:
        cdef Py_ssize_t size = SETTING_BYTES * len(changes), start
        cdef char* place
        put_head(out, size, KIND_SETTINGS, 0, 0)
        start = out.size
        for id, value in changes.items():
            place = out.reserve(SETTING_BYTES)
            store16_big(place, id)
            store32_big(place + 2, value)
        self._sent.append(out.data()[start:out.size])
        return 0

    cdef int acknowledge(self, Violation* violation) except? -1:
        cdef bytes payload
        if not self._sent:
            return violated(violation, RULE_UNASKED_ACK)
        payload = self._sent.pop(0)
        return self.acknowledged.apply(PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload), self._is_server, violation)


cdef int put_settings_ack(WriteBuffer out) except -1:
    return put_head(out, 0, KIND_SETTINGS, FLAG_ACK, 0)
