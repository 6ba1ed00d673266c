"""Native frames that are made here, not received: those of the connection above a translation.

A connection that sends native frames has its queue and its credit for them (`native/send_queue`). The other side of a
translated connection exists only as these bytes.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint16_t
from libc.string cimport memcpy

from fastrpc._core.base.wire cimport store16, store32, store64
from fastrpc._core.wire.frame cimport HEADER_SIZE, MESSAGE_LIMIT


cdef void put_header(char* at, uint8_t kind, uint8_t flags, int codec, int compressor, uint64_t id, uint32_t size) noexcept:
    store32(at, size)
    at[4] = <char>kind
    at[5] = <char>flags
    at[6] = <char>codec
    at[7] = <char>compressor
    store64(at + 8, id)


cdef bytes frame_of(uint8_t kind, uint8_t flags, int codecs, uint64_t id, bytes head, const char* payload, Py_ssize_t size):
    cdef Py_ssize_t head_size = PyBytes_GET_SIZE(head)
    cdef bytes frame = PyBytes_FromStringAndSize(NULL, HEADER_SIZE + head_size + size)
    cdef char* at = PyBytes_AS_STRING(frame)
    put_header(at, kind, flags, codecs & 255, codecs >> 8, id, <uint32_t>(head_size + size))
    memcpy(at + HEADER_SIZE, PyBytes_AS_STRING(head), head_size)
    if size:
        memcpy(at + HEADER_SIZE + head_size, payload, size)
    return frame


cdef bytes answer_head(int status, str text, bytes metadata, bint has_run, uint32_t pause_ms):
    cdef bytes message = text.encode("utf-8", "replace")
    cdef bytes head
    cdef char* at
    if PyBytes_GET_SIZE(message) > MESSAGE_LIMIT:
        message = message[:MESSAGE_LIMIT - 3].decode("utf-8", "ignore").encode() + "…".encode()
    head = PyBytes_FromStringAndSize(NULL, RESPONSE_HEAD)
    at = PyBytes_AS_STRING(head)
    at[0] = HEAD_WORDS
    at[1] = 0 if has_run else 1
    store16(at + 2, <uint16_t>status)
    store16(at + 4, <uint16_t>PyBytes_GET_SIZE(message))
    store16(at + 6, <uint16_t>PyBytes_GET_SIZE(metadata))
    store32(at + 8, pause_ms)
    store32(at + 12, 0)
    return head + message + metadata if message or metadata else head
