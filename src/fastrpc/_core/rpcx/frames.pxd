"""The frames of rpcx: their layout, and the protocols that use them.

::

     0  magic    version    flags    serialize type, low nibble
     4  sequence, u64
    12  length of what follows, u32
    16  u32, path    u32, method    u32, metadata    u32, payload          all integers big-endian
"""

cimport cython
from libc.stdint cimport uint8_t, uint64_t

from fastrpc._core.base.buffer cimport WriteBuffer

cdef enum:
    HEADER_BYTES = 16
    LENGTH_BYTES = 4
    # The size of a frame after its header if all four parts are empty: their four lengths.
    LEAST_REST = 16
    # The offsets of the flags and of the length of the rest in a header.
    FLAGS_AT = 2
    REST_AT = 12

cdef enum FrameFlag:
    IS_RESPONSE = 0x80
    IS_HEARTBEAT = 0x40
    IS_ONE_WAY = 0x20
    COMPRESSION_BITS = 0x1C
    STATUS_BITS = 0x03
    STATUS_ERROR = 0x01
    IS_GZIP = 0x04


cdef struct RpcxFrame:
    uint8_t version
    uint8_t flags
    uint8_t kinds
    uint64_t sequence
    # All pointers point into the parsed bytes and are valid as long as these bytes.
    const char* data
    Py_ssize_t size
    const char* path
    Py_ssize_t path_size
    const char* method
    Py_ssize_t method_size
    const char* metadata
    Py_ssize_t metadata_size
    const char* payload
    Py_ssize_t payload_size


# Return the size of the frame at `data`, 0 if its header is incomplete. With a magic of -1 the first byte is not checked.
cdef Py_ssize_t announced_size(const char* data, Py_ssize_t size, int magic) except -1

# Find the parts of a frame of `whole` bytes of which `size` bytes have arrived; the payload only if the frame is complete.
# Return False if path, method or metadata is incomplete.
cdef bint parse_frame(const char* data, Py_ssize_t size, Py_ssize_t whole, RpcxFrame* frame) except -1

# Write a text after its length, and return the position after it.
cdef char* put_text(char* at, const char* text, Py_ssize_t size) noexcept

# Write a frame up to its payload: `head` holds its header, path and method, `entries` its metadata.
cdef int put_head(
    WriteBuffer out, bytes head, uint8_t flags, bytes entries, Py_ssize_t payload_size
) except -1


@cython.final
cdef class Profile:
    cdef:
        # The name of the protocol in configuration and counters.
        readonly str name
        # `magic`: the first byte of each sent frame; `checked_magic`: the required first byte of received frames (-1 =
        # any).
        readonly uint8_t magic
        readonly int checked_magic
        # The metadata key of an error's text.
        readonly bytes error_key
        # The beginnings of texts about unknown names.
        readonly tuple unknown_names

        # `closes_on_refusal`: whether a refused token ends the connection. `compresses`: whether this side may
        # compress.
        readonly bint closes_on_refusal
        readonly bint compresses

        # `states_deadlines`: whether requests have their deadline in metadata. `proves_heartbeats`: whether heartbeats
        # have only the token in metadata.
        readonly bint states_deadlines
        readonly bint proves_heartbeats

        # Whether peers may set the magic, the status and the gzip flag wrongly.
        readonly bint is_loose


# Write the header of a frame with `rest` bytes after it, and return the position after the header.
cdef char* put_header(char* at, Profile profile, uint8_t flags, int serialize, uint64_t sequence, Py_ssize_t rest) noexcept
