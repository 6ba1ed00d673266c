"""The wire of a protocol of servers that is written in Python."""

cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.io.engine cimport ByteStream
from fastrpc._core.link.contract cimport Wire
from fastrpc._core.server.link cimport Link, LinkedConnection


@cython.final
cdef class ProvenCaller:
    cdef:
        # Made while the call's handler runs: the identity may be withdrawn later.
        readonly object identity
        uint64_t expires_ns
        # Whether the call itself brought a credential.
        readonly bint has_own_credential
        uint64_t generation


cdef class PythonWire(Wire):
    cdef:
        # Its link's connection, which leads to the link; None before `join`.
        readonly LinkedConnection connection

        # The stream while it is connected, held because the loop holds no paused stream. Whether it was connected.
        object _held
        bint has_begun

        # The begin of an incomplete message, and its received bytes.
        uint64_t began_ns
        Py_ssize_t part

    cdef inline Link here(self):
        """Return the link of the wire, None once the link was freed."""
        return None if self.connection is None or self.connection._engine is NULL else <Link>self.connection._engine

    cdef inline ByteStream below(self):
        """Return the stream of the link, None once the link was freed."""
        cdef Link link = self.here()
        return None if link is None else link.leaving.stream()
