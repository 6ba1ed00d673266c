cimport cython
from libc.stdint cimport uint32_t

from fastrpc._core.base.buffer cimport WriteBuffer
from fastrpc._core.http2.violations cimport Violation

cdef enum SettingId:
    # RFC 9113, section 6.5.2; RFC 8441; RFC 9218. Others are ignored.
    SETTING_HEADER_TABLE = 1
    SETTING_PUSH = 2
    SETTING_STREAMS = 3
    SETTING_WINDOW = 4
    SETTING_FRAME = 5
    SETTING_HEADER_LIST = 6
    SETTING_CONNECT = 8
    SETTING_NO_PRIORITIES = 9

cdef enum:
    FIRST_WINDOW = 65_535


cdef class Http2Settings:
    cdef:
        # The values of one side that count now; those without a limit are 2 ** 32 - 1.
        readonly uint32_t header_table_bytes
        readonly uint32_t streams
        readonly uint32_t window_bytes
        readonly uint32_t frame_bytes
        readonly uint32_t header_list_bytes
        readonly bint allows_push
        readonly bint allows_connect

    # Apply the payload of SETTINGS, whose size is a multiple of 6, from a client or a server. -1: a value breaks a rule.
    cdef int apply(self, const char* data, Py_ssize_t size, bint is_of_server, Violation* violation) noexcept
    cdef int _apply_one(self, int id, uint32_t value, bint is_of_server, Violation* violation) noexcept


@cython.final
cdef class OwnSettings:
    cdef:
        # The values that the peer has acknowledged, and payloads that it has not, oldest first.
        readonly Http2Settings acknowledged
        list _sent
        bint _is_server

    # Write SETTINGS with these numbers and values.
    cdef int send(self, WriteBuffer out, dict changes) except -1

    # Apply the oldest SETTINGS that were not acknowledged. -1: there are none.
    cdef int acknowledge(self, Violation* violation) except? -1


# Write the acknowledgement of SETTINGS.
cdef int put_settings_ack(WriteBuffer out) except -1
