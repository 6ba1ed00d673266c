"""The native forms of rpcx: the metadata of a call, and the frames of the connection above a translation."""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from fastrpc._core.base.buffer cimport WriteBuffer
from fastrpc._core.link.failure cimport Failure
from fastrpc._core.wire.frame cimport Frame
from fastrpc._core.wire.native cimport NativeProtocol


cdef struct Reserved:
    # Entries of a block for the protocol itself: the token or NULL, and the milliseconds left.
    const char* token
    Py_ssize_t token_size
    bint has_timeout
    int64_t timeout_ms
    # The number of the other entries.
    Py_ssize_t others


# Check the lengths of a block, and find the entries of a request that are reserved: `__AUTH`, and `__ServerTimeout` if the
# protocol states deadlines.
cdef int find_reserved(const char* block, Py_ssize_t size, bint states_deadlines, Reserved* found) except -1

# Return the entries of a request in the native form; ValueError for a value without a native form. Keys without a
# native form are added to `dropped`.
cdef bytes native_entries(const char* block, Py_ssize_t size, bint states_deadlines, list dropped)

# Return the entries of an answer in the native form; the entries of errors are added to `told`.
cdef bytes native_answer(const char* block, Py_ssize_t size, bytes error_key, dict told, list dropped)

# Return native entries as a block.
cdef bytes block_of(bytes entries)

# Return one entry of a block.
cdef bytes entry(bytes key, bytes value)

# Return the milliseconds until a retry, all ones: no retry, 0: not stated.
cdef uint32_t pause_of(object text) except? 0xFFFFFFFE

# Begin a REQUEST or RESPONSE, with metadata that outlives the frame.
cdef int begin_message(Frame* frame, uint8_t kind, uint64_t id, bytes metadata) noexcept


@cython.final
cdef class UpwardFrames:
    cdef:
        # The bytes for the connection above, and the rules of their frames.
        WriteBuffer out
        NativeProtocol wire

        # The most bytes of a frame that it accepts, without its header; of a piece's payload and of the metadata in
        # such a frame.
        Py_ssize_t frame_bytes
        Py_ssize_t piece
        Py_ssize_t most_metadata

        # The bytes that it accepts at present, 0 before its preface; the frames that wait for more credit, in order.
        int64_t credit
        object held

    cdef int open(self, bytes settings) except -1
    cdef int raise_credit(self, uint32_t size) except -1
    cdef int put_control(self, uint8_t kind, uint8_t flags, bytes body) except -1
    # Send a RESPONSE that fails its call, or any REQUEST or RESPONSE; what the frame points to is not kept.
    cdef int fail(self, uint64_t id, Failure failure, bytes metadata) except -1
    cdef int put_message(self, Frame* frame) except -1


cdef UpwardFrames new_upward(Py_ssize_t frame_bytes)
