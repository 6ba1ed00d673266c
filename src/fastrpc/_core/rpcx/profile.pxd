"""The differences between rpcx and the protocols that derive from it."""

cimport cython
from libc.stdint cimport uint8_t


@cython.final
cdef class Profile:
    cdef:
        # Its name in configuration and counters; the first byte of each frame that is sent, and of each that is taken (-1:
        # any); the metadata key of an error's text; how the texts of unknown names begin.
        readonly str name
        readonly uint8_t magic
        readonly int checked_magic
        readonly bytes error_key
        readonly tuple unknown_names

        # Whether a refused token ends the connection; whether this side may compress.
        readonly bint closes_on_refusal
        readonly bint compresses

        # Whether requests state their deadline; whether heartbeats bring the token, and nothing else.
        readonly bint states_deadlines
        readonly bint proves_heartbeats

        # Whether peers set magic, status and the flag of gzip without care.
        readonly bint is_loose
