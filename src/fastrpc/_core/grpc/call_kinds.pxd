"""The groups of the contract on a connection that carries calls of gRPC and pages."""

from fastrpc._core.exchange.pages cimport Pages
from fastrpc._core.grpc.grpc_trust cimport GrpcTrust
from fastrpc._core.link.contract cimport Dialect, Flow, Forms, Handling


# Return a group of the contract that asks gRPC's part, or the pages' part, by the kind of the call.
cdef Flow flow_of_kinds(Pages pages, Flow own)
cdef Dialect dialect_of_kinds(Pages pages, Dialect own)
cdef Forms forms_of_kinds(Pages pages, Forms own)
cdef Handling handling_of_kinds(Pages pages, GrpcTrust trust)
