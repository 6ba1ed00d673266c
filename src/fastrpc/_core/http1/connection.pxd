"""The server's side of an HTTP/1.1 connection: an engine."""

from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.http1.http1_exchange cimport Http1Exchange
from fastrpc._core.io.engine cimport Engine
from fastrpc._core.server.connection_life cimport ConnectionLife


cdef class HttpConnection(Engine):
    cdef:
        # The requests and their responses.
        Http1Exchange exchange

        # The rules of its life; its last use is the end of the last answer.
        ConnectionLife life

        # The time left when the peer stopped reading output.
        uint64_t _left_ns

        # Bytes of output that the peer of a closed connection had not read at the last check.
        int64_t _untaken

    # For its exchange.
    cdef int finish(self, bint lingers) except -1
    cdef int tunnel_opened(self) except -1

    cdef bint _has_request(self) noexcept
    cdef int _check_peer(self, uint64_t now) except -1
    cdef uint64_t _apply_rules(self, uint64_t now) except? 0
    cdef int64_t _untaken_bytes(self) except -1
