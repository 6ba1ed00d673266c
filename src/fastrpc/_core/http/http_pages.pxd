"""The outcomes of the calls of requests: from the gate to responses."""

from fastrpc._core.link.contract cimport ContractGroups, Outcomes

# Objects without state, which all connections share.
cdef Outcomes OUTCOMES
cdef ContractGroups PAGE_GROUPS
