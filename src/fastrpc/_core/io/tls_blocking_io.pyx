"""TLS below a connection of a blocking client, by Python's `ssl`, in memory.

Every operation of the SSL object is done with the GIL and one lock: `ssl` gives the GIL up while it works, and its
objects are not for two threads at once. The lock is never held while a thread waits for the socket, so one thread sends
while another one polls.
"""

import os
import ssl
import time

cimport cython
from cpython.buffer cimport PyBUF_READ, PyBUF_WRITE
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.errno cimport EAGAIN, ECONNRESET
from libc.stdint cimport uint64_t

from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.io.socket_io cimport POLLIN, POLLOUT, WRITABLE, iovec, receive_now, send_bytes, wait_until

cdef extern from "pythread.h":
    unsigned long PyThread_get_thread_ident()

cdef extern from "Python.h":
    int PyThreadState_SetAsyncExc(unsigned long thread, object kind)

cdef enum:
    AHEAD_BYTES = 65_536
    # Bytes that are encrypted before the first of them leave.
    PART_BYTES = 131_072
    # Pieces that are shorter are copied together, as each piece by itself would make a record of its own.
    JOINED_BYTES = 16_384

cdef object WantRead = ssl.SSLWantReadError


@cython.final
cdef class TLSBlockingIO(LockedIO):
    """The bytes of a socket, decrypted and encrypted."""

    def __init__(self, socket, end):
        self.socket = socket
        self.descriptor = socket.fileno()
        self._end = end
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.ssl_object = end.wrap(self._incoming, self._outgoing)
        # Those of the compiled object: they run no Python code, in which a signal handler could run.
        inner = getattr(self.ssl_object, "_sslobj", self.ssl_object)
        self._read = inner.read
        self._write = inner.write
        self._ahead = bytearray(AHEAD_BYTES)
        # Bytes may have come behind the handshake.
        self._has_more = True

    def __repr__(self):
        return f"<TLSBlockingIO {self.socket!r}>"

    def open(self, timeout):
        """Do the handshake within `timeout` seconds, or None.

        Raises:
            OSError: it failed; the text says why.
        """
        due = None if timeout is None else time.monotonic() + timeout
        try:
            while True:
                try:
                    self.ssl_object.do_handshake()
                    break
                except WantRead:
                    self._exchange(due)
            self._end.check(self.ssl_object)
            self._exchange(due, False)
        except TimeoutError:
            raise TimeoutError("no TLS handshake in time") from None
        except (OSError, ValueError) as error:
            self._tell()
            # An error of the check is returned as it is: it must not become its own cause.
            raise self._end.explain(error, False) from None
        self.socket.settimeout(None)

    def _exchange(self, due, bint receives=True):
        """Send what the handshake has made, and wait for more of the peer's."""
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
        """Send the alert that says why, as far as the system takes it."""
        data = self._outgoing.read()
        if data:
            send_bytes(self.descriptor, <bytes>data, len(data))

    cdef Py_ssize_t _broken(self, object error) noexcept:
        """Note why the stream is broken; an exception of a signal handler is raised once this thread is back in Python."""
        if self.failure is None:
            try:
                self.failure = self._end.explain(error, True)
            except Exception:
                self.failure = ConnectionResetError(ECONNRESET, os.strerror(ECONNRESET))
        if not isinstance(error, (OSError, ValueError, MemoryError)):
            PyThreadState_SetAsyncExc(PyThread_get_thread_ident(), type(error))
        return -ECONNRESET

    # Receiving

    cdef Py_ssize_t receive(self, char* place, Py_ssize_t room) noexcept nogil:
        cdef Py_ssize_t came
        with gil:
            if not self.enter():
                return -EAGAIN
            try:
                came = self._receive(place, room)
            except BaseException as error:
                came = self._broken(error)
            finally:
                self.leave()
            return came

    cdef Py_ssize_t _receive(self, char* place, Py_ssize_t room) except? -1:
        cdef Py_ssize_t came
        cdef char* ahead = self._ahead
        while True:
            if self._has_more and not self._has_said_end:
                came = self._decrypt(place, room)
                if came != -EAGAIN:
                    return came
            came = receive_now(self.descriptor, ahead, AHEAD_BYTES)
            if came < 0:
                return came
            if self._has_said_end:
                # Whoever said the end discards what still comes.
                return min(came, room)
            if came == 0:
                self._incoming.write_eof()
            else:
                self._incoming.write(PyMemoryView_FromMemory(ahead, came, PyBUF_READ))
            self._has_more = True

    cdef Py_ssize_t _decrypt(self, char* place, Py_ssize_t room) except? -1:
        """Decrypt as much as there is or fits; 0 after close_notify, -EAGAIN where more is needed."""
        cdef Py_ssize_t filled = 0, size
        try:
            while filled < room:
                size = self._read(room - filled, PyMemoryView_FromMemory(place + filled, room - filled, PyBUF_WRITE))
                if size == 0:
                    return filled
                filled += size
                if filled < room and not self._incoming.pending:
                    # Saves the exception that says so.
                    self._has_more = False
                    return filled
        except WantRead:
            self._has_more = False
            if self._outgoing.pending:
                # An answer of TLS itself, such as new keys.
                self._flush()
        except ssl.SSLZeroReturnError:
            return filled
        except (OSError, ValueError) as error:
            if not filled:
                return self._broken(error)
        return filled or -EAGAIN

    cdef Py_ssize_t receive_until(
        self, char* place, Py_ssize_t room, bint fill, bint push, uint64_t due_ns, uint64_t spin_ns
    ) noexcept nogil:
        cdef Py_ssize_t received = 0, came
        cdef uint64_t spin_until = 0
        cdef int ready
        # To sleep first saves a look in the common case, where the answer takes longer than the way back to here.
        cdef bint is_asleep = not self._has_more and not spin_ns
        while True:
            if is_asleep:
                ready = wait_until(self.descriptor, POLLIN | POLLOUT if push else POLLIN, due_ns)
                if ready < 0:
                    return received or ready
                if not ready & ~POLLOUT:
                    return received or WRITABLE
            came = self.receive(place + received, room - received)
            if came > 0:
                received += came
                if not fill or received == room:
                    return received
                is_asleep = False
                spin_ns = 0
            elif came != -EAGAIN:
                # The end, or an error, shows itself again to the next call.
                return received or came
            elif spin_ns:
                if not spin_until:
                    spin_until = now_ns() + spin_ns
                while wait_until(self.descriptor, POLLIN, 0) <= 0 and now_ns() < spin_until:
                    pass
                spin_ns = 0
                is_asleep = True
            else:
                is_asleep = True

    # Sending

    cdef Py_ssize_t send(self, const char* data, Py_ssize_t size) noexcept nogil:
        cdef Py_ssize_t sent
        with gil:
            if not self.enter():
                return -EAGAIN
            try:
                sent = self._send(data, size)
            except BaseException as error:
                sent = self._broken(error)
            finally:
                self.leave()
            return sent

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
                return self._broken(error)

    cdef Py_ssize_t _send(self, const char* data, Py_ssize_t size) except? -1:
        """Encrypt and send; return how many bytes the caller need not bring again."""
        cdef Py_ssize_t done = 0, flushed = self._flush()
        if flushed < 0:
            return flushed
        if self._owes:
            self._owes = False
            done = 1
        size = min(size, PART_BYTES)
        while done < size:
            # One record at a time.
            done += <Py_ssize_t>self._write(PyMemoryView_FromMemory(<char*>data + done, size - done, PyBUF_READ))
        flushed = self._flush()
        if flushed == -EAGAIN:
            # All is encrypted, but part of it is still here: the caller has to come again.
            self._owes = True
            return done - 1 if done > 1 else -EAGAIN
        return flushed if flushed < 0 else done

    cdef Py_ssize_t _flush(self) except? -1:
        """Give what is encrypted to the system; -EAGAIN where it does not take all of it."""
        cdef Py_ssize_t sent, size
        while True:
            if self._left is None:
                if not self._outgoing.pending:
                    return 0
                self._left = self._outgoing.read()
                self._left_at = 0
            size = len(self._left) - self._left_at
            sent = send_bytes(self.descriptor, <const char*>self._left + self._left_at, size)
            if sent < 0:
                return sent
            self._left_at += sent
            if sent < size:
                return -EAGAIN
            self._left = None

    # Waiting and the end

    cdef int wait(self, short events, uint64_t due_ns) noexcept nogil:
        if events & POLLIN and self._has_more:
            return POLLIN
        return wait_until(self.descriptor, events, due_ns)

    cdef int shut_down(self, int how) except -1:
        if self.enter():
            try:
                self._say_end()
            finally:
                self.leave()
        self.socket.shutdown(how)
        return 0

    cdef int _say_end(self) except -1:
        """Say close_notify, unless bytes before it are stuck: then the peer sees a stream that was cut."""
        if self._has_said_end or self.failure is not None or self._flush() < 0:
            return 0
        self._has_said_end = True
        # It is discarded from now on; `unwrap` would take it for an attack.
        self._incoming.read()
        try:
            self.ssl_object.unwrap()
        except (OSError, ValueError):
            # The peer's close_notify has not come yet, or other bytes did.
            self._flush()
            return 0
        self._flush()
        return 0

    cpdef object close(self):
        # close(2) and nothing else: after a fork the parent goes on using the connection.
        self.descriptor = -1
        self.socket.close()
