"""Requests of rpcx's header gateway: the X-RPCX fields of requests and of answers."""

cimport cython
from libc.stdint cimport uint8_t

from fastrpc._core.exchange.request_head cimport RequestHead
from fastrpc._core.link.failure cimport Failure
from fastrpc._core.server.gate cimport Gate
from fastrpc._core.server.served_call cimport ServerCall


@cython.final
cdef class RpcxHeaders:
    cdef:
        # Fields that are echoed unchanged; empty if they were not sent, or are malformed and long. `method` is the name
        # without its service.
        bytes version
        bytes message_id
        bytes path
        bytes method
        bytes serialize

        # `codec`: the codec of both bodies; `is_one_way`: whether the call is one-way, so that the answer has no body.
        uint8_t codec
        bint is_one_way

        # `is_phobos`: whether these are the fields of Phobos. `is_heartbeat`: whether the request is a heartbeat of
        # Phobos.
        bint is_phobos
        bint is_heartbeat

        # The fault of the fields, as an error text, or None.
        str problem

    # Return the method's full name, empty if no method can have such a name.
    cdef bytes full_name(self)

    # Return the fields of an answer. `failure_lines` returns them for an answer with a failure.
    cdef bytes answer_lines(self, bytes metadata)
    cdef bytes failure_lines(self, str text, bytes metadata)


# Return the fields of a request of rpcx or, if `is_phobos`, of Phobos; None for other requests. `path` is the path of the
# URL.
cdef RpcxHeaders rpcx_headers(RequestHead head, bytes path, bint is_phobos)

# Set the metadata, the token and the timeout of a call; return None, or an error text if they are malformed or too long.
cdef str take_rpcx_metadata(ServerCall call, RequestHead head, bint is_phobos, Gate gate)

# Return the HTTP status for a failure; `told` is its HTTP status in other forms of calls.
cdef int rpcx_status(RpcxHeaders headers, Failure failure, int told) noexcept
