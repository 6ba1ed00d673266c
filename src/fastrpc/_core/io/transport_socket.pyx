"""What a loop's transport does not tell of itself: the socket below it, and what the system holds of its output."""

import sys

try:
    import fcntl
    import termios
except ImportError:  # Not a system that could be asked.
    fcntl = termios = None

# Transports whose bytes are those of their socket, by their classes' module and name: none of these is public. One that
# wraps another, to encrypt or to disturb it, must not be passed by.
PLAIN_TRANSPORTS = frozenset((
    ("uvloop.loop", "TCPTransport"),
    ("uvloop.loop", "UnixTransport"),
    ("asyncio.selector_events", "_SelectorSocketTransport"),
))


cdef int plain_descriptor(object transport) except -2:
    """The socket of a transport of the loop's own that adds nothing to its bytes, else -1."""
    kind = type(transport)
    if (kind.__module__, kind.__name__) not in PLAIN_TRANSPORTS:
        return -1
    opened = transport.get_extra_info("socket")
    return -1 if opened is None else opened.fileno()


cdef int64_t unsent_bytes(object opened) except? -1:
    """Bytes in the system's send buffer of a socket, or 0 where it does not tell or there is none."""
    if opened is None or termios is None:
        return 0
    try:
        return int.from_bytes(fcntl.ioctl(opened.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)
    except OSError:
        return 0
