"""The native form of rpcx calls: the metadata of a call, and the frames for the connection above a translation."""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from fastrpc._core.base.buffer cimport WriteBuffer
from fastrpc._core.link.failure cimport Failure
from fastrpc._core.wire.frame cimport Frame
from fastrpc._core.wire.native cimport NativeProtocol


cdef struct Reserved:
    # The entries of a metadata block that the protocol itself uses. `token`: the token or NULL. `timeout_ms`: the
    # milliseconds left, if `has_timeout` is set.
    const char* token
    Py_ssize_t token_size
    bint has_timeout
    int64_t timeout_ms
    # The number of the other entries.
    Py_ssize_t others


# Check the lengths of a metadata block, and find the reserved entries of a request: `__AUTH`, and `__ServerTimeout` if the
# protocol sends deadlines.
cdef int find_reserved(const char* block, Py_ssize_t size, bint states_deadlines, Reserved* found) except -1

# Return the entries of a request in the native form. Raise ValueError for a value that has none; add keys that have none
# to `dropped`.
cdef bytes native_entries(const char* block, Py_ssize_t size, bint states_deadlines, list dropped)

# Return the entries of an answer in the native form. Add the entries that describe an error or are reserved to `told`,
# and keys without a native form to `dropped`.
cdef bytes native_answer(const char* block, Py_ssize_t size, bytes error_key, dict told, list dropped)

# Return native entries as a metadata block of rpcx.
cdef bytes block_of(bytes entries)

# Return one entry of a block.
cdef bytes entry(bytes key, bytes value)

# Return the milliseconds until a retry, 0xFFFFFFFF for no retry, 0 if the text states none.
cdef uint32_t pause_of(object text) except? 0xFFFFFFFE

# Initialize a REQUEST or RESPONSE. The metadata must outlive the frame.
cdef int begin_message(Frame* frame, uint8_t kind, uint64_t id, bytes metadata) noexcept


@cython.final
cdef class UpwardFrames:
    cdef:
        # `out`: the bytes for the connection above; `wire`: the writer of its frames.
        WriteBuffer out
        NativeProtocol wire

        # Limits in bytes that the connection above has for a frame without its header (`frame_bytes`), for the payload
        # of a piece (`piece`), and for the metadata (`most_metadata`).
        Py_ssize_t frame_bytes
        Py_ssize_t piece
        Py_ssize_t most_metadata

        # `credit`: the bytes that the connection above accepts now, 0 before its preface; `held`: the frames that wait
        # for credit, in order.
        int64_t credit
        object held

    cdef int open(self, bytes settings) except -1
    cdef int raise_credit(self, uint32_t size) except -1
    cdef int put_control(self, uint8_t kind, uint8_t flags, bytes body) except -1
    # Send a RESPONSE that fails its call, or any REQUEST or RESPONSE. The bytes that a frame points to are copied.
    cdef int fail(self, uint64_t id, Failure failure, bytes metadata) except -1
    cdef int put_message(self, Frame* frame) except -1


cdef UpwardFrames new_upward(Py_ssize_t frame_bytes)
