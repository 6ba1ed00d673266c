"""The Python face of an engine: the base of protocols that are written in Python.

::

    Engine.receive ──► receive_data(bytes)        send(bytes) ──► Engine.output
    Engine.check ────► check_at(instant)          schedule_check(instant)
    Engine.connected, eof, lost ──► connection_made, eof_received, connection_lost

The names are those of asyncio and h2. It costs a few calls of Python a read; a protocol on a hot path is compiled.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint64_t

from fastrpc._core.io.engine cimport ByteStream


cdef class PythonEngine(Engine):
    """An engine whose protocol is written in Python."""

    # An engine in Python implements these

    def connection_made(self):
        """The stream is connected."""

    def receive_data(self, data):
        """Handle received bytes; return how many were consumed."""
        raise NotImplementedError(f"{type(self).__name__} does not implement receive_data()")

    def check_at(self, now):
        """Compare the engine's instants with now, in nanoseconds; return the next one, 0 = none."""
        return 0

    def eof_received(self):
        """The peer sends no more; the stream closes."""

    def connection_lost(self, error):
        """The stream is gone."""

    # It calls these

    def send(self, bytes data not None):
        """Send bytes: at the end of the read that is handled now, else in the next turn of the loop."""
        if self.is_closed:
            return
        self.output.put(data, 0, PyBytes_GET_SIZE(data))
        self.written()

    def turn_is_over(self):
        """Note that one message was handled. Return whether the rest of the data has to wait: it is presented again."""
        self.messages_left -= 1
        return self.messages_left < 0 and self.has_to_wait()

    def schedule_check(self, uint64_t due_ns):
        """Have `check_at` called at an instant, or before; 0: at none."""
        if self._stream is not NULL and due_ns:
            (<ByteStream>self._stream).schedule_check(due_ns)

    def hold_back(self, bint is_held_back):
        """Read no further until this is called with False."""
        if self._stream is not NULL:
            (<ByteStream>self._stream).hold_back(is_held_back)

    def unsent_bytes(self):
        """Return the bytes of output that the peer has not taken."""
        return self.unsent_output()

    def taken_bytes(self):
        """Return the bytes of output that have left this machine, as far as it can be known."""
        return 0 if self._stream is NULL else (<ByteStream>self._stream).taken_bytes()

    def close(self, reason=0, text=""):
        """Close once all output is sent; a protocol with a last word sends it first."""
        cdef ByteStream stream
        if self.is_closed or self._stream is NULL:
            return
        self.is_closed = True
        stream = <ByteStream>self._stream
        stream.finish(False)

    # The engine

    cdef Py_ssize_t receive(self, const char* data, Py_ssize_t size) except -1:
        cdef Py_ssize_t consumed
        if self.is_closed:
            return size
        consumed = self.receive_data(PyBytes_FromStringAndSize(data, size))
        if not 0 <= consumed <= size:
            raise ValueError(f"receive_data() of {type(self).__name__} consumed {consumed} of {size} bytes")
        return consumed

    cdef int connected(self) except -1:
        self.connection_made()
        return 0

    cdef int eof(self) except -1:
        self.eof_received()
        return 0

    cdef bint hears_rest_first(self) except -1:
        return self.outlasts_input

    cdef int lost(self, object error) except -1:
        self.connection_lost(error)
        return 0

    cdef uint64_t check(self, uint64_t now) except? 0:
        return self.check_at(now)
