"""The socket below a loop's transport, and the output that the system holds for it.

Small output goes to the socket directly, past the loop's own transport, while nothing waits in that: uvloop collects
what is written until the end of the loop's turn, and answers are to leave while the read they answer is still
handled. Only plain sockets of the loops' own transports are passed by, never a transport that encrypts or disturbs.
Once the system takes less than all of it, the transport has the rest.
"""

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


cdef int socket_of(object transport) except -2:
    """The socket below a transport, whatever lies between; -1 without one, or if it is closed."""
    opened = transport.get_extra_info("socket")
    return -1 if opened is None else opened.fileno()


cdef int64_t unsent_bytes(object transport) except? -1:
    """Bytes in the system's send buffer below a transport, or 0 where it does not tell, or has no socket."""
    opened = transport.get_extra_info("socket")
    return 0 if opened is None else unsent_in_socket(opened.fileno())


cdef int64_t unsent_in_socket(int descriptor) except? -1:
    """Bytes in the system's send buffer of a socket, or 0 where it does not tell or the socket is closed."""
    return 0 if termios is None else bytes_of(descriptor, termios.TIOCOUTQ)


cdef int64_t unread_bytes(object transport) except? -1:
    """Bytes that the system has received and that are not read yet, or 0 where it does not tell or there is no socket."""
    opened = transport.get_extra_info("socket")
    return 0 if opened is None or termios is None else bytes_of(opened.fileno(), termios.FIONREAD)


cdef int64_t bytes_of(int descriptor, object question) except? -1:
    """Ask the system for a number of bytes of a socket; 0: it does not tell, or the socket is closed."""
    if descriptor < 0:
        return 0
    try:
        return int.from_bytes(fcntl.ioctl(descriptor, question, bytes(4)), sys.byteorder)
    except OSError:
        return 0


cdef int note_long(SentOutput* sent, Py_ssize_t size, int64_t untaken) noexcept:
    """Note that a long output is given to the transport next, which keeps all of it until the last byte is gone."""
    cdef bint is_alone = sent.bytes - untaken >= sent.long_ends
    sent.earlier_begins = sent.bytes if is_alone else sent.long_begins
    sent.long_begins = sent.bytes
    sent.long_ends = sent.bytes + size
    return 0


cdef int64_t kept_of(const SentOutput* sent, int64_t untaken) noexcept:
    """Return how many bytes of memory the output takes of which so much is not taken."""
    cdef int64_t gone = sent.bytes - untaken
    if untaken == 0 or gone < sent.earlier_begins or gone >= sent.long_ends:
        return untaken
    return sent.bytes - (sent.earlier_begins if gone < sent.long_begins else sent.long_begins)
