"""An exchange that keeps its answer for a test. A connection may have many at the same time, as with HTTP/2."""

cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.exchange.exchange cimport Exchange, HttpApplication
from fastrpc._core.http.connection cimport GatewayConnection


@cython.final
cdef class KeptExchange(Exchange):
    cdef:
        # `_engine`: the connection; `_application`: the application of its pages for this exchange.
        GatewayConnection _engine
        HttpApplication _application

        # `_body`: the body until it is passed to the application. `_is_judged`: whether the sender is being checked.
        bytes _body
        bint _is_judged

        # The answer. `lines`: its fields; `parts`: the parts of its content, or the bytes sent in a tunnel.
        readonly int status
        readonly bytes lines
        readonly list parts

        # Whether the answer ended complete, or was cut off.
        readonly bint is_complete
        readonly bint was_cut

        # `takes_none`: set by a test to make senders wait. `has_sender`: whether a sender waits.
        public bint takes_none
        readonly bint has_sender

        # `due_ns`: the instant passed to `wait_by`. `refused`: the number of noted refusals.
        readonly uint64_t due_ns
        readonly int refused

    cdef int _hand_over(self, bytes body) except -1
    cdef int _begin(self, int status, bytes lines) except -1
    cdef int _end(self) except -1
