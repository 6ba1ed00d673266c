from cpython.pythread cimport PyThread_type_lock
from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.base.buffer cimport ReadBuffer
from fastrpc._core.client.blocking_wait cimport Wait
from fastrpc._core.client.caller_view cimport fork_generation
from fastrpc._core.io.blocking_io cimport BlockingIO
from fastrpc._core.io.engine cimport ByteStream, Engine
from fastrpc._core.io.socket_io cimport iovec


cdef class BlockingStream(ByteStream):
    cdef:
        # The protocol: the stream holds it, and the engine borrows the stream.
        readonly Engine engine

        # The input and output, and the peer's address. The stream is closed when the connection has ended and no thread
        # is in a system call on it.
        BlockingIO io
        Py_ssize_t system_calls
        readonly object endpoint

        # Whether the stream ended by itself; whether nothing can be written any more.
        bint is_lost
        bint is_shut

        # The lock of the connection, released during waiting system calls, except briefly in `look`; the thread that
        # holds it.
        PyThread_type_lock guard
        unsigned long holder

        # The process of the stream, as a count of forks; whether this process is a forked child and the stream its parent's.
        uint64_t generation
        readonly bint is_left_behind

        # The thread that receives for all threads, or None.
        Wait receiver
        # A thread sends outside the guard.
        bint is_sending
        # The sleeping threads, the longest sleeper first.
        dict sleepers

        # Received and not consumed: the first `tail` bytes of the block, which is only ours meanwhile. Whether the
        # last place given out belongs to a long payload.
        ReadBuffer block
        Py_ssize_t tail
        bint in_body

        # Output on its way into the system. The bytes of the first part before `part_at` are written.
        list parts
        Py_ssize_t part_at
        # The engine has more output.
        bint has_news
        # The total of bytes that the system took.
        int64_t written
        # The error after which the system takes no more.
        object write_error

    cdef int enter(self) except -1
    cdef bint enter_now(self) noexcept
    cdef int leave(self) except -1
    cdef int check_signals(self) except -1
    cdef inline int check_process(self) except -1:
        """Leave the stream behind in the child of a fork, if that is not done yet."""
        return 0 if self.generation == fork_generation() else self.leave_behind()

    cdef int leave_behind(self) except -1
    cdef bint look_before(self, uint64_t now, uint64_t due_ns) except -1
    cdef bint look(self, Py_ssize_t unread=*) except -1
    cdef char* place_for(self, Py_ssize_t* room) except NULL
    cdef int took_in(self, Py_ssize_t came) except -1
    cdef int return_block(self) except -1
    cdef int send_all(self, bint stays_inside) except -1
    cdef int lose(self, object error) except -1
    cdef int on_lost(self, object error) except -1
    cdef int shut(self, int how) except -1
    cdef int wind_up(self, bint lingers) except -1
    cdef int linger(self, uint64_t due_ns) except -1

    # The parts of sending.
    cdef bint _send_plain(self, Engine engine, Py_ssize_t* sent) except -1
    cdef Py_ssize_t _send_outside(self, iovec* vectors, int count) except? -1
    cdef int _sent(self, Py_ssize_t size) except -1
    cdef int output_left(self) except -1
    cdef int _cannot_write(self, int number) except -1
