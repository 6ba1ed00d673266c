from cpython.pythread cimport PyThread_type_lock
from libc.stdint cimport uint64_t

from fastrpc._core.io.socket_io cimport iovec


cdef class BlockingIO:
    cdef:
        # The descriptor of the socket below all layers, for polls; -1 once it is closed.
        readonly int descriptor

        # The text of the error if an errno alone does not explain it; else None.
        readonly object failure

    # These return a size, 0 at the end of the stream, or -errno: -EAGAIN if they would block. They do not need the GIL.
    cdef Py_ssize_t receive(self, char* place, Py_ssize_t room) noexcept nogil
    cdef Py_ssize_t send(self, const char* data, Py_ssize_t size) noexcept nogil
    cdef Py_ssize_t send_parts(self, iovec* parts, int count) noexcept nogil

    # These wait until `due_ns` at most; they may also return TIMED_OUT, INTERRUPTED or WRITABLE.
    cdef Py_ssize_t receive_until(
        self, char* place, Py_ssize_t room, bint fill, bint push, uint64_t due_ns, uint64_t spin_ns
    ) noexcept nogil
    cdef int wait(self, short events, uint64_t due_ns) noexcept nogil

    # Bytes that `send` accepted and that have not reached the socket.
    cdef Py_ssize_t unsent(self) noexcept

    # `close` is called when no other method runs.
    cdef int shut_down(self, int how) except -1
    cpdef object close(self)


cdef class SocketIO(BlockingIO):
    cdef:
        # Owns the descriptor.
        readonly object socket


cdef class LayeredIO(BlockingIO):
    cdef:
        # The I/O that carries the bytes, owned. `part_bytes`: how many bytes are processed before the first of them are
        # sent.
        readonly BlockingIO below
        Py_ssize_t part_bytes

        # The lock is held with the GIL while bytes are processed, never while a thread waits for the socket. `_holder`
        # is the thread that holds it, 0 if no thread does.
        PyThread_type_lock _lock
        unsigned long _holder

        # Whether bytes can be read without the socket.
        bint has_more

        # Processed bytes from `_left_at` on, which the layer below has not accepted yet. `_owes`: the caller's last
        # byte is among them but was reported as unsent, so that the caller calls again; then this byte is skipped.
        bytes _left
        Py_ssize_t _left_at
        bint _owes

    cdef int rest_on(self, BlockingIO below, Py_ssize_t part_bytes) except -1

    # A layer implements these.
    cdef Py_ssize_t take_in(self, char* place, Py_ssize_t room) except? -1
    cdef int work_on(self, const char* data, Py_ssize_t size) except -1
    cdef bytes worked(self)
    cdef object explained(self, object error)
    cdef int look(self) except -1

    cdef bint enter(self) noexcept
    cdef int leave(self) noexcept
    cdef Py_ssize_t fail(self, object error) noexcept
    cdef Py_ssize_t flush(self) except? -1
    cdef Py_ssize_t _send(self, const char* data, Py_ssize_t size) except? -1
