cimport cython
from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.io.engine cimport ByteStream
from fastrpc._core.native.connection cimport Connection


@cython.final
cdef class WatchedConnection(Connection):
    cdef:
        # Events of its liveness, in order.
        readonly list events

        # Answers of a stream: bytes that it took, and bytes that it holds for a peer that does not take them.
        public int64_t taken
        public uint64_t held

        # Whether the process has no memory to lend; whether received bytes wait for their turn.
        public bint is_short
        public bint is_put_off

        # The stream with these answers.
        ByteStream below
