"""A loop's transport: its socket, and layers between it and the protocol above, which process the bytes.

::

    transport ──► Layer, a protocol to it ──► protocol, such as a session
    transport ◄── Layer, a transport to it ◄─ protocol

Socket and protocol do not notice the layers. A layer for connections of a blocking client is a `LayeredIO`
(`blocking_io`).

Small output is sent to the socket directly, past the transport, while nothing waits in the transport: uvloop collects
output until the end of the loop's turn, and answers should be sent while the read they answer is still handled. Only
plain sockets of the loops' own transports are written directly, never a transport that encrypts or disturbs. Once the
system takes less than all of it, the transport gets the rest.
"""

import socket
import sys

from fastrpc._core.loop.loop_state cimport loop_state

try:
    import fcntl
    import termios
except ImportError:  # This system cannot be asked.
    fcntl = termios = None

# Transports that pass bytes to their socket unchanged, by module and name of their classes, none of which is public. A
# transport that wraps another one, to encrypt or to disturb it, must not be bypassed.
PLAIN_TRANSPORTS = frozenset((
    ("uvloop.loop", "TCPTransport"),
    ("uvloop.loop", "UnixTransport"),
    ("asyncio.selector_events", "_SelectorSocketTransport"),
))

NAMED_FAMILIES = frozenset((socket.AF_INET, socket.AF_INET6))

cdef enum:
    PLACE_BYTES = 65_536


cdef int plain_descriptor(object transport) except -2:
    """Return the socket of a transport of the loop that passes bytes unchanged, else -1."""
    kind = type(transport)
    if (kind.__module__, kind.__name__) not in PLAIN_TRANSPORTS:
        return -1
    opened = transport.get_extra_info("socket")
    return -1 if opened is None else opened.fileno()


cdef int socket_of(object transport) except -2:
    """The socket below a transport, whatever lies between; -1 without one, or if it is closed."""
    opened = transport.get_extra_info("socket")
    return -1 if opened is None else opened.fileno()


cpdef bint is_nameless(object transport) except -1:
    """Return whether the system no longer reports the address of a connection's peer: it was reset.

    A socket of this machine has no address either, but it reports which user connected.
    """
    if transport.get_extra_info("peername") is not None:
        return False
    opened = transport.get_extra_info("socket")
    return opened is not None and opened.family in NAMED_FAMILIES


cdef int64_t unsent_bytes(object transport) except? -1:
    """Bytes in the system's send buffer below a transport, or 0 if it does not report them, or has no socket."""
    opened = transport.get_extra_info("socket")
    return 0 if opened is None else unsent_in_socket(opened.fileno())


cdef int64_t unsent_in_socket(int descriptor) except? -1:
    """Bytes in the system's send buffer of a socket, or 0 if it does not report them or the socket is closed."""
    return 0 if termios is None else bytes_of(descriptor, termios.TIOCOUTQ)


cdef int64_t unread_bytes(object transport) except? -1:
    """Received, unread bytes in the system, or 0 if it does not report them or there is no socket."""
    opened = transport.get_extra_info("socket")
    return 0 if opened is None or termios is None else bytes_of(opened.fileno(), termios.FIONREAD)


cdef int64_t bytes_of(int descriptor, object question) except? -1:
    """Ask the system for a number of bytes of a socket; 0: it does not report it, or the socket is closed."""
    if descriptor < 0:
        return 0
    try:
        return int.from_bytes(fcntl.ioctl(descriptor, question, bytes(4)), sys.byteorder)
    except OSError:
        return 0


cdef int note_long(SentOutput* sent, Py_ssize_t size, int64_t untaken) noexcept:
    """Note that a long output is passed to the transport next, which keeps all of it until the last byte is sent."""
    cdef bint is_alone = sent.bytes - untaken >= sent.long_ends
    sent.earlier_begins = sent.bytes if is_alone else sent.long_begins
    sent.long_begins = sent.bytes
    sent.long_ends = sent.bytes + size
    return 0


cdef int64_t kept_of(const SentOutput* sent, int64_t untaken) noexcept:
    """Return the bytes of memory of an output of which `untaken` bytes were not taken."""
    cdef int64_t gone = sent.bytes - untaken
    if untaken == 0 or gone < sent.earlier_begins or gone >= sent.long_ends:
        return untaken
    return sent.bytes - (sent.earlier_begins if gone < sent.long_begins else sent.long_begins)


cdef class Layer:
    """The two interfaces of a layer, as far as all layers have the same code."""

    cdef int rest_in(self, loop) except -1:
        """Take the loop of the connection."""
        self.loop_state = loop_state(loop)
        self._place = self.loop_state.whole_view[:PLACE_BYTES]
        return 0

    # A layer implements these

    cdef int hand_over(self) except -1:
        """Pass on waiting input until the protocol above pauses."""
        return 0

    # For layers

    cdef int hand_over_soon(self) except -1:
        """Hand over in a separate turn: the protocol above is in the middle of its work."""
        if not self._is_scheduled:
            self._is_scheduled = True
            self.loop_state.call_soon(self._go_on)
        return 0

    def _go_on(self):
        self._is_scheduled = False
        self.hand_over()

    # Calls of the transport below

    def get_buffer(self, Py_ssize_t sizehint):
        """The place where the transport receives: the loop's shared buffer, which is copied from at once."""
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
