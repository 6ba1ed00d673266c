from cpython.pythread cimport PyThread_type_lock
from libc.stdint cimport uint64_t

from fastrpc._core.buffer cimport ReadBuffer
from fastrpc._core.connection cimport Connection
from fastrpc._core.pending_call cimport PendingCall
from fastrpc._core.socket_io cimport iovec


cdef class Wait:
    cdef:
        # How many events are still to come, and after which instant nobody waits for them any more.
        Py_ssize_t missing
        uint64_t deadline_ns
        bint was_late

        # Where the thread sleeps while others work for it: a lock it holds; who wakes it releases the lock and takes
        # it off the sleepers. NULL before the first sleep; `sleepers` is None while it is awake.
        PyThread_type_lock gate
        dict sleepers

    cdef int came(self) except -1
    cdef int wake(self) except -1
    cdef int lie_down(self, dict sleepers) except -1
    cdef int get_up(self, bint is_let_through) except -1

cdef Wait new_wait(Py_ssize_t missing, uint64_t deadline_ns)


cdef class BlockingSession(Connection):
    cdef:
        # The stream below, and where it leads. The descriptor is -1 once it is closed, which happens when the
        # connection is over and no thread is in a system call on it.
        object socket
        int descriptor
        Py_ssize_t system_calls
        readonly object endpoint

        # Whether calls may go out on it, whether the server has shown its settings, and why the stream ended.
        readonly bint is_usable
        readonly bint is_ready
        readonly str lost_because
        bint is_lost
        bint is_shut
        bint lingers

        # Held by whoever touches the connection, never while a system call waits; by whom.
        PyThread_type_lock guard
        unsigned long holder

        # The turns of the threads that wait: who reads for all and whether it watches for room to send as well; who
        # watches only for that; whether one sends outside the guard; who sleeps, the longest first.
        Wait reader
        bint reader_pushes
        Wait pusher
        bint is_sending
        dict sleepers
        # Threads that have a call here, from `start` to the end of `wait`.
        readonly Py_ssize_t users
        # What is waited for apart from answers: the server's settings; that one-way calls are handed over.
        list ready_waits
        list hand_overs

        # Received and not consumed: the first `tail` bytes of the block, which is only ours meanwhile. Whether the
        # last place given out was that of a long payload.
        ReadBuffer block
        Py_ssize_t tail
        bint in_body

        # Output on its way into the system, the first part from `part_at` on; whether there is more in the
        # connection; the last flush of which the system took anything; since when it takes nothing; why it never
        # will again.
        list parts
        Py_ssize_t part_at
        bint has_news
        uint64_t handed_flushes
        uint64_t blocked_ns
        object write_error

        # The rules of life in nanoseconds, 0 = off, and the instants they count from.
        uint64_t handshake_ns
        uint64_t ping_interval_ns
        uint64_t ping_timeout_ns
        uint64_t linger_ns
        uint64_t spin_ns
        uint64_t made_ns
        uint64_t ended_ns
        uint64_t ping_sent_ns

    cdef int enter(self) except -1
    cdef int leave(self) except -1
    cdef bint start(self, PendingCall call, bytes payload) except -1
    cdef int _take_over(self, PendingCall call, bytes payload) except -1
    cdef bint start_many(self, list calls, list payloads) except -1
    cdef bint wait(self, Wait wait) except -1
    cdef bint wait_handed(self, PendingCall call, Wait wait) except -1
    cdef int give_up_all(self, list calls, bint is_overdue) except -1

    # The turns.
    cdef int _read_for_all(self, Wait wait, uint64_t due_ns) except -1
    cdef int _push(self, Wait wait) except -1
    cdef int _sleep(self, Wait wait) except -1
    cdef bint _wants_pusher(self) noexcept
    cdef int _go(self) except -1
    cdef int _settle_down(self) except -1

    # Receiving.
    cdef int _look(self) except -1
    cdef char* _place(self, Py_ssize_t* room) except NULL
    cdef int _received(self, Py_ssize_t came) except -1

    # Sending.
    cdef int _flush(self, bint stays_inside) except -1
    cdef Py_ssize_t _send_outside(self, iovec* vectors, int count) except? -1
    cdef int _sent(self, Py_ssize_t size) except -1
    cdef int _note_handed(self) except -1
    cdef int _cannot_write(self, int number) except -1

    # The checks and the end.
    cdef uint64_t _check(self) except? 0
    cdef uint64_t _check_life(self, uint64_t now) except? 0
    cdef int _lose(self, object error) except -1
    cdef int _end_all(self, str why) except -1
    cdef int _wind_up(self) except -1
    cdef int _shut(self, int how) except -1
    cdef int _linger(self) except -1
