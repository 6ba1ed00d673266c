"""A request to a fixed path, or a message of a WebSocket there, as the handler of the path sees it."""

cimport cython

from fastrpc._core.calls.call cimport MethodRoute
from fastrpc._core.exchange.exchange cimport Exchange
from fastrpc._core.exchange.request_head cimport RequestHead
from fastrpc._core.http.http_call cimport HttpTerms, terms_of
from fastrpc._core.server.served_call cimport ServerCall
from fastrpc._core.server.served_connection cimport ServedConnection


@cython.final
cdef class PathExchange:
    cdef:
        # The call of the request, and its connection, which both outlast the exchange.
        ServerCall asked
        ServedConnection served

        # The head of the request; whether this is a message of the WebSocket that the request asked for.
        readonly RequestHead head
        readonly bint is_message

    cdef inline Exchange exchange(self):
        return terms_of(self.asked).request.open_exchange()

    cdef int _check_kind(self, HttpTerms terms, MethodRoute route) except -1


cdef PathExchange new_path_exchange(Exchange exchange, ServerCall asked, bint is_message)
