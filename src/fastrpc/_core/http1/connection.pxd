"""The server's side of an HTTP/1.1 connection: an engine."""

from libc.stdint cimport uint64_t

from fastrpc._core.http1.http1_exchange cimport Http1Exchange
from fastrpc._core.io.engine cimport Engine
from fastrpc._core.server.connection_life cimport ConnectionLife


cdef class HttpConnection(Engine):
    cdef:
        # The requests and their responses.
        Http1Exchange exchange

        # The rules by which the connection ages and ends. The last use is the end of the last answer.
        ConnectionLife life

        # The time that the peer had left for its next step when it stopped reading output.
        uint64_t _left_ns
