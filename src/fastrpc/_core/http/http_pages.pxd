"""The outcomes of the calls of requests: from the gate to responses."""

from fastrpc._core.link.contract cimport Dialect, Flow, Forms, Handling, Outcomes

# Objects without state, which all connections share.
cdef Outcomes OUTCOMES
cdef Flow FLOW
cdef Dialect DIALECT
cdef Forms FORMS
cdef Handling HANDLING
