"""The status and the fields that a handler gives its answer by HTTP, and their checks."""

from fastrpc._core.calls.call cimport MethodRoute

# The key of the metadata entry that carries status and fields to a gateway.
cdef bytes TOLD_KEY

# Return the fields of an answer by their names in lower case, each with its line; ValueError or TypeError for an
# invalid field. Fields that a gateway forwards were completed before.
cdef dict checked_answer(MethodRoute route, object status, object headers, bint is_forwarded)

# `told_with` returns all that a gateway is to be told, earlier parts included, or None; `told_entry` returns its entry
# of metadata.
cdef list told_with(list told, int status, dict fields, object compress)
cdef bytes told_entry(list told)
