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
        # Fields that are echoed as they came, empty if they were not sent, or are malformed and long. The method is
        # without its service.
        bytes version
        bytes message_id
        bytes path
        bytes method
        bytes serialize

        # The codec of both bodies. Whether the answer has no body.
        uint8_t codec
        bint is_one_way

        # Whether these are the fields of Phobos; whether they ask for the answer's body alone.
        bint is_phobos
        bint is_heartbeat

        # The reason why the headers are not rpcx's, or None.
        str problem

    # Return the method's full name, empty where no method has such a name.
    cdef bytes full_name(self)

    # Return the fields of an answer, and of an answer with a failure.
    cdef bytes answer_lines(self, bytes metadata)
    cdef bytes failure_lines(self, str text, bytes metadata)


# Return the fields of a request of rpcx, or of Phobos; None for others. `path` is the path of its URL.
cdef RpcxHeaders rpcx_headers(RequestHead head, bytes path, bint is_phobos)

# Take metadata up to a limit, token and timeout into a call; return None, or why they cannot be taken.
cdef str take_rpcx_metadata(ServerCall call, RequestHead head, bint is_phobos, Gate gate)

# Return the HTTP status for a failure, which other forms report in `told`.
cdef int rpcx_status(RpcxHeaders headers, Failure failure, int told) noexcept
