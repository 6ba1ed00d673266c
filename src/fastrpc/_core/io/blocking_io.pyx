"""The input and output of a blocking client's connection.

::

    BlockingIO            the interface; by itself it is closed
      SocketIO            a socket, each method one system call or a loop of them
      LayeredIO           a layer over another BlockingIO, which processes the bytes
        TLSBlockingIO     TLS (`tls_blocking_io`)
        RpcxBlockingIO    another protocol (`rpcx/layers`)

Only this module knows which layers lie between a connection and its socket.

A layer processes bytes with the GIL and a lock, since its objects, such as an SSL object, are not thread-safe. The lock
is never held while a thread waits for the socket, so one thread can send while another one waits.
"""

import os

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.pythread cimport (
    NOWAIT_LOCK,
    WAIT_LOCK,
    PyThread_acquire_lock,
    PyThread_allocate_lock,
    PyThread_free_lock,
    PyThread_release_lock,
)
from libc.errno cimport EAGAIN, EBADF, ECONNRESET

from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.io.socket_io cimport (
    POLLIN,
    POLLOUT,
    TIMED_OUT,
    WRITABLE,
    receive_now,
    receive_until as receive_until_due,
    send_bytes,
    send_now,
    wait_until,
)

from fastrpc.errors import FastRPCError

cdef extern from "pythread.h":
    unsigned long PyThread_get_thread_ident()

cdef extern from "Python.h":
    int PyThreadState_SetAsyncExc(unsigned long thread, object kind)


cdef class BlockingIO:
    """The input and output of a blocking connection."""

    def __cinit__(self, *arguments):
        self.descriptor = -1

    cdef Py_ssize_t receive(self, char* place, Py_ssize_t room) noexcept nogil:
        """Receive the bytes that have arrived, up to `room` of them."""
        return -EBADF

    cdef Py_ssize_t send(self, const char* data, Py_ssize_t size) noexcept nogil:
        """Send as many bytes as the system accepts without blocking."""
        return -EBADF

    cdef Py_ssize_t send_parts(self, iovec* parts, int count) noexcept nogil:
        """Send several pieces in order, as many bytes as the system accepts without blocking."""
        return -EBADF

    cdef Py_ssize_t receive_until(
        self, char* place, Py_ssize_t room, bint fill, bint push, uint64_t due_ns, uint64_t spin_ns
    ) noexcept nogil:
        """Receive once. With `fill` receive until `room` is used up; with `push` return as soon as something can be
        sent.

        For `spin_ns` nanoseconds poll without sleeping.
        """
        return -EBADF

    cdef int wait(self, short events, uint64_t due_ns) noexcept nogil:
        """Wait for events of poll(2), and return the events that came."""
        return -EBADF

    cdef Py_ssize_t unsent(self) noexcept:
        """Return how many bytes `send` took that are not in the socket yet."""
        return 0

    cdef int shut_down(self, int how) except -1:
        """Shut down one direction or both, as `socket.shutdown` does. Threads that wait here wake up.

        Raises: OSError: the peer has already ended the connection.
        """
        return 0

    cpdef object close(self):
        self.descriptor = -1


@cython.final
cdef class SocketIO(BlockingIO):
    """The bytes of a socket, unchanged."""

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
        # `close` of the socket module: close(2) without shutdown(2).
        self.descriptor = -1
        self.socket.close()


cdef class LayeredIO(BlockingIO):
    """A layer that processes bytes before they are sent and after they are received, in one thread at a time."""

    def __cinit__(self, *arguments):
        self._left = b""
        self._lock = PyThread_allocate_lock()
        if self._lock is NULL:
            raise MemoryError

    def __dealloc__(self):
        if self._lock is not NULL:
            PyThread_free_lock(self._lock)

    cdef int rest_on(self, BlockingIO below, Py_ssize_t part_bytes) except -1:
        """Set the I/O that carries the bytes, owned, and the number of bytes to process before the first are sent."""
        self.below = below
        self.descriptor = below.descriptor
        self.part_bytes = part_bytes
        return 0

    # A layer implements these, called with the GIL and the lock

    cdef Py_ssize_t take_in(self, char* place, Py_ssize_t room) except? -1:
        """Receive from the layer below and process the bytes; return the same values as `receive`."""
        return -EBADF

    cdef int work_on(self, const char* data, Py_ssize_t size) except -1:
        """Process bytes to send."""
        return 0

    cdef bytes worked(self):
        """Return the processed bytes that can be sent, and forget them."""
        return b""

    cdef object explained(self, object error):
        """Return an error with a text that says why the stream broke."""
        return ConnectionResetError(str(error))

    cdef int look(self) except -1:
        """Note in `has_more` whether threads without the GIL can read more."""
        return 0

    # The lock, and errors that end the stream

    cdef bint enter(self) noexcept:
        """Acquire the lock. False: this thread holds it and runs a finalizer or a signal handler."""
        cdef unsigned long thread = PyThread_get_thread_ident()
        if not PyThread_acquire_lock(self._lock, NOWAIT_LOCK):
            if self._holder == thread:
                return False
            # The caller keeps `self` alive.
            with nogil:
                PyThread_acquire_lock(self._lock, WAIT_LOCK)
        self._holder = thread
        return True

    cdef int leave(self) noexcept:
        self._holder = 0
        PyThread_release_lock(self._lock)
        return 0

    cdef Py_ssize_t fail(self, object error) noexcept:
        """Note why the stream broke. An exception of a signal handler is raised once the thread runs Python."""
        if self.failure is None:
            try:
                self.failure = self.explained(error)
            except Exception:
                self.failure = ConnectionResetError(ECONNRESET, os.strerror(ECONNRESET))
        if not isinstance(error, (OSError, ValueError, MemoryError, FastRPCError)):
            PyThreadState_SetAsyncExc(PyThread_get_thread_ident(), type(error))
        return -ECONNRESET

    # Receiving

    cdef Py_ssize_t receive(self, char* place, Py_ssize_t room) noexcept nogil:
        cdef Py_ssize_t came
        with gil:
            if not self.enter():
                return -EAGAIN
            try:
                came = self.take_in(place, room)
                self.look()
            except BaseException as error:
                came = self.fail(error)
            finally:
                self.leave()
            return came

    cdef Py_ssize_t receive_until(
        self, char* place, Py_ssize_t room, bint fill, bint push, uint64_t due_ns, uint64_t spin_ns
    ) noexcept nogil:
        cdef Py_ssize_t received = 0, came
        cdef uint64_t spin_until = now_ns() + spin_ns if spin_ns else 0
        cdef short events = POLLIN | POLLOUT if push else POLLIN
        cdef bint is_inside = False
        cdef int ready
        while True:
            ready = TIMED_OUT
            while spin_until and ready == TIMED_OUT:
                ready = self.wait(POLLIN, 0)
                if now_ns() >= spin_until:
                    spin_until = 0
            if ready == TIMED_OUT:
                ready = self.below.wait(events, due_ns) if is_inside else self.wait(events, due_ns)
            if ready < 0:
                return received or ready
            if not ready & ~POLLOUT:
                return received or WRITABLE
            came = self.receive(place + received, room - received)
            if came > 0:
                received += came
                if not fill or received == room:
                    return received
            elif came != -EAGAIN:
                # The next call meets the end, or the error, again.
                return received or came
            # -EAGAIN while `has_more` is set: this thread is already in the layer, in an outer call.
            is_inside = self.has_more

    # Sending

    cdef Py_ssize_t send(self, const char* data, Py_ssize_t size) noexcept nogil:
        cdef Py_ssize_t sent
        with gil:
            if not self.enter():
                return -EAGAIN
            try:
                sent = self._send(data, size)
                self.look()
            except BaseException as error:
                sent = self.fail(error)
            finally:
                self.leave()
            return sent

    cdef Py_ssize_t _send(self, const char* data, Py_ssize_t size) except? -1:
        """Process bytes and send them; return the number of bytes that were processed."""
        cdef Py_ssize_t done = 0, flushed = self.flush()
        if flushed < 0:
            return flushed
        if self._owes:
            self._owes = False
            done = 1
        size = min(size, self.part_bytes)
        if done < size:
            self.work_on(data + done, size - done)
        flushed = self.flush()
        if flushed == -EAGAIN:
            # All is processed, but a part is not sent yet: the caller has to call again.
            self._owes = True
            return size - 1 if size > 1 else -EAGAIN
        return flushed if flushed < 0 else size

    cdef Py_ssize_t flush(self) except? -1:
        """Send processed bytes; return -EAGAIN if not all were accepted."""
        cdef Py_ssize_t sent
        while True:
            if self._left_at == PyBytes_GET_SIZE(self._left):
                self._left, self._left_at = self.worked(), 0
                if not PyBytes_GET_SIZE(self._left):
                    return 0
            sent = self.below.send(
                PyBytes_AS_STRING(self._left) + self._left_at, PyBytes_GET_SIZE(self._left) - self._left_at
            )
            if sent < 0:
                self.failure = self.failure or self.below.failure
                return sent
            self._left_at += sent

    cdef Py_ssize_t unsent(self) noexcept:
        return PyBytes_GET_SIZE(self._left) - self._left_at + (0 if self.below is None else self.below.unsent())

    # Waiting and the end

    cdef int wait(self, short events, uint64_t due_ns) noexcept nogil:
        return POLLIN if events & POLLIN and self.has_more else self.below.wait(events, due_ns)

    cdef int shut_down(self, int how) except -1:
        return self.below.shut_down(how)

    cpdef object close(self):
        # close(2) without shutdown(2): after a fork the parent continues to use the connection.
        self.descriptor = -1
        if self.below is not None:
            self.below.close()
