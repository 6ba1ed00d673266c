"""A request to a fixed path, or a message of a WebSocket there, as the handler of the path sees it."""

from fastrpc._core.exchange.exchange cimport Exchange
from fastrpc._core.server.served_call cimport ServerCall

# Make the object for a request or, if `is_message`, for a message of the WebSocket that the request opened.
cdef object new_path_exchange(Exchange exchange, ServerCall asked, bint is_message)
