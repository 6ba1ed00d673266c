"""The answer to a failed call, before a protocol encodes it."""

cimport cython
from libc.stdint cimport uint32_t


@cython.final
cdef class Failure:
    cdef:
        # `status`, `text`: the status and the text, which every protocol can encode. `details`: encoded details, which
        # may be empty.
        readonly int status
        readonly str text
        readonly bytes details

        # Milliseconds before a retry; 0: not stated; all ones: do not retry.
        readonly uint32_t pushback_ms

        # `has_run`: whether the handler, or an interceptor in its place, may have run; `goes_on`: whether it continues
        # after this answer, so that its outcome is unknown.
        readonly bint has_run
        readonly bint goes_on
