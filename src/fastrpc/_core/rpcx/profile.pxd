"""The differences between rpcx and the protocols that derive from it."""

cimport cython
from libc.stdint cimport uint8_t


@cython.final
cdef class Profile:
    cdef:
        # Its name in configuration and counters; the first byte of each frame; the metadata key of an error's text.
        readonly str name
        readonly uint8_t magic
        readonly bytes error_key

        # Whether a refused token ends the connection, and whether answers may be compressed.
        readonly bint closes_on_refusal
        readonly bint compresses_answers
