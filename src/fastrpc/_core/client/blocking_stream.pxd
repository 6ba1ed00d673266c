cimport cython
from cpython.pythread cimport PyThread_release_lock, PyThread_type_lock
from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.base.buffer cimport ReadBuffer
from fastrpc._core.client.blocking_wait cimport Wait
from fastrpc._core.client.caller_view cimport fork_generation
from fastrpc._core.io.blocking_io cimport BlockingIO
from fastrpc._core.io.engine cimport ByteStream, Engine


cdef class StreamEvents:
    # The stream holds this object, and calls it under the guard. The object has no pointer to the stream or the
    # session: the pointer would dangle once one of them is freed.
    cdef int became_ready(self) except -1
    cdef int left_behind(self) except -1
    cdef int output_left(self, BlockingStream stream) except -1
    cdef int finished(self, BlockingStream stream, str why) except -1
    cdef int lost(self, BlockingStream stream, object error) except -1


@cython.final
cdef class BlockingStream(ByteStream):
    # Fields are read and written under the guard. Exceptions: `guard`, `holder` and `generation`, by which a thread
    # gets the guard; `is_left_behind`, read under the GIL; and during a system call the memory that the thread was
    # given: the receiver's place, the parts of the thread that sends.
    cdef:
        # `engine`: the protocol, which the stream holds and which borrows the stream. `events`: the events of the
        # session's threads. Both are never None.
        Engine engine
        StreamEvents events

        # `io`: the input and output. `system_calls`: the number of threads in a system call on it; the stream is closed
        # when the connection has ended and this number is 0. `endpoint`: the peer's address for logs.
        BlockingIO io
        Py_ssize_t system_calls
        object endpoint

        # `is_lost`: whether the stream ended by itself; `is_shut`: whether nothing can be written any more.
        bint is_lost
        bint is_shut

        # `guard`: the lock of the connection, released during waiting system calls, except briefly in `look`; `holder`:
        # the thread that holds it.
        PyThread_type_lock guard
        unsigned long holder

        # `generation`: the process of the stream, as a count of forks; `is_left_behind`: whether this process is a
        # forked child and the stream its parent's.
        uint64_t generation
        bint is_left_behind

        # The roles; at most one thread has each. `receiver` receives for all threads; `receiver_pushes`: whether it
        # also watches for room to send; `receiver_due_ns`: the end of its wait. `pusher` watches only for room to send.
        # `is_sending`: whether another thread sends, which it may do without the guard.
        Wait receiver
        bint receiver_pushes
        uint64_t receiver_due_ns
        Wait pusher
        bint is_sending
        # The sleeping threads, the longest sleeper first.
        dict sleepers

        # `block`: the block of received bytes, None while it is empty; `tail`: the number of unread bytes in it;
        # `in_body`: whether the last place given out belongs to a long payload.
        ReadBuffer block
        Py_ssize_t tail
        bint in_body

        # Output that the system has not taken. The bytes of the first part before `part_at` are written.
        list parts
        Py_ssize_t part_at
        # The engine has more output.
        bint has_news
        # The total number of bytes that the system took.
        int64_t written
        # The error after which the system takes no more.
        object write_error

        # The next instant at which the engine has to be checked.
        uint64_t look_due_ns

    cdef int open(self, Engine engine, BlockingIO io, object endpoint) except -1

    # The guard. `enter` waits for it, and raises if this thread holds it. `leave_behind` makes a new one.
    cdef int enter(self) except -1
    cdef bint enter_now(self) noexcept
    cdef inline int leave(self) except -1:
        """Release the guard."""
        self.holder = 0
        PyThread_release_lock(self.guard)
        return 0

    cdef int check_signals(self) except -1
    cdef inline int check_process(self) except -1:
        """Leave the stream behind in the child of a fork, if that is not done yet."""
        return 0 if self.generation == fork_generation() else self.leave_behind()

    cdef int leave_behind(self) except -1

    # The guard is held. `look_before`, `wait_outside`, `send_all(False)`, `send_news` and `linger` release it meanwhile.
    cdef bint look_before(self, uint64_t now, uint64_t due_ns) except -1
    cdef bint look(self, Py_ssize_t unread=*) except -1
    cdef char* place_for(self, Py_ssize_t* room) except NULL
    cdef int took_in(self, Py_ssize_t came) except -1
    cdef Py_ssize_t wait_outside(self, char* place, Py_ssize_t room, uint64_t due_ns, uint64_t spin_ns) except? -1
    cdef int return_block(self) except -1
    cdef int send_all(self, bint stays_inside) except -1
    cdef inline int send_news(self) except -1:
        """Send the output of the engine, unless another thread sends: that thread continues with it."""
        return self.send_all(False) if self.has_news and not self.is_sending else 0

    cdef bint wants_pusher(self) noexcept
    cdef int wake_one(self) except -1
    cdef int lose(self, object error) except -1
    cdef int shut(self, int how) except -1
    cdef int wind_up(self, bint lingers) except -1
    cdef int linger(self, uint64_t due_ns) except -1

    # The parts of sending.
