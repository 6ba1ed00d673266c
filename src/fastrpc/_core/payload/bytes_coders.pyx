"""The coders of msgpack payloads that are one `bytes` value.

A large value, or its payload, goes into pooled memory: fresh memory costs a page fault for each 4 KiB, which takes
longer than the copy. `make promises ARGS=files` shows the gain.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t
from libc.string cimport memcpy

from fastrpc._core.base.block_pool cimport SMALLEST_BLOCK, copied, new_block

cdef enum:
    # https://github.com/msgpack/msgpack/blob/master/spec.md
    BIN8 = 0xC4
    BIN16 = 0xC5
    BIN32 = 0xC6


@cython.final
cdef class BytesDecoder:
    def __init__(self, otherwise not None):
        self.otherwise = otherwise

    def __call__(self, payload):
        cdef const unsigned char* data
        cdef Py_ssize_t size, width, length = 0, at
        if PyBytes_CheckExact(payload):
            data = <const unsigned char*>PyBytes_AS_STRING(payload)
            size = PyBytes_GET_SIZE(payload)
            # The end of a bytes object is a zero that may be read: an empty payload has a first byte.
            width = 1 if data[0] == BIN8 else 2 if data[0] == BIN16 else 4 if data[0] == BIN32 else 0
            if width and size > width:
                for at in range(1, width + 1):
                    length = length << 8 | data[at]
                if length == size - 1 - width:
                    return copied(<const char*>data + 1 + width, length)
        # Another type, another length, or more bytes after it: the other decoder reports the error.
        return self.otherwise(payload)


@cython.final
cdef class BytesEncoder:
    def __init__(self, otherwise not None):
        self.otherwise = otherwise

    def __call__(self, value):
        cdef bytes payload
        cdef char* data
        cdef Py_ssize_t size, width, at
        if not PyBytes_CheckExact(value) or not SMALLEST_BLOCK <= PyBytes_GET_SIZE(value) <= <uint32_t>0xFFFFFFFF:
            return self.otherwise(value)
        size = PyBytes_GET_SIZE(value)
        width = 2 if size <= 0xFFFF else 4
        payload = new_block(1 + width + size)
        data = PyBytes_AS_STRING(payload)
        data[0] = <char>(BIN16 if width == 2 else BIN32)
        for at in range(width):
            data[1 + at] = <char>(size >> 8 * (width - 1 - at) & 0xFF)
        memcpy(data + 1 + width, PyBytes_AS_STRING(value), size)
        return payload
