"""A stream of HTTP/2 as a request by gRPC-Web or Connect."""

cimport cython
from libc.stdint cimport int64_t

from fastrpc._core.exchange.request_head cimport RequestHead
from fastrpc._core.grpc.grpc_call cimport GrpcCall, GrpcHead
from fastrpc._core.http.http_call cimport HttpTerms
from fastrpc._core.http.service cimport HttpService
from fastrpc._core.http2.header_block cimport HeaderBlock


@cython.final
cdef class StreamRequests:
    cdef:
        # Shared by all connections at an address.
        HttpService _service


@cython.final
cdef class StreamRequest:
    cdef:
        HttpService _service

        # The request in HTTP/1.1's form, and its meaning; None if even its fields are refused.
        RequestHead _head
        HttpTerms _terms

        # The head in the form for the engine of gRPC; with an `http_status` the request is refused, by an answer:
        # fields and content.
        readonly GrpcHead grpc_head
        readonly tuple refusal

        # The call (`server.web.form.WebCall`), None with a refusal; the name of its protocol. Whether its form differs
        # from its method's form, which the gate refuses.
        readonly object form
        readonly str protocol
        readonly bint is_unfit

        # Whether the rest of the body has gRPC's form already. For a body without a stated length: its parts, their
        # bytes, and the most bytes; the stated length, -1: none.
        readonly bint is_plain
        list _parts
        readonly Py_ssize_t held
        Py_ssize_t _most
        int64_t _length

        # Bytes of DATA that are in no message, and whose credit was not returned.
        public Py_ssize_t owed

    cdef bint understand(self, GrpcCall call, HeaderBlock block, HttpService service, bint has_pages) except -1
    cdef int _refuse(self, tuple answer) except -1
    cdef int _refuse_head(self, object error) except -1
    cdef bytes _prefix(self, int64_t size)
