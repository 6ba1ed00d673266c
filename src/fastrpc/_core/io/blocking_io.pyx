"""What a connection of a blocking client reads and writes.

::

    BlockingIO          the interface; by itself it is closed
      SocketIO          a socket, each method one system call or a loop of them
      TLSBlockingIO     a socket with TLS (`tls_blocking_io`)

Only here it is known what lies between the bytes of a connection and those of its socket.
"""

cimport cython
from libc.errno cimport EBADF

from fastrpc._core.io.socket_io cimport (
    receive_now,
    receive_until as receive_until_due,
    send_bytes,
    send_now,
    wait_until,
)


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
