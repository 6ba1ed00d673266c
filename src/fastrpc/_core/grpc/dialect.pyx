"""gRPC's error texts and statuses for a call, and the forms of calls by gRPC, gRPC-Web and Connect.

Messages are protobuf or JSON. A call by gRPC-Web or Connect (`http.stream_request`) has the error texts and limits of
that protocol.
"""

cimport cython
from libc.stdint cimport uint32_t

from fastrpc._core.base.codec_numbers cimport CODEC_JSON
from fastrpc._core.base.status cimport INTERNAL, INVALID_ARGUMENT
from fastrpc._core.calls.call cimport Call, MethodRoute
from fastrpc._core.exchange.pages cimport peer_as
from fastrpc._core.grpc.fields cimport ENCODING_IDENTITY, encoding_name, metadata_size
from fastrpc._core.grpc.grpc_call cimport FAULT_FORM, FAULT_NONE, GrpcCall, GrpcHead, fault_of
from fastrpc._core.payload.marshal cimport Marshal
from fastrpc._core.server.served_connection cimport ServedConnection

from fastrpc.errors import CallError
from fastrpc.status import Status


@cython.final
cdef class GrpcDialect(Dialect):
    """gRPC's error texts and statuses for a call."""

    cdef bytes encodings(self):
        """Return the names of the compressors that requests may use."""
        names = [encoding_name(number) for number in self.gate.compressors]
        return b",".join([b"identity", *[name for name in names if name is not None]])

    cdef str unknown_method(self, Call call, str method, object services):
        return f"no method has the path {method!r}: it is /service/method" if "/" in method or not method else None

    cdef str unknown_codec(self, Call call):
        return None

    cdef str unknown_compressor(self, Call call):
        if (<GrpcCall>call).web is not None:
            return (<GrpcCall>call).web.form.unknown_compressor()
        known = self.encodings().decode()
        encoding = (<GrpcHead>(<GrpcCall>call).head).encoding or "identity"
        return f"grpc-encoding is {encoding}, only {known} are taken here"

    cdef int corrupt_status(self, Call call) except -1:
        return INTERNAL if (<GrpcCall>call).web is None else (<GrpcCall>call).web.form.corrupt_status

    cdef int unfit_status(self, Call call) except -1:
        cdef GrpcCall served = <GrpcCall>call
        cdef object form = None if served.web is None else served.web.form
        if served.fault != FAULT_NONE and served.fault != FAULT_FORM:
            return fault_of(served, 0)[0]
        return INVALID_ARGUMENT if form is None or form.fault is None else form.fault.status

    cdef bint has_status_details(self, Call call) except -1:
        return True

    cdef int compressor(self, Call call, int number) except -1:
        cdef GrpcCall served = <GrpcCall>call
        if encoding_name(number) is None or number == ENCODING_IDENTITY:
            return 0
        if served.web is not None:
            return number if served.web.form.takes(number) else 0
        if served.has_begun:
            return number if served.announced == number else 0
        return number if (<GrpcHead>served.head).accepted & (1 << number) else 0


@cython.final
cdef class GrpcForms(Forms):
    """Calls by gRPC, gRPC-Web and Connect."""

    cdef:
        Gate gate

        # The settings of the peer.
        Http2Settings settings

        # The marshal that was used last, with its method and codec.
        MethodRoute last_route
        int last_codec
        Marshal last_marshal

    cdef str protocol(self, Call call):
        return "grpc" if (<GrpcCall>call).web is None else (<GrpcCall>call).web.protocol

    cdef object peer(self, Call call):
        cdef ServedConnection connection = (<GrpcCall>call).connection
        return peer_as(connection.peer_info, self.protocol(call), connection)

    cdef Marshal marshal(self, Call call):
        """Return the marshal of the method's messages, in protobuf or JSON by the codec of the call."""
        cdef MethodRoute route = call.route
        if route is self.last_route and call.codec == self.last_codec:
            return self.last_marshal
        if route.marshals is None:
            route.marshals = {}
        # Negative, to be a separate entry: in other protocols the same codec has other payloads.
        key = -1 - call.codec
        marshal = route.marshals.get(key)
        if marshal is None:
            marshal = route.marshals[key] = self.gate.dispatcher.message_marshal_of(route, call.codec == CODEC_JSON)
        self.last_route, self.last_codec, self.last_marshal = route, call.codec, marshal
        return self.last_marshal

    cdef uint32_t most_metadata(self) noexcept:
        return self.settings.header_list_bytes

    cdef int check_sent(self, Call call, bytes metadata) except -1:
        if (<GrpcCall>call).web is not None:
            (<GrpcCall>call).web.form.check_sent(call.route.method, metadata)
            return 0
        try:
            metadata_size(metadata, True)
        except ValueError as error:
            raise CallError(Status.INTERNAL, f"{call.route.method}: {error}") from None
        return 0

    cdef int note_answer(self, Call call, int status, dict fields, object compress) except -1:
        # Only answers by Connect can have these fields: caches may store them.
        if (<GrpcCall>call).web is not None:
            (<GrpcCall>call).web.note_answer(fields)
        return 0


cdef Forms new_forms(Http2Settings settings, Gate gate):
    cdef GrpcForms forms = GrpcForms.__new__(GrpcForms)
    forms.gate = gate
    forms.settings = settings
    return forms
