"""A call as its HTTP request describes it."""

cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.calls.call cimport Call
from fastrpc._core.exchange.request_head cimport RequestHead
from fastrpc._core.http.answering cimport Answering
from fastrpc._core.http.request_state cimport RequestState
from fastrpc._core.http.rpcx_headers cimport RpcxHeaders
from fastrpc._core.http.service cimport HttpMethod, HttpService
from fastrpc._core.link.failure cimport Failure
from fastrpc._core.server.served_call cimport ServerCall


cdef enum:
    # The number of gzip (PROTOCOL.md).
    COMPRESSOR_GZIP = 1


@cython.final
cdef class HttpTerms:
    cdef:
        # The request of the call, also of a call that is a part of it; None for a call on a connection of gRPC. The
        # protocol of the call.
        RequestState request
        str protocol

        # The method of the name, or None; the name in the gate's form; the page at a fixed path.
        HttpMethod target
        bytes name
        object path

        # How the request is answered: chosen at its head, and once more where its connection becomes a WebSocket.
        Answering answering

        # The application at the path (`fastrpc.hosting.mounts`), or None; its `MountedRequest`, once that exists. Whether
        # the sender is identified before anything else, as an application has no rules of access.
        object mount
        object mounted
        bint needs_identity

        # The status, 0: the usual one, and the fields that the handler has set by `Call.http`, or None.
        int answer_status
        dict answer_fields
        # Whether pages of other origins may read answers.
        bint has_origins

        # Whether the handler wants its answer compressed; 0: the setting decides.
        int packing
        # Whether answers to the request depend on whether the caller takes gzip.
        bint may_pack
        # Whether this answer is compressed, if compression makes it shorter.
        bint takes_gzip

        # The request to a route, from which the arguments are made; None for other requests.
        object routed

        # For a call that is a part of a request: called with its outcome. None: the call is the whole request.
        object done
        # The target of that request, if requests are watched (`exchange/request_watch`).
        str part_of

        # The reason of its refusal, 0: none: an HTTP status, a text, and further fields. Whether it is reported after
        # the guards of the gate.
        readonly int fault_status
        str fault_text
        bytes fault_lines
        bint is_fault_hidden
        # For a path with other verbs: pairs of a verb and a route. The caller is told the verbs of routes that it may call.
        tuple other_verbs

        # The mistakes in its arguments, encoded in the codec of the call; None without any.
        bytes details

        # The origin of the page that sent it; None: no page did, or a page of this origin.
        bytes origin

        # Whether the request asks for a WebSocket; whether the WebSocket is open; the chosen subprotocol.
        bint is_socket
        bint is_open
        str subprotocol

        # The fields of a request of rpcx's header gateway; None for others.
        RpcxHeaders rpcx

        # The call by gRPC-Web or Connect (`fastrpc.server.web`); None for others.
        object web

        # The form whose file is the stream of the call (`fastrpc.server.http.forms`), or None.
        object file_form

        # Whether the body is a form without a file, written as a query.
        bint has_pairs

        # The form in which the messages of the answer are written; whether the caller's messages are parts of the body.
        int form
        bint takes_lines

    # Note the protocol of a call, for its counters and its peer.
    cdef inline int speak(self, ServerCall call, str protocol) except -1:
        self.protocol = protocol
        if call.client is not None:
            call.client.protocol = protocol
        return 0

    cdef int understand(self, ServerCall call, RequestHead head, HttpService service) except -1

    # As `understand`, for a stream of HTTP/2: gRPC's wire serves only its calls by gRPC-Web and Connect. `has_pages`:
    # pages serve all other streams.
    cdef int understand_stream(self, ServerCall call, RequestHead head, HttpService service, bint has_pages) except -1
    cdef int refuse_later(self, ServerCall call, int status, str text) except -1
    cdef int set_fault(self, int status, str text, bytes lines) except -1
    cdef bytes payload_of(self, ServerCall call, RequestHead head, bytes body)


@cython.final
cdef class Outcome:
    cdef:
        # The encoded result, or None and the reason.
        readonly bytes value
        readonly Failure failure


# Return the terms of a call of `new_call`.
cdef inline HttpTerms terms_of(Call call):
    return <HttpTerms>(<ServerCall>call).head


# Make a call for a request; its `head` holds the terms.
cdef ServerCall new_call(RequestState request, uint64_t now)
