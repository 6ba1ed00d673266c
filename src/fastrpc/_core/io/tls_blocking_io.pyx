"""TLS below a blocking client's connection, by Python's `ssl`, in memory.

Every operation on the SSL object needs the GIL and the layer's lock: `ssl` releases the GIL while it works, and its
objects are not thread-safe.
"""

import ssl
import time

cimport cython
from cpython.buffer cimport PyBUF_READ, PyBUF_WRITE
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.errno cimport EAGAIN

from fastrpc._core.io.blocking_io cimport SocketIO
from fastrpc._core.io.socket_io cimport iovec, send_bytes

cdef enum:
    AHEAD_BYTES = 65_536
    # The number of bytes that are encrypted before the first of them are sent.
    PART_BYTES = 131_072
    # Shorter pieces are joined: each piece alone would become a record.
    JOINED_BYTES = 16_384

cdef object WantRead = ssl.SSLWantReadError


@cython.final
cdef class TLSBlockingIO(LayeredIO):
    """The bytes of a socket, decrypted and encrypted."""

    def __init__(self, socket, end):
        self.socket = socket
        self.rest_on(SocketIO(socket), PART_BYTES)
        self._end = end
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.ssl_object = end.wrap(self._incoming, self._outgoing)
        # The methods of the compiled object: they run no Python code, so no signal handler can run inside them.
        inner = getattr(self.ssl_object, "_sslobj", self.ssl_object)
        self._read = inner.read
        self._write = inner.write
        self._ahead = bytearray(AHEAD_BYTES)
        # Bytes of the stream may have arrived with the end of the handshake.
        self.has_more = True

    def __repr__(self):
        return f"<TLSBlockingIO {self.socket!r}>"

    def open(self, timeout):
        """Do the handshake within `timeout` seconds, or None.

        Raises:
            OSError: the handshake failed; the text says why.
        """
        due = None if timeout is None else time.monotonic() + timeout
        try:
            while True:
                try:
                    self.ssl_object.do_handshake()
                    break
                except WantRead:
                    self._connection(due)
            self._end.check(self.ssl_object)
            self._connection(due, False)
        except TimeoutError:
            raise TimeoutError("no TLS handshake in time") from None
        except (OSError, ValueError) as error:
            self._tell()
            # An error of the check is raised unchanged: it must not become its own cause.
            raise self._end.explain(error, False, self.ssl_object) from None
        self.socket.settimeout(None)

    def _connection(self, due, bint receives=True):
        """Send the bytes that the handshake produced; if it `receives`, then wait for bytes of the peer."""
        if due is not None:
            left = due - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self.socket.settimeout(left)
        if self._outgoing.pending:
            self.socket.sendall(self._outgoing.read())
        if receives:
            data = self.socket.recv(AHEAD_BYTES)
            if data:
                self._incoming.write(data)
            else:
                self._incoming.write_eof()

    def _tell(self):
        """Send the alert that states the reason, as many bytes as the system accepts."""
        data = self._outgoing.read()
        if data:
            send_bytes(self.descriptor, <bytes>data, len(data))

    # Methods of a layer

    cdef object explained(self, object error):
        return self._end.explain(error, True, self.ssl_object)

    cdef Py_ssize_t take_in(self, char* place, Py_ssize_t room) except? -1:
        cdef Py_ssize_t came
        cdef char* ahead = self._ahead
        while True:
            if self.has_more and not self._has_said_end:
                came = self._decrypt(place, room)
                if came != -EAGAIN:
                    return came
            came = self.below.receive(ahead, AHEAD_BYTES)
            if came < 0:
                return came
            if self._has_said_end:
                # A side that has sent close_notify discards all input.
                return min(came, room)
            if came == 0:
                self._incoming.write_eof()
            else:
                self._incoming.write(PyMemoryView_FromMemory(ahead, came, PyBUF_READ))
            self.has_more = True

    cdef Py_ssize_t _decrypt(self, char* place, Py_ssize_t room) except? -1:
        """Decrypt what is there, up to `room` bytes. Return 0 after close_notify, -EAGAIN if more input is needed."""
        cdef Py_ssize_t filled = 0, size
        try:
            while filled < room:
                size = self._read(room - filled, PyMemoryView_FromMemory(place + filled, room - filled, PyBUF_WRITE))
                if size == 0:
                    return filled
                filled += size
                if filled < room and not self._incoming.pending:
                    # This saves a WantRead exception.
                    self.has_more = False
                    return filled
        except WantRead:
            self.has_more = False
            if self._outgoing.pending:
                # A message of TLS itself, such as new keys.
                self.flush()
        except ssl.SSLZeroReturnError:
            return filled
        except (OSError, ValueError) as error:
            if not filled:
                return self.fail(error)
        return filled or -EAGAIN

    cdef Py_ssize_t send_parts(self, iovec* parts, int count) noexcept nogil:
        cdef Py_ssize_t size, room = PART_BYTES
        cdef int index = 0
        while index < count - 1 and not parts[index].iov_len:
            index += 1
        if index == count - 1 or <Py_ssize_t>parts[index].iov_len >= JOINED_BYTES:
            return self.send(<const char*>parts[index].iov_base, parts[index].iov_len)
        with gil:
            try:
                joined = bytearray()
                while index < count and room > 0:
                    size = min(<Py_ssize_t>parts[index].iov_len, room)
                    joined += PyMemoryView_FromMemory(<char*>parts[index].iov_base, size, PyBUF_READ)
                    room -= size
                    index += 1
                return self.send(<char*>joined, len(joined))
            except BaseException as error:
                return self.fail(error)

    cdef int work_on(self, const char* data, Py_ssize_t size) except -1:
        cdef Py_ssize_t done = 0
        while done < size:
            # One record at a time.
            done += <Py_ssize_t>self._write(PyMemoryView_FromMemory(<char*>data + done, size - done, PyBUF_READ))
        return 0

    cdef bytes worked(self):
        return self._outgoing.read() if self._outgoing.pending else b""

    # The end

    cdef int shut_down(self, int how) except -1:
        if self.enter():
            try:
                self._say_end()
            finally:
                self.leave()
        return self.below.shut_down(how)

    cdef int _say_end(self) except -1:
        """Send close_notify, unless earlier bytes could not be sent; in that case the peer sees a truncated stream."""
        if self._has_said_end or self.failure is not None or self.flush() < 0:
            return 0
        self._has_said_end = True
        # Input is discarded from now on; `unwrap` would treat it as an attack.
        self._incoming.read()
        self.has_more = False
        try:
            self.ssl_object.unwrap()
        except (OSError, ValueError):
            # The peer's close_notify has not arrived yet, or other bytes have.
            self.flush()
            return 0
        self.flush()
        return 0
