"""A socket whose bytes differ from the bytes of the connection, as with encryption. Only this module knows the mask."""

cimport cython
from libc.errno cimport EAGAIN
from libc.stdint cimport uint64_t
from libc.string cimport memcpy

from fastrpc._core.io.socket_io cimport POLLIN, POLLOUT, WRITABLE, iovec, receive_now, send_bytes, wait_until

cdef enum:
    MASK = 0x5A


cdef void mask(char* data, Py_ssize_t size) noexcept nogil:
    cdef Py_ssize_t index
    for index in range(size):
        data[index] ^= MASK


@cython.final
cdef class MaskedIO(BlockingIO):
    def __init__(self, socket):
        self.socket = socket
        self.descriptor = socket.fileno()

    cdef Py_ssize_t receive(self, char* place, Py_ssize_t room) noexcept nogil:
        cdef Py_ssize_t size
        if self.head == self.tail:
            size = receive_now(self.descriptor, self.ahead, AHEAD_BYTES)
            if size <= 0:
                return size
            mask(self.ahead, size)
            self.head = 0
            self.tail = size
        size = min(room, self.tail - self.head)
        memcpy(place, self.ahead + self.head, size)
        self.head = self.head + size
        return size

    cdef Py_ssize_t receive_until(
        self, char* place, Py_ssize_t room, bint fill, bint push, uint64_t due_ns, uint64_t spin_ns
    ) noexcept nogil:
        cdef Py_ssize_t received = 0, came
        cdef int ready
        while True:
            # First: poll sees only what is still in the socket.
            came = self.receive(place + received, room - received)
            if came > 0:
                received += came
                if not fill or received == room:
                    return received
            elif came != -EAGAIN:
                return received or came
            else:
                ready = wait_until(self.descriptor, POLLIN | POLLOUT if push else POLLIN, due_ns)
                if ready < 0:
                    return received or ready
                if not ready & ~POLLOUT:
                    return received or WRITABLE

    cdef Py_ssize_t send(self, const char* data, Py_ssize_t size) noexcept nogil:
        cdef char[SENT_BYTES] masked
        size = min(size, SENT_BYTES)
        memcpy(masked, data, size)
        mask(masked, size)
        return send_bytes(self.descriptor, masked, size)

    cdef Py_ssize_t send_parts(self, iovec* parts, int count) noexcept nogil:
        cdef int index
        for index in range(count):
            if parts[index].iov_len:
                return self.send(<const char*>parts[index].iov_base, parts[index].iov_len)
        return 0

    cdef int wait(self, short events, uint64_t due_ns) noexcept nogil:
        if events & POLLIN and self.head < self.tail:
            return POLLIN
        return wait_until(self.descriptor, events, due_ns)

    cdef int shut_down(self, int how) except -1:
        self.socket.shutdown(how)
        return 0

    cpdef object close(self):
        self.descriptor = -1
        self.socket.close()
