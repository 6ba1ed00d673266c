"""A stream that speaks rpcx below, and the native protocol above: as `TLSLayer`, a protocol and a transport.

::

    transport ──► buffer_updated ──► RpcxTranslation.receive ──► Session.buffer_updated
    transport ◄── write ◄─────────── RpcxTranslation.send ◄───── Session (write)

The session above does not notice it.
"""

import logging

from fastrpc._core.loop.loop_state cimport loop_state

from fastrpc.errors import RemoteProtocolError

logger = logging.getLogger("fastrpc.client")


cdef class RpcxLayer:
    """rpcx over one connection of a loop."""

    def __init__(self, stream, RpcxTranslation translation not None, loop):
        self.stream = stream
        self.translation = translation
        self.loop_state = loop_state(loop)
        self._place = self.loop_state.whole_view[:65536]
        self._waiting = b""

    @property
    def engine(self):
        """The connection above."""
        return self.stream.engine

    # What the transport below calls

    def connection_made(self, transport):
        """Begin: the connection above opens at once."""
        self.transport = transport
        self.stream.connection_made(self)
        self._hand_over()

    def get_buffer(self, Py_ssize_t sizehint):
        """Where the transport is to receive: the loop's shared buffer, which is copied from at once."""
        return self._place

    def buffer_updated(self, Py_ssize_t nbytes):
        """`nbytes` bytes were received."""
        if self.stream is None:
            return
        try:
            self.translation.receive(self._place[:nbytes])
        except RemoteProtocolError as error:
            logger.warning("closed the connection to %s: %s", self.get_extra_info("peername"), error)
            self._ending = str(error)
            # The answers before it are good.
            self._hand_over()
            self.transport.abort()
            return
        self._hand_over()

    def eof_received(self):
        """The server sends no more."""
        self._ending = self.translation.silence() or self._ending
        return False if self.stream is None else self.stream.eof_received()

    def connection_lost(self, exc):
        """The stream below is gone."""
        stream, self.stream = self.stream, None
        if stream is not None:
            if isinstance(exc, ConnectionError):
                self._ending = self.translation.silence() or self._ending
            stream.connection_lost(ConnectionResetError(self._ending) if self._ending else exc)

    def pause_writing(self):
        if self.stream is not None:
            self.stream.pause_writing()

    def resume_writing(self):
        if self.stream is not None:
            self.stream.resume_writing()

    cdef int _hand_over(self) except -1:
        """Let the stream above receive what was translated for it, as long as it wants any."""
        cdef Py_ssize_t size
        if self._is_handing_over:
            # What it sends meanwhile may have answers of ours: the loop below takes them.
            return 0
        self._is_handing_over = True
        try:
            while self.stream is not None and not self.is_paused:
                if not self._waiting:
                    if not self.translation.up.size:
                        break
                    self._waiting = memoryview(self.translation.take_up())
                view = self.stream.get_buffer(-1)
                size = min(<Py_ssize_t>len(view), <Py_ssize_t>len(self._waiting))
                view[:size] = self._waiting[:size]
                self._waiting = self._waiting[size:]
                self.stream.buffer_updated(size)
        finally:
            self._is_handing_over = False
        return 0

    cdef int _hand_over_soon(self) except -1:
        """Hand over in a turn of its own: the stream above is in the middle of its work."""
        if (self._waiting or self.translation.up.size) and not (self._is_scheduled or self._is_handing_over):
            self._is_scheduled = True
            self.loop_state.call_soon(self._go_on)
        return 0

    def _go_on(self):
        self._is_scheduled = False
        self._hand_over()

    # What the stream above calls, as of an `asyncio.Transport`

    def set_protocol(self, protocol):
        self.stream = protocol

    def get_protocol(self):
        return self.stream

    def get_extra_info(self, str name, default=None):
        return default if self.transport is None else self.transport.get_extra_info(name, default)

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
        return self._hand_over_soon()

    def pause_reading(self):
        self.is_paused = True
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_reading(self):
        if not self.is_paused:
            return
        self.is_paused = False
        if not self.transport.is_closing():
            self.transport.resume_reading()
        self._hand_over_soon()

    def is_reading(self):
        return not self.is_paused and self.transport.is_reading()

    def set_write_buffer_limits(self, high=None, low=None):
        self.transport.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self):
        return self.transport.get_write_buffer_size()

    def get_write_buffer_limits(self):
        return self.transport.get_write_buffer_limits()

    def can_write_eof(self):
        """Return False: a server of Go takes the end of our side for the end of the connection."""
        return False

    def is_closing(self):
        return self.transport.is_closing()

    def close(self):
        self.transport.close()

    def abort(self):
        self.transport.abort()
