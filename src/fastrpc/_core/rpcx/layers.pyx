"""Streams that translate between rpcx below and the native protocol above: a `Layer` of a loop, a blocking `LayeredIO`.

::

    transport ──► buffer_updated ──► RpcxTranslation.receive ──► Session.buffer_updated
    transport ◄── write ◄─────────── RpcxTranslation.send ◄───── Session (write)

    socket ──► receive ──► RpcxTranslation.receive ──► BlockingSession
    socket ◄── send ◄───── RpcxTranslation.send ◄───── BlockingSession

Answers may wait here for credit that another thread sends, and its output cannot wake the waiting thread. So the
waiting thread checks every 10 ms while there are such answers. All other events that are not caused by the server can
wait until the server's next byte.
"""

import logging

cimport cython
from cpython.buffer cimport PyBUF_READ
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.errno cimport ECONNRESET
from libc.stdint cimport uint64_t
from libc.string cimport memcpy

from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.io.blocking_io cimport BlockingIO, LayeredIO
from fastrpc._core.io.layer cimport Layer
from fastrpc._core.io.session cimport Session
from fastrpc._core.io.socket_io cimport POLLIN, TIMED_OUT, iovec
from fastrpc._core.rpcx.translation cimport RpcxTranslation

from fastrpc.errors import RemoteProtocolError

logger = logging.getLogger("fastrpc.client")

cdef enum:
    READ_BYTES = 65_536
    # How many bytes are translated before the first of them is sent.
    PART_BYTES = 1_048_576

# The interval at which a waiting thread checks whether another thread sent credit.
cdef uint64_t CREDIT_LOOK_NS = 10_000_000


cdef class RpcxLayer(Layer):
    """A connection of an event loop that is translated to rpcx."""

    cdef:
        # The translation for the stream above.
        readonly RpcxTranslation translation

        # The reason why the stream below ended, if the transport does not report it.
        str _ending

        # `_waiting`: bytes for which the stream above has no buffer yet; `_is_handing_over`: whether `hand_over` is
        # running.
        object _waiting
        bint _is_handing_over

    def __init__(self, stream, RpcxTranslation translation not None, loop):
        self.rest_in(loop)
        self._protocol = stream
        self.translation = translation
        self._waiting = b""

    @property
    def engine(self):
        """The connection above."""
        return self._protocol.engine

    # Called by the transport below

    def connection_made(self, transport):
        """Start the connection above, which opens immediately."""
        self.transport = transport
        self._protocol.connection_made(self)
        self.hand_over()

    def buffer_updated(self, Py_ssize_t nbytes):
        """Translate `nbytes` received bytes and pass them on."""
        if self._protocol is None:
            return
        try:
            self.translation.receive(self._place[:nbytes])
        except RemoteProtocolError as error:
            logger.warning("closed the connection to %s: %s", self.get_extra_info("peername"), error)
            self._ending = str(error)
            # Answers received before the malformed bytes are valid.
            self.hand_over()
            self.transport.abort()
            return
        self.hand_over()

    def eof_received(self):
        """Handle the end of the server's bytes."""
        self._ending = self.translation.silence() or self._ending
        return False if self._protocol is None else self._protocol.eof_received()

    def connection_lost(self, exc):
        """Handle the loss of the stream below."""
        stream, self._protocol = self._protocol, None
        if stream is not None:
            if isinstance(exc, ConnectionError):
                self._ending = self.translation.silence() or self._ending
            stream.connection_lost(ConnectionResetError(self._ending) if self._ending else exc)

    cdef int hand_over(self) except -1:
        cdef Py_ssize_t size
        if self._is_handing_over:
            # Passing bytes on may cause output and so further answers. The loop of the outer call passes these on.
            return 0
        self._is_handing_over = True
        try:
            while self._protocol is not None and not (self.is_paused or self._is_put_off()):
                if not self._waiting:
                    if not self.translation.above.out.size:
                        break
                    self._waiting = memoryview(self.translation.take_up())
                view = self._protocol.get_buffer(-1)
                size = min(<Py_ssize_t>len(view), <Py_ssize_t>len(self._waiting))
                view[:size] = self._waiting[:size]
                self._waiting = self._waiting[size:]
                self._protocol.buffer_updated(size)
        finally:
            self._is_handing_over = False
        return 0

    cdef bint _is_put_off(self) noexcept:
        """Return whether the session above is paused. While its transport is closing it does not pause reading itself."""
        return isinstance(self._protocol, Session) and (<Session>self._protocol).tail.is_put_off

    cdef int hand_over_soon(self) except -1:
        if (self._waiting or self.translation.above.out.size) and not self._is_handing_over:
            return Layer.hand_over_soon(self)
        return 0

    # Called by the stream above, for which this is an `asyncio.Transport`

    def write(self, data):
        """Translate and send."""
        self.translation.send(data)
        self._send()

    def writelines(self, pieces):
        """Translate and send several pieces of bytes."""
        for piece in pieces:
            self.translation.send(piece)
        self._send()

    cdef int _send(self) except -1:
        if self.translation.down.size and not self.transport.is_closing():
            self.transport.write(self.translation.take_down())
        return self.hand_over_soon()

    def can_write_eof(self):
        """Return False, because for a Go server the end of our side is the end of the connection."""
        return False

    def is_closing(self):
        return self.transport.is_closing()

    def close(self):
        self.transport.close()

    def abort(self):
        self.transport.abort()


@cython.final
cdef class RpcxBlockingIO(LayeredIO):
    """A blocking native connection that is translated to rpcx."""

    cdef:
        # The translation of the connection, used only while its lock is held.
        readonly RpcxTranslation translation

        # The buffer for received bytes of the server.
        bytearray _block

        # `_up`: bytes for the connection above, which has received the bytes before `_up_at`. `_waits_for_credit`:
        # whether more bytes wait for credit that another thread may send.
        bytes _up
        Py_ssize_t _up_at
        bint _waits_for_credit

        # Whether the server sent bytes that are not rpcx. Then only earlier bytes are passed on.
        bint _is_broken

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
                # Answers received before the malformed bytes are valid.
                self._is_broken = True
                self.fail(error)

    cdef Py_ssize_t _hand_over(self, char* place, Py_ssize_t room) except? -1:
        """Pass on the translated bytes; return their number."""
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
            self.translation.above.out.size > 0 or self._up_at < PyBytes_GET_SIZE(self._up) or self._is_broken
        )
        self._waits_for_credit = bool(self.translation.above.held)
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
