"""An exchange whose answer is kept: a connection may have many at once, as by HTTP/2."""

cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.exchange.exchange cimport Exchange, HttpApplication
from fastrpc._core.http.connection cimport GatewayConnection


@cython.final
cdef class KeptExchange(Exchange):
    cdef:
        # The connection, whose pages answer; the application for this exchange.
        GatewayConnection _engine
        HttpApplication _application

        # The body until it is handed over; whether the head is being judged.
        bytes _body
        bint _is_judged

        # The answer: its status, its fields, the parts of its content; the bytes in a tunnel are parts, too.
        readonly int status
        readonly bytes lines
        readonly list parts

        # How it ended: complete, or cut off.
        readonly bint is_complete
        readonly bint was_cut

        # Set by a test: senders have to wait. Whether one does.
        public bint takes_none
        readonly bint has_sender

        # The instant of `wait_by`; the number of refusals that were noted.
        readonly uint64_t due_ns
        readonly int refused

    cdef int _hand_over(self, bytes body) except -1
    cdef int _begin(self, int status, bytes lines) except -1
    cdef int _end(self) except -1
