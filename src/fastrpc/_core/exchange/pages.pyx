"""Pages: the HTTP requests of a connection, beside the calls of another protocol.

::

    head of a request ──► Exchange ──► Pages.begin ──► HttpApplication ──► calls for the gate
    outcomes of these calls ──► Pages.outcomes ──► Exchange

A gRPC connection separates other HTTP requests from gRPC calls, and holds one `Pages` for them. A connection that only
speaks HTTP holds one, too. `_core/http` implements `Pages`. A method that a class does not implement raises.
"""

from copy import copy

from fastrpc._core.link.contract cimport lacking


cdef class Pages:
    """The HTTP requests of one connection, beside the calls of another protocol."""

    cdef int join(self, EngineServedConnection connection) except -1:
        """Note the served connection, which holds this object; called once, before any other method."""
        raise lacking(self, "join")

    cdef HttpApplication begin(self, Exchange exchange):
        """Return the application for an exchange's requests; the exchange holds it.

        The exchange calls `exchange_over` before it ends.
        """
        raise lacking(self, "begin")


cdef object peer_as(object info, str protocol, ServedConnection connection):
    if info is None or info.protocol == protocol:
        return info
    if connection.peers is None:
        connection.peers = {}
    peer = connection.peers.get(protocol)
    if peer is None:
        peer = connection.peers[protocol] = copy(info)
        peer.protocol = protocol
    return peer
