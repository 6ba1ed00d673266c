"""The status and header fields that a handler sets for an HTTP answer, and their checks."""

from fastrpc._core.calls.call cimport MethodRoute

# The key of the metadata entry with status and fields for a gateway.
cdef bytes TOLD_KEY

# Return the fields of an answer: lower-case name -> header line. Raise ValueError or TypeError for an invalid field. The
# fields that a gateway forwards (`is_forwarded`) already have their directives about caching.
cdef dict checked_answer(MethodRoute route, object status, object headers, bint is_forwarded)

# `told_with` adds to the status, fields and compression that are reported to a gateway, and returns them (`told` is the
# earlier result or None). `told_entry` returns the metadata entry with them.
cdef list told_with(list told, int status, dict fields, object compress)
cdef bytes told_entry(list told)
