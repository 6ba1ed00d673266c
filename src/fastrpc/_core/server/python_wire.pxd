"""The wire of a server's protocol that is written in Python."""

cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.io.engine cimport ByteStream
from fastrpc._core.link.contract cimport Wire
from fastrpc._core.server.link cimport Link, LinkedConnection


@cython.final
cdef class ProvenCaller:
    cdef:
        # `identity`: the identity at the time when this object was made, while the call's handler runs. It may be
        # withdrawn later.
        readonly object identity
        uint64_t expires_ns
        # Whether the call had a separate credential.
        readonly bint has_own_credential
        uint64_t generation


cdef class PythonWire(Wire):
    cdef:
        # The connection of the wire's link, through which the link is reached; None before `join`.
        readonly LinkedConnection connection

        # `_held`: the stream while it is connected, held because the loop does not hold a paused stream; `has_begun`:
        # whether it was connected.
        object _held
        bint has_begun

        # `began_ns`: the instant of the first bytes of an incomplete message; `part`: the number of its received bytes.
        uint64_t began_ns
        Py_ssize_t part

    cdef inline Link here(self):
        """Return the link of the wire, or None after the link was freed."""
        return None if self.connection is None or self.connection._engine is NULL else <Link>self.connection._engine

    cdef inline ByteStream below(self):
        """Return the stream of the link, or None after the link was freed."""
        cdef Link link = self.here()
        return None if link is None else link.leaving.stream()
