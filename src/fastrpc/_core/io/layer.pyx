"""A loop's transport: its socket, and the layers that process bytes between it and the protocol above.

::

    transport ──► Layer, a protocol to it ──► protocol, such as a session
    transport ◄── Layer, a transport to it ◄─ protocol

The layers are transparent to the socket and the protocol. The layers of a blocking client are `LayeredIO`
(`blocking_io`).

Small output bypasses the transport and is written to the socket while nothing waits in the transport: uvloop collects
output until the end of the loop's turn, and answers should be sent while the read of their requests is still handled.
Only sockets of the loops' own plain transports are written directly, never below a transport that encrypts or disturbs.
When the system accepts only a part, the transport gets the rest.
"""

import socket
import sys

from fastrpc._core.loop.loop_state cimport loop_state

try:
    import fcntl
    import termios
except ImportError:  # This system cannot be asked.
    fcntl = termios = None

# Transports that pass bytes to their socket unchanged, by the module and name of their classes, which are not public. A
# transport that wraps another one, to encrypt or to inject faults, must not be bypassed.
PLAIN_TRANSPORTS = frozenset((
    ("uvloop.loop", "TCPTransport"),
    ("uvloop.loop", "UnixTransport"),
    ("asyncio.selector_events", "_SelectorSocketTransport"),
))

NAMED_FAMILIES = frozenset((socket.AF_INET, socket.AF_INET6))

cdef enum:
    PLACE_BYTES = 65_536


cdef int plain_descriptor(object transport) except -2:
    """Return the socket of a loop's transport that passes bytes unchanged, else -1."""
    kind = type(transport)
    if (kind.__module__, kind.__name__) not in PLAIN_TRANSPORTS:
        return -1
    opened = transport.get_extra_info("socket")
    return -1 if opened is None else opened.fileno()


cdef int socket_of(object transport) except -2:
    """Return the socket below a transport and all layers; -1 without a socket, or if it is closed."""
    opened = transport.get_extra_info("socket")
    return -1 if opened is None else opened.fileno()


cpdef bint is_nameless(object transport) except -1:
    """Return whether the system no longer reports the peer's address, because the connection was reset.

    A Unix socket's peer has no address either; its user is known instead.
    """
    if transport.get_extra_info("peername") is not None:
        return False
    opened = transport.get_extra_info("socket")
    return opened is not None and opened.family in NAMED_FAMILIES


cdef int64_t unsent_bytes(object transport) except? -1:
    """Return the bytes in the send buffer of a transport's socket; 0 if it is unknown or there is no socket."""
    opened = transport.get_extra_info("socket")
    return 0 if opened is None else unsent_in_socket(opened.fileno())


cdef int64_t unsent_in_socket(int descriptor) except? -1:
    """Return the bytes in a socket's send buffer; 0 if the system does not report them or the socket is closed."""
    return 0 if termios is None else bytes_of(descriptor, termios.TIOCOUTQ)


cdef int64_t unread_bytes(object transport) except? -1:
    """Return the received, unread bytes in the system; 0 if it does not report them or there is no socket."""
    opened = transport.get_extra_info("socket")
    return 0 if opened is None or termios is None else bytes_of(opened.fileno(), termios.FIONREAD)


cdef int64_t bytes_of(int descriptor, object question) except? -1:
    """Ask the system for a byte count of a socket; 0 if it does not report it or the socket is closed."""
    if descriptor < 0:
        return 0
    try:
        return int.from_bytes(fcntl.ioctl(descriptor, question, bytes(4)), sys.byteorder)
    except OSError:
        return 0


cdef int note_long(SentOutput* sent, Py_ssize_t size, int64_t untaken) noexcept:
    """Note that a long output is passed to the transport next, which keeps all of it until its last byte is sent."""
    cdef bint is_alone = sent.bytes - untaken >= sent.long_ends
    sent.earlier_begins = sent.bytes if is_alone else sent.long_begins
    sent.long_begins = sent.bytes
    sent.long_ends = sent.bytes + size
    return 0


cdef int64_t kept_of(const SentOutput* sent, int64_t untaken) noexcept:
    """Return the bytes of memory of an output of which `untaken` bytes are still in the transport."""
    cdef int64_t gone = sent.bytes - untaken
    if untaken == 0 or gone < sent.earlier_begins or gone >= sent.long_ends:
        return untaken
    return sent.bytes - (sent.earlier_begins if gone < sent.long_begins else sent.long_begins)


cdef class Layer:
    """The code of a layer's two interfaces that all layers share."""

    cdef int rest_in(self, loop) except -1:
        """Set the loop of the connection."""
        self.loop_state = loop_state(loop)
        self._place = self.loop_state.whole_view[:PLACE_BYTES]
        return 0

    # A layer implements these

    cdef int hand_over(self) except -1:
        """Pass on waiting input until the protocol above pauses."""
        return 0

    # For layers

    cdef int hand_over_soon(self) except -1:
        """Hand over in a separate turn, since the protocol above is in the middle of its work."""
        if not self._is_scheduled:
            self._is_scheduled = True
            self.loop_state.call_soon(self._go_on)
        return 0

    def _go_on(self):
        self._is_scheduled = False
        self.hand_over()

    # Calls of the transport below

    def get_buffer(self, Py_ssize_t sizehint):
        """Return the loop's shared buffer: the transport receives into it, and the bytes are copied from it soon."""
        return self._place

    def pause_writing(self):
        if self._protocol is not None:
            self._protocol.pause_writing()

    def resume_writing(self):
        if self._protocol is not None:
            self._protocol.resume_writing()

    # Calls of the protocol above, as of an `asyncio.Transport`

    def set_protocol(self, protocol):
        """Replace the protocol above."""
        self._protocol = protocol

    def get_protocol(self):
        return self._protocol

    def get_extra_info(self, str name, default=None):
        """Return the information that the transport below has."""
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
