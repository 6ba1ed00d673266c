"""The groups of the contract on a connection that carries calls of gRPC and pages.

Each group asks gRPC's part or the pages' part, by the kind of the call: a GrpcCall is a call by gRPC, gRPC-Web or
Connect. A connection without pages has gRPC's parts themselves.
"""

cimport cython
from libc.stdint cimport uint32_t

from fastrpc._core.calls.call cimport Call
from fastrpc._core.grpc.grpc_call cimport GrpcCall
from fastrpc._core.grpc.grpc_trust cimport let_in
from fastrpc._core.payload.marshal cimport Marshal
from fastrpc._core.server.engine_served_connection cimport EngineServedConnection
from fastrpc._core.server.served_call cimport ServerCall


@cython.final
cdef class KindFlow(Flow):
    """Streams of calls of gRPC and of pages."""

    cdef:
        # The part for calls of gRPC, gRPC-Web and Connect; the part for calls of pages.
        Flow own
        Flow pages

    cdef inline Flow _of(self, Call call):
        return self.own if type(call) is GrpcCall else self.pages

    cdef int head(self, Call call, bytes metadata) except -1:
        return self._of(call).head(call, metadata)

    cdef int message(self, Call call, bytes payload, int codec, int compressor) except -1:
        return self._of(call).message(call, payload, codec, compressor)

    cdef bint is_full(self, Call call) noexcept:
        return self._of(call).is_full(call)

    cdef int await_turn(self, Call call) except -1:
        return self._of(call).await_turn(call)

    cdef int room(self) except -1:
        self.own.room()
        return self.pages.room()

    cdef int taken(self, Call call, Py_ssize_t cost) except -1:
        return self._of(call).taken(call, cost)

    cdef int reader(self, Call call, bint waits) except -1:
        return self._of(call).reader(call, waits)

    cdef int end_early(self, Call call) except -1:
        return self._of(call).end_early(call)


@cython.final
cdef class KindDialect(Dialect):
    """The words for calls of gRPC and of pages."""

    cdef:
        Dialect own
        Dialect pages

    cdef inline Dialect _of(self, Call call):
        return self.own if type(call) is GrpcCall else self.pages

    cdef str unknown_method(self, Call call, str method, object services):
        return self._of(call).unknown_method(call, method, services)

    cdef str unknown_codec(self, Call call):
        return self._of(call).unknown_codec(call)

    cdef str unknown_compressor(self, Call call):
        return self._of(call).unknown_compressor(call)

    cdef int corrupt_status(self, Call call) except -1:
        return self._of(call).corrupt_status(call)

    cdef int unfit_status(self, Call call) except -1:
        return self._of(call).unfit_status(call)

    cdef bytes details(self, Call call, int status, str text, object details):
        return self._of(call).details(call, status, text, details)

    cdef int compressor(self, Call call, int number) except -1:
        return self._of(call).compressor(call, number)


@cython.final
cdef class KindForms(Forms):
    """The forms of calls of gRPC and of pages."""

    cdef:
        Forms own
        Forms pages

    cdef inline Forms _of(self, Call call):
        return self.own if type(call) is GrpcCall else self.pages

    cdef str protocol(self, Call call):
        return self._of(call).protocol(call)

    cdef object peer(self, Call call):
        return self._of(call).peer(call)

    cdef Marshal marshal(self, Call call):
        return self._of(call).marshal(call)

    cdef uint32_t most_metadata(self) noexcept:
        # The limit of HTTP/2 holds for all answers.
        return self.own.most_metadata()

    cdef int check_sent(self, Call call, bytes metadata) except -1:
        return self._of(call).check_sent(call, metadata)

    cdef int note_answer(self, Call call, int status, dict fields, object compress) except -1:
        return self._of(call).note_answer(call, status, fields, compress)


@cython.final
cdef class KindHandling(Handling):
    """The requests of pages, which are more than one message."""

    cdef:
        # The part for calls of pages: a call of gRPC is one message each way, or a stream.
        Handling pages

        # Whether the client is known.
        GrpcTrust trust

    cdef object form_of(self, Call call):
        return None if type(call) is GrpcCall else self.pages.form_of(call)

    cdef int note_mistakes(self, Call call, bytes payload, str first) except -1:
        return 0 if type(call) is GrpcCall else self.pages.note_mistakes(call, payload, first)

    cdef int hold(self, Call call) except -1:
        cdef EngineServedConnection connection
        if type(call) is GrpcCall:
            return 0
        connection = <EngineServedConnection>(<ServerCall>call).connection
        if connection._engine is not NULL:
            # The sender is known: a stream, a tunnel or an upload may be answered only at its end.
            let_in(self.trust, <ServerCall>call)
        return self.pages.hold(call)

    cdef int leave_handler(self, Call call) except -1:
        # An application is mounted for pages alone.
        return self.pages.leave_handler(call)


cdef Flow flow_of_kinds(Pages pages, Flow own):
    cdef KindFlow made = KindFlow.__new__(KindFlow)
    made.own, made.pages = own, pages.flow
    return made


cdef Dialect dialect_of_kinds(Pages pages, Dialect own):
    cdef KindDialect made = KindDialect.__new__(KindDialect)
    made.own, made.pages = own, pages.dialect
    return made


cdef Forms forms_of_kinds(Pages pages, Forms own):
    cdef KindForms made = KindForms.__new__(KindForms)
    made.own, made.pages = own, pages.forms
    return made


cdef Handling handling_of_kinds(Pages pages, GrpcTrust trust):
    cdef KindHandling made = KindHandling.__new__(KindHandling)
    made.pages, made.trust = pages.handling, trust
    return made
