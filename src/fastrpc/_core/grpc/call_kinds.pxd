"""The groups of the contract on a connection that carries calls of gRPC and pages."""

cimport cython

from fastrpc._core.calls.call cimport Call
from fastrpc._core.exchange.pages cimport Pages
from fastrpc._core.grpc.grpc_call cimport GrpcCall
from fastrpc._core.grpc.grpc_trust cimport GrpcTrust
from fastrpc._core.link.contract cimport Dialect, Flow, Forms, Handling


@cython.final
cdef class KindFlow(Flow):
    cdef:
        # The part for calls of gRPC, gRPC-Web and Connect; the part for calls of pages.
        Flow own
        Flow pages

    cdef inline Flow _of(self, Call call):
        return self.own if type(call) is GrpcCall else self.pages


@cython.final
cdef class KindDialect(Dialect):
    cdef:
        Dialect own
        Dialect pages

    cdef inline Dialect _of(self, Call call):
        return self.own if type(call) is GrpcCall else self.pages


@cython.final
cdef class KindForms(Forms):
    cdef:
        Forms own
        Forms pages

    cdef inline Forms _of(self, Call call):
        return self.own if type(call) is GrpcCall else self.pages


@cython.final
cdef class KindHandling(Handling):
    cdef:
        # The part for calls of pages: a call of gRPC is one message each way, or a stream.
        Handling pages

        # Whether the client is known.
        GrpcTrust trust


cdef Flow flow_of_kinds(Pages pages, Flow own)
cdef Dialect dialect_of_kinds(Pages pages, Dialect own)
cdef Forms forms_of_kinds(Pages pages, Forms own)
cdef Handling handling_of_kinds(Pages pages, GrpcTrust trust)
