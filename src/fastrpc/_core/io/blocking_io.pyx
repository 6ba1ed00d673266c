"""What a connection of a blocking client reads and writes.

::

    BlockingIO            the interface; by itself it is closed
      SocketIO            a socket, each method one system call or a loop of them
      LockedIO            one whose work on the bytes is for one thread at a time
        TLSBlockingIO     a socket with TLS (`tls_blocking_io`)
        RpcxBlockingIO    another protocol over one of these (`rpcx/rpcx_blocking_io`)

Only here it is known what lies between the bytes of a connection and those of its socket.
"""

cimport cython
from cpython.pythread cimport (
    NOWAIT_LOCK,
    WAIT_LOCK,
    PyThread_acquire_lock,
    PyThread_allocate_lock,
    PyThread_free_lock,
    PyThread_release_lock,
)
from libc.errno cimport EBADF

from fastrpc._core.io.socket_io cimport (
    receive_now,
    receive_until as receive_until_due,
    send_bytes,
    send_now,
    wait_until,
)

cdef extern from "pythread.h":
    unsigned long PyThread_get_thread_ident()


cdef class BlockingIO:
    """What a blocking connection reads and writes."""

    def __cinit__(self, *arguments):
        self.descriptor = -1

    cdef Py_ssize_t receive(self, char* place, Py_ssize_t room) noexcept nogil:
        """Receive what is there, up to `room` bytes."""
        return -EBADF

    cdef Py_ssize_t send(self, const char* data, Py_ssize_t size) noexcept nogil:
        """Send as much as is taken at once."""
        return -EBADF

    cdef Py_ssize_t send_parts(self, iovec* parts, int count) noexcept nogil:
        """Send as much as is taken at once, of several pieces one after the other."""
        return -EBADF

    cdef Py_ssize_t receive_until(
        self, char* place, Py_ssize_t room, bint fill, bint push, uint64_t due_ns, uint64_t spin_ns
    ) noexcept nogil:
        """Receive once or, to `fill`, until the room is used up; with `push` return as soon as something can be sent.

        For `spin_ns` it looks again and again before it sleeps.
        """
        return -EBADF

    cdef int wait(self, short events, uint64_t due_ns) noexcept nogil:
        """Wait for events of poll(2), and return those that came."""
        return -EBADF

    cdef int shut_down(self, int how) except -1:
        """End one direction or both, as `socket.shutdown` does; threads that wait here wake up.

        Raises:
            OSError: the peer was faster.
        """
        return 0

    cpdef object close(self):
        self.descriptor = -1


@cython.final
cdef class SocketIO(BlockingIO):
    """The bytes of a socket as they are."""

    def __init__(self, socket):
        self.socket = socket
        self.descriptor = socket.fileno()

    def __repr__(self):
        return f"<SocketIO {self.socket!r}>"

    cdef Py_ssize_t receive(self, char* place, Py_ssize_t room) noexcept nogil:
        return receive_now(self.descriptor, place, room)

    cdef Py_ssize_t send(self, const char* data, Py_ssize_t size) noexcept nogil:
        return send_bytes(self.descriptor, data, size)

    cdef Py_ssize_t send_parts(self, iovec* parts, int count) noexcept nogil:
        return send_now(self.descriptor, parts, count)

    cdef Py_ssize_t receive_until(
        self, char* place, Py_ssize_t room, bint fill, bint push, uint64_t due_ns, uint64_t spin_ns
    ) noexcept nogil:
        return receive_until_due(self.descriptor, place, room, fill, push, due_ns, spin_ns)

    cdef int wait(self, short events, uint64_t due_ns) noexcept nogil:
        return wait_until(self.descriptor, events, due_ns)

    cdef int shut_down(self, int how) except -1:
        self.socket.shutdown(how)
        return 0

    cpdef object close(self):
        # Of the socket module: close(2) and nothing else.
        self.descriptor = -1
        self.socket.close()


cdef class LockedIO(BlockingIO):
    """Bytes that are worked on before they leave and after they came, by one thread at a time."""

    def __cinit__(self, *arguments):
        self._lock = PyThread_allocate_lock()
        if self._lock is NULL:
            raise MemoryError

    def __dealloc__(self):
        if self._lock is not NULL:
            PyThread_free_lock(self._lock)

    cdef bint enter(self) noexcept:
        """Take the lock; False: this thread has it, as a finalizer or a signal handler ran inside."""
        cdef unsigned long thread = PyThread_get_thread_ident()
        if not PyThread_acquire_lock(self._lock, NOWAIT_LOCK):
            if self._holder == thread:
                return False
            # `self` is kept alive by whoever called.
            with nogil:
                PyThread_acquire_lock(self._lock, WAIT_LOCK)
        self._holder = thread
        return True

    cdef int leave(self) noexcept:
        self._holder = 0
        PyThread_release_lock(self._lock)
        return 0
