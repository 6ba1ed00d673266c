"""A stream that speaks rpcx below, and the native protocol above: as TLS a `Layer`.

::

    transport ──► buffer_updated ──► RpcxTranslation.receive ──► Session.buffer_updated
    transport ◄── write ◄─────────── RpcxTranslation.send ◄───── Session (write)
"""

import logging

from fastrpc._core.io.session cimport Session

from fastrpc.errors import RemoteProtocolError

logger = logging.getLogger("fastrpc.client")


cdef class RpcxLayer(Layer):
    """rpcx over one connection of a loop."""

    def __init__(self, stream, RpcxTranslation translation not None, loop):
        self.rest_in(loop)
        self._protocol = stream
        self.translation = translation
        self._waiting = b""

    @property
    def engine(self):
        """The connection above."""
        return self._protocol.engine

    # Calls of the transport below

    def connection_made(self, transport):
        """Begin: the connection above opens at once."""
        self.transport = transport
        self._protocol.connection_made(self)
        self.hand_over()

    def buffer_updated(self, Py_ssize_t nbytes):
        """`nbytes` bytes were received."""
        if self._protocol is None:
            return
        try:
            self.translation.receive(self._place[:nbytes])
        except RemoteProtocolError as error:
            logger.warning("closed the connection to %s: %s", self.get_extra_info("peername"), error)
            self._ending = str(error)
            # The answers before it are good.
            self.hand_over()
            self.transport.abort()
            return
        self.hand_over()

    def eof_received(self):
        """The server sends no more."""
        self._ending = self.translation.silence() or self._ending
        return False if self._protocol is None else self._protocol.eof_received()

    def connection_lost(self, exc):
        """The stream below is gone."""
        stream, self._protocol = self._protocol, None
        if stream is not None:
            if isinstance(exc, ConnectionError):
                self._ending = self.translation.silence() or self._ending
            stream.connection_lost(ConnectionResetError(self._ending) if self._ending else exc)

    cdef int hand_over(self) except -1:
        cdef Py_ssize_t size
        if self._is_handing_over:
            # Its output meanwhile may have answers of ours: the loop below takes them.
            return 0
        self._is_handing_over = True
        try:
            while self._protocol is not None and not (self.is_paused or self._is_put_off()):
                if not self._waiting:
                    if not self.translation.up.size:
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
        """Whether the session above takes no more now: where its transport is closing, it asks for no pause."""
        return isinstance(self._protocol, Session) and (<Session>self._protocol).tail.is_put_off

    cdef int hand_over_soon(self) except -1:
        if (self._waiting or self.translation.up.size) and not self._is_handing_over:
            return Layer.hand_over_soon(self)
        return 0

    # Calls of the stream above, as of an `asyncio.Transport`

    def write(self, data):
        """Translate and send."""
        self.translation.send(data)
        self._send()

    def writelines(self, pieces):
        """Translate and send pieces."""
        for piece in pieces:
            self.translation.send(piece)
        self._send()

    cdef int _send(self) except -1:
        if self.translation.down.size and not self.transport.is_closing():
            self.transport.write(self.translation.take_down())
        return self.hand_over_soon()

    def can_write_eof(self):
        """Return False: a server of Go takes the end of our side for the end of the connection."""
        return False

    def is_closing(self):
        return self.transport.is_closing()

    def close(self):
        self.transport.close()

    def abort(self):
        self.transport.abort()
