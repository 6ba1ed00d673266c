"""The answer to a call that failed, as each protocol writes it."""

cimport cython
from libc.stdint cimport uint32_t


@cython.final
cdef class Failure:
    cdef:
        # The status and its text, which each protocol can write; encoded details, which may be empty.
        readonly int status
        readonly str text
        readonly bytes details

        # Milliseconds until a retry; 0: not stated, all ones: do not retry.
        readonly uint32_t pushback_ms

        # Whether the handler, or an interceptor in its place, may have run; whether it continues after the answer, so
        # that its outcome is unknown.
        readonly bint has_run
        readonly bint goes_on
