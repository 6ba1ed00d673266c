from libc.stdint cimport uint32_t, uint64_t

from fastrpc._core.base.buffer cimport WriteBuffer
from fastrpc._core.wire.frame cimport Frame, WireProtocol

# `begins_with_magic` returns whether bytes begin a preface; `stranger_of` describes a peer whose bytes do not;
# `version_problem` returns the fault of a preface, or None.
cdef bint begins_with_magic(const char* data, Py_ssize_t size) noexcept
cdef str stranger_of(bytes first, bint is_client)
cdef str version_problem(const char* data, bint is_client)


cdef class NativeProtocol(WireProtocol):
    cdef Py_ssize_t parse(self, const char* data, Py_ssize_t size, Frame* frame) noexcept nogil
    cdef bint finds_timeout(self, const char* data, Py_ssize_t size, uint64_t* timeout_us) noexcept nogil
    cdef int write(self, WriteBuffer out, const Frame* frame) except -1
    cdef Py_ssize_t head_size(self, const Frame* frame) noexcept nogil
    cdef int write_answer(
        self, WriteBuffer out, uint64_t id, int codec, int compressor, uint32_t elapsed_us, bytes metadata, bytes payload
    ) except -1
    cdef int _check_header(self, Frame* frame) noexcept nogil
    cdef int _check_rare(self, Frame* frame, bint sent_by_opener) noexcept nogil
