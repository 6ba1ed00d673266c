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
    # The compressor number of gzip (PROTOCOL.md).
    COMPRESSOR_GZIP = 1


@cython.final
cdef class HttpTerms:
    cdef:
        # `request`: the request of the call or, for a part of a document such as JSON-RPC, the request that it belongs
        # to; None for a call on a connection of gRPC. `protocol`: the protocol of the call.
        RequestState request
        str protocol

        # `target`: the called method, or None; `name`: its name in the gate's form; `path`: the handler of a fixed
        # path, or None.
        HttpMethod target
        bytes name
        object path

        # The way to answer the request, chosen at its head and replaced when the request becomes a WebSocket.
        Answering answering

        # The application at the path (`fastrpc.hosting.mounts`), or None; its `MountedRequest`, or None.
        # `needs_identity`: whether the sender must be identified first, as a fixed path or an application has no rules
        # of access.
        object mount
        object mounted
        bint needs_identity

        # The HTTP status (0: the usual one) and the fields (or None) that the handler has set by `Call.http`.
        int answer_status
        dict answer_fields
        # Whether pages of some other origins may read answers.
        bint has_origins

        # The handler's choice of compression: PACKED, NOT_PACKED, or 0 if the setting decides.
        int packing
        # Whether the answer depends on the caller's Accept-Encoding.
        bint may_pack
        # Whether this answer is compressed, if compression makes it shorter.
        bint takes_gzip

        # The matched route of the request, which makes the arguments; None for other requests.
        object routed

        # For a call that is a part of a document: a function that is called with its outcome; None for other calls.
        object done
        # For such a call, the target of its request, if requests are watched (`exchange/request_watch`).
        str part_of

        # The fault of a refused request: its HTTP status (0: no fault), a text, and further fields. `is_fault_hidden`:
        # whether the fault is reported only after the guards of the gate.
        readonly int fault_status
        str fault_text
        bytes fault_lines
        bint is_fault_hidden
        # For a path whose routes have other verbs: pairs of a verb and a route. The error names the verbs of those routes
        # that the caller may call.
        tuple other_verbs

        # The mistakes in refused arguments, encoded in the codec of the call, or None.
        bytes details

        # The origin of the web page that sent the request; None if no page did, or a page of the server's own origin.
        bytes origin

        # `is_socket`: whether the request asks for a WebSocket; `is_open`: whether the WebSocket is open;
        # `subprotocol`: the chosen one.
        bint is_socket
        bint is_open
        str subprotocol

        # The fields of a request in the form of rpcx's or Phobos' header gateway; None for others.
        RpcxHeaders rpcx

        # The call by gRPC-Web or Connect (`fastrpc.server.web`); None for others.
        object web

        # The form whose file is the stream of the call (`fastrpc.server.http.forms`), or None.
        object file_form

        # Whether the body is application/x-www-form-urlencoded.
        bint has_pairs

        # `form`: the form of the messages of the answer (`StreamForm`); `takes_lines`: whether the body is read in
        # parts, as messages or a file.
        int form
        bint takes_lines

    # Set the protocol of a call, for its counters and its peer.
    cdef inline int speak(self, ServerCall call, str protocol) except -1:
        self.protocol = protocol
        if call.client is not None:
            call.client.protocol = protocol
        return 0

    cdef int understand(self, ServerCall call, RequestHead head, HttpService service) except -1

    # Do the same for an HTTP/2 stream on gRPC's wire, which serves only calls by gRPC-Web and Connect. `has_pages` says
    # that other requests are served as pages.
    cdef int understand_stream(self, ServerCall call, RequestHead head, HttpService service, bint has_pages) except -1
    cdef int refuse_later(self, ServerCall call, int status, str text) except -1
    cdef int set_fault(self, int status, str text, bytes lines) except -1
    cdef bytes payload_of(self, ServerCall call, RequestHead head, bytes body)


@cython.final
cdef class Outcome:
    cdef:
        # `value`: the encoded result, or None; `failure`: the failure, or None.
        readonly bytes value
        readonly Failure failure


# Return the terms of a call that `new_call` made.
cdef inline HttpTerms terms_of(Call call):
    return <HttpTerms>(<ServerCall>call).head


# Make a call for a request; its `head` holds the terms.
cdef ServerCall new_call(RequestState request, uint64_t now)
