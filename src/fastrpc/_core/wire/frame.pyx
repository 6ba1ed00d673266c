"""The frame, independent of its encoding, and the interface of a wire protocol."""

from libc.string cimport memset

from fastrpc.errors import LocalProtocolError

TIMEOUT_NONE = <uint64_t>0xFFFFFFFFFFFFFFFF
PUSHBACK_NEVER = <uint32_t>0xFFFFFFFF


cdef class WireProtocol:
    """Encodes and parses frames; one object per connection.

    `parse` returns the number of consumed bytes; 0 if the frame's head is incomplete; HEADER_REFUSED or BODY_REFUSED
    for a violation, which `frame.refused`, `problem`, `found` and `allowed` describe. It sets the header's fields as
    soon as the header is complete, whatever it returns.
    """

    def __cinit__(self):
        self.frame_limit = 262_144

    cdef Py_ssize_t parse(self, const char* data, Py_ssize_t size, Frame* frame) noexcept nogil:
        memset(frame, 0, sizeof(Frame))
        frame.refused = REASON_INTERNAL
        frame.problem = b"this wire protocol cannot parse frames of kind"
        return HEADER_REFUSED

    cdef bint finds_timeout(self, const char* data, Py_ssize_t size, uint64_t* timeout_us) noexcept nogil:
        """Return whether the timeout of an incomplete REQUEST is already among the received bytes."""
        return False

    cdef int write(self, WriteBuffer out, const Frame* frame) except -1:
        raise LocalProtocolError(f"{type(self).__name__} cannot write frames")

    cdef int write_answer(
        self, WriteBuffer out, uint64_t id, int codec, int compressor, uint32_t elapsed_us, bytes metadata, bytes payload
    ) except -1:
        """Append a whole RESPONSE with a value; `metadata` may be None."""
        raise LocalProtocolError(f"{type(self).__name__} cannot write frames")

    cdef Py_ssize_t head_size(self, const Frame* frame) noexcept nogil:
        """Return the number of bytes that `write` puts before the payload, header included."""
        return HEADER_SIZE
