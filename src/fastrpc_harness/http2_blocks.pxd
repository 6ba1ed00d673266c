from fastrpc._core.http2.frames cimport Violation


# Return the exception for a violation.
cdef object violation_error(const Violation* violation)
