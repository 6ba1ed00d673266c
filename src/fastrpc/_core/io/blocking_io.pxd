from cpython.pythread cimport PyThread_type_lock
from libc.stdint cimport uint64_t

from fastrpc._core.io.socket_io cimport iovec


cdef class BlockingIO:
    cdef:
        # What is polled: that of the socket, whatever becomes of its bytes. -1 once it is closed.
        readonly int descriptor

        # The error behind a negative size, in words; None where its number says all.
        readonly object failure

    # A size, 0 at the end of the stream, or -errno; -EAGAIN where it would have to wait. None of them needs the GIL.
    cdef Py_ssize_t receive(self, char* place, Py_ssize_t room) noexcept nogil
    cdef Py_ssize_t send(self, const char* data, Py_ssize_t size) noexcept nogil
    cdef Py_ssize_t send_parts(self, iovec* parts, int count) noexcept nogil

    # These wait, until `due_ns` at the latest; besides the above they return TIMED_OUT, INTERRUPTED or WRITABLE.
    cdef Py_ssize_t receive_until(
        self, char* place, Py_ssize_t room, bint fill, bint push, uint64_t due_ns, uint64_t spin_ns
    ) noexcept nogil
    cdef int wait(self, short events, uint64_t due_ns) noexcept nogil

    # The end. Nobody is in one of the others when it is closed.
    cdef int shut_down(self, int how) except -1
    cpdef object close(self)


cdef class SocketIO(BlockingIO):
    cdef:
        # Owns the descriptor.
        readonly object socket


cdef class LockedIO(BlockingIO):
    cdef:
        # Held with the GIL while the bytes are worked on, never while a thread waits for the socket. `_holder` is the
        # thread that has it, 0 where none has.
        PyThread_type_lock _lock
        unsigned long _holder

    cdef bint enter(self) noexcept
    cdef int leave(self) noexcept
