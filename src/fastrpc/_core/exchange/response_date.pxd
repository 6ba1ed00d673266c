"""The value of the field Date, which each response of HTTP has."""

# Return the present second as a field has it (RFC 9110, section 5.6.7): the same object within a second.
cdef bytes response_date()
