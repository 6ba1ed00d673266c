"""Pages: the requests of HTTP on a connection, beside the calls of another protocol.

::

    head of a request ──► Exchange ──► Pages.begin ──► HttpApplication ──► calls for the gate
    outcomes of these calls ──► Pages.answer, fail, refuse, judged ──► Exchange
                           └──► Pages.flow, dialect, forms, handling: the groups of `link/contract`

A connection of gRPC tells both kinds of calls apart, and has one `Pages`; a connection of HTTP alone has one, too.
`_core/http` implements it. A method that a class leaves out raises.
"""

from copy import copy

from fastrpc._core.link.contract cimport lacking


cdef class Pages:
    """The requests of one connection, beside the calls of another protocol."""

    cdef int join(self, EngineServedConnection connection) except -1:
        """Note the served connection, which holds this object; called once, before any other method."""
        raise lacking(self, "join")

    cdef HttpApplication begin(self, Exchange exchange):
        """Return the application for the requests of an exchange, which holds it.

        The exchange calls `exchange_over` before it ends.
        """
        raise lacking(self, "begin")

    cdef int answer(self, Call call, bytes payload) except -1:
        """Send the result of a call, as `Wire.answer` does."""
        raise lacking(self, "answer")

    cdef int refuse(self, Call call, Failure failure, bint is_faulty) except -1:
        """Send that a call was not started, as `Wire.refuse` does.

        The charge of the call was returned before.
        """
        raise lacking(self, "refuse")

    cdef int judged(self, Call call, int verdict) except -1:
        """The sender of an incomplete request is known, as in `Assembling.judged`."""
        raise lacking(self, "judged")

    cdef int fail(self, Call call, Failure failure) except -1:
        """Send the failure of a call, as `Wire.fail` does."""
        raise lacking(self, "fail")


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
