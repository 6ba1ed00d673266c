"""rpcx below a connection of a blocking client, as `RpcxLayer` is below one of a loop.

::

    socket ──► receive ──► RpcxTranslation.receive ──► BlockingSession
    socket ◄── send ◄───── RpcxTranslation.send ◄───── BlockingSession

A thread that waits cannot be woken by what another one sends, and what it sends may be credit for which answers wait here.
So it looks every 10 ms while there are such answers. Whatever else comes without the server has time until its next byte.
"""

cimport cython
from cpython.buffer cimport PyBUF_READ
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.errno cimport ECONNRESET
from libc.stdint cimport uint64_t
from libc.string cimport memcpy

from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.io.blocking_io cimport BlockingIO
from fastrpc._core.io.socket_io cimport POLLIN, TIMED_OUT, iovec

from fastrpc.errors import RemoteProtocolError

cdef enum:
    READ_BYTES = 65_536
    # Bytes that are translated before the first of them leave.
    PART_BYTES = 1_048_576

# How often a waiting thread looks whether another one sent credit.
cdef uint64_t CREDIT_LOOK_NS = 10_000_000


@cython.final
cdef class RpcxBlockingIO(LayeredIO):
    """The bytes of a native connection, which lie below as rpcx."""

    def __init__(self, BlockingIO below not None, RpcxTranslation translation not None):
        self.rest_on(below, PART_BYTES)
        self.translation = translation
        self._block = bytearray(READ_BYTES)
        self._up = b""

    def __repr__(self):
        return f"<RpcxBlockingIO over {self.below!r}>"

    cdef Py_ssize_t take_in(self, char* place, Py_ssize_t room) except? -1:
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
                    return came if silence is None else self.fail(ConnectionResetError(silence))
                return came
            try:
                self.translation.receive(PyMemoryView_FromMemory(block, came, PyBUF_READ))
            except RemoteProtocolError as error:
                # The answers before it are good.
                self._is_broken = True
                self.fail(error)

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

    cdef int look(self) except -1:
        self.has_more = (
            self.translation.up.size > 0 or self._up_at < PyBytes_GET_SIZE(self._up) or self._is_broken
        )
        self._waits_for_credit = bool(self.translation.held)
        return 0

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

    cdef int work_on(self, const char* data, Py_ssize_t size) except -1:
        self.translation.send(PyMemoryView_FromMemory(<char*>data, size, PyBUF_READ))
        return 0

    cdef bytes worked(self):
        return self.translation.take_down() if self.translation.down.size else b""

    cdef int wait(self, short events, uint64_t due_ns) noexcept nogil:
        cdef uint64_t until
        cdef int ready
        while True:
            if events & POLLIN and self.has_more:
                return POLLIN
            until = due_ns
            if self._waits_for_credit:
                until = min(due_ns, now_ns() + CREDIT_LOOK_NS)
            ready = self.below.wait(events, until)
            if ready != TIMED_OUT or until >= due_ns:
                return ready
