"""A layer between a transport of a loop and the protocol above it, which works on the bytes.

::

    transport ──► Layer, a protocol to it ──► protocol, such as a session
    transport ◄── Layer, a transport to it ◄─ protocol

Neither of them notices the other's. A layer for connections of a blocking client is a `LayeredIO` (`blocking_io`).
"""

from fastrpc._core.loop.loop_state cimport loop_state

cdef enum:
    PLACE_BYTES = 65_536


cdef class Layer:
    """The two faces of a layer, as far as they are the same for all."""

    cdef int rest_in(self, loop) except -1:
        """Take the loop of the connection."""
        self.loop_state = loop_state(loop)
        self._place = self.loop_state.whole_view[:PLACE_BYTES]
        return 0

    # A layer implements these

    cdef int hand_over(self) except -1:
        """Hand over what waits for the protocol above, as long as that wants any."""
        return 0

    # For layers

    cdef int hand_over_soon(self) except -1:
        """Hand over in a turn of its own: the protocol above is in the middle of its work."""
        if not self._is_scheduled:
            self._is_scheduled = True
            self.loop_state.call_soon(self._go_on)
        return 0

    def _go_on(self):
        self._is_scheduled = False
        self.hand_over()

    # Calls of the transport below

    def get_buffer(self, Py_ssize_t sizehint):
        """Where the transport is to receive: the loop's shared buffer, which is copied from at once."""
        return self._place

    def pause_writing(self):
        if self._protocol is not None:
            self._protocol.pause_writing()

    def resume_writing(self):
        if self._protocol is not None:
            self._protocol.resume_writing()

    # Calls of the protocol above, as of an `asyncio.Transport`

    def set_protocol(self, protocol):
        """Take another protocol above."""
        self._protocol = protocol

    def get_protocol(self):
        return self._protocol

    def get_extra_info(self, str name, default=None):
        """Return what the transport below has."""
        return default if self.transport is None else self.transport.get_extra_info(name, default)

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
        self.hand_over_soon()

    def is_reading(self):
        return not self.is_paused and self.transport.is_reading()

    def set_write_buffer_limits(self, high=None, low=None):
        self.transport.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self):
        return self.transport.get_write_buffer_size()

    def get_write_buffer_limits(self):
        return self.transport.get_write_buffer_limits()
