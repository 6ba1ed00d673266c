cimport cython

from fastrpc._core.native.connection cimport Connection


@cython.final
cdef class BlockingConnection(Connection):
    cdef:
        # The token to show before the first call, or None.
        bytes credential

        # Whether the stream is lost, or left to the parent of a fork.
        bint is_lost
        bint is_left_behind

        # Whether it is older than `Keepalive.max_age` and waits for its successor; whether we ended it ourselves, for
        # its age or disuse.
        readonly bint is_aged
        readonly bint is_spent
