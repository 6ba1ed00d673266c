"""rpcx below a connection of a blocking client, as `RpcxLayer` is below one of a loop.

::

    socket ──► receive ──► RpcxTranslation.receive ──► BlockingSession
    socket ◄── send ◄───── RpcxTranslation.send ◄───── BlockingSession

The translation works with the GIL and the lock. Neither is held while a thread waits for the socket: so one thread sends
while another one waits.

A thread that waits cannot be woken by what another one sends, and what it sends may be credit for which answers wait here.
So it looks every 10 ms while there are such answers. Whatever else comes without the server has time until its next byte.
"""

import os

cimport cython
from cpython.buffer cimport PyBUF_READ
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.errno cimport EAGAIN, ECONNRESET
from libc.stdint cimport uint64_t
from libc.string cimport memcpy

from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.io.socket_io cimport POLLIN, POLLOUT, TIMED_OUT, WRITABLE, iovec

from fastrpc.errors import RemoteProtocolError

cdef extern from "pythread.h":
    unsigned long PyThread_get_thread_ident()

cdef extern from "Python.h":
    int PyThreadState_SetAsyncExc(unsigned long thread, object kind)

cdef enum:
    READ_BYTES = 65_536
    # Bytes that are translated before the first of them leave.
    PART_BYTES = 1_048_576

# How often a waiting thread looks whether another one sent credit.
cdef uint64_t CREDIT_LOOK_NS = 10_000_000


@cython.final
cdef class RpcxBlockingIO(LockedIO):
    """The bytes of a native connection, which lie below as rpcx."""

    def __init__(self, BlockingIO below not None, RpcxTranslation translation not None):
        self.below = below
        self.descriptor = below.descriptor
        self.translation = translation
        self._block = bytearray(READ_BYTES)
        self._up = self._down = b""

    def __repr__(self):
        return f"<RpcxBlockingIO over {self.below!r}>"

    cdef Py_ssize_t _break(self, object error) noexcept:
        """Note why the stream is broken; an exception of a signal handler is raised once this thread is back in Python."""
        if self.failure is None:
            try:
                self.failure = ConnectionResetError(str(error))
            except Exception:
                self.failure = ConnectionResetError(ECONNRESET, os.strerror(ECONNRESET))
        if not isinstance(error, Exception):
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
                self._look()
            except BaseException as error:
                came = self._break(error)
            finally:
                self.leave()
            return came

    cdef Py_ssize_t _receive(self, char* place, Py_ssize_t room) except? -1:
        cdef Py_ssize_t came
        cdef char* block = self._block
        while True:
            came = self._hand_over(place, room)
            if came:
                return came
            if self._is_broken:
                return -ECONNRESET
            came = self.below.receive(block, READ_BYTES)
            if came <= 0:
                self.failure = self.below.failure
                if came == 0 or came == -ECONNRESET:
                    silence = self.translation.silence()
                    return came if silence is None else self._break(ConnectionResetError(silence))
                return came
            try:
                self.translation.receive(PyMemoryView_FromMemory(block, came, PyBUF_READ))
            except RemoteProtocolError as error:
                # The answers before it are good.
                self._is_broken = True
                self._break(error)

    cdef Py_ssize_t _hand_over(self, char* place, Py_ssize_t room) except? -1:
        """Give out what was translated; return how many bytes that is."""
        cdef Py_ssize_t size
        if self._up_at == PyBytes_GET_SIZE(self._up):
            self._up = self.translation.take_up()
            self._up_at = 0
        size = min(room, PyBytes_GET_SIZE(self._up) - self._up_at)
        memcpy(place, PyBytes_AS_STRING(self._up) + self._up_at, size)
        self._up_at += size
        return size

    cdef int _look(self) except -1:
        """Note what can be received without the socket, for threads without the GIL."""
        self._has_more = (
            self.translation.up.size > 0 or self._up_at < PyBytes_GET_SIZE(self._up) or self._is_broken
        )
        self._waits_for_credit = bool(self.translation.held)
        return 0

    cdef Py_ssize_t receive_until(
        self, char* place, Py_ssize_t room, bint fill, bint push, uint64_t due_ns, uint64_t spin_ns
    ) noexcept nogil:
        cdef Py_ssize_t received = 0, came
        cdef uint64_t spin_until = now_ns() + spin_ns if spin_ns else 0
        cdef int ready
        while True:
            if not self._has_more:
                ready = TIMED_OUT
                while spin_until and ready == TIMED_OUT:
                    ready = self.below.wait(POLLIN, 0)
                    if now_ns() >= spin_until:
                        spin_until = 0
                if ready == TIMED_OUT:
                    ready = self.wait(POLLIN | POLLOUT if push else POLLIN, due_ns)
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
                # The end, or an error, shows itself again to the next call.
                return received or came

    # Sending

    cdef Py_ssize_t send(self, const char* data, Py_ssize_t size) noexcept nogil:
        cdef Py_ssize_t sent
        with gil:
            if not self.enter():
                return -EAGAIN
            try:
                sent = self._send(data, size)
                self._look()
            except BaseException as error:
                sent = self._break(error)
            finally:
                self.leave()
            return sent

    cdef Py_ssize_t send_parts(self, iovec* parts, int count) noexcept nogil:
        cdef Py_ssize_t sent = 0, came
        cdef int index
        for index in range(count):
            came = self.send(<const char*>parts[index].iov_base, parts[index].iov_len) if parts[index].iov_len else 0
            if came < 0:
                return sent or came
            sent += came
            if came < <Py_ssize_t>parts[index].iov_len:
                break
        return sent

    cdef Py_ssize_t _send(self, const char* data, Py_ssize_t size) except? -1:
        """Translate and send; return how many bytes the caller need not bring again."""
        cdef Py_ssize_t done = 0, flushed = self._flush()
        if flushed < 0:
            return flushed
        if self._owes:
            self._owes = False
            done = 1
        size = min(size, PART_BYTES)
        if done < size:
            self.translation.send(PyMemoryView_FromMemory(<char*>data + done, size - done, PyBUF_READ))
        flushed = self._flush()
        if flushed == -EAGAIN:
            # All is translated, but part of it is still here: the caller has to come again.
            self._owes = True
            return size - 1 if size > 1 else -EAGAIN
        return flushed if flushed < 0 else size

    cdef Py_ssize_t _flush(self) except? -1:
        """Give what is translated to the system; -EAGAIN where it does not take all of it."""
        cdef Py_ssize_t sent
        while True:
            if self._down_at == PyBytes_GET_SIZE(self._down):
                if not self.translation.down.size:
                    return 0
                self._down = self.translation.take_down()
                self._down_at = 0
            sent = self.below.send(
                PyBytes_AS_STRING(self._down) + self._down_at, PyBytes_GET_SIZE(self._down) - self._down_at
            )
            if sent < 0:
                self.failure = self.failure or self.below.failure
                return sent
            self._down_at += sent
            if self._down_at == PyBytes_GET_SIZE(self._down):
                self._down, self._down_at = b"", 0

    # Waiting and the end

    cdef int wait(self, short events, uint64_t due_ns) noexcept nogil:
        cdef uint64_t until
        cdef int ready
        while True:
            if events & POLLIN and self._has_more:
                return POLLIN
            until = due_ns
            if self._waits_for_credit:
                until = min(due_ns, now_ns() + CREDIT_LOOK_NS)
            ready = self.below.wait(events, until)
            if ready != TIMED_OUT or until >= due_ns:
                return ready

    cdef int shut_down(self, int how) except -1:
        return self.below.shut_down(how)

    cpdef object close(self):
        self.descriptor = -1
        self.below.close()
