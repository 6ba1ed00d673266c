cimport cython
from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.io.engine cimport ByteStream
from fastrpc._core.native.connection cimport Connection


@cython.final
cdef class WatchedConnection(Connection):
    cdef:
        # Events of the liveness, in order.
        readonly list events

        # Values that the stream below returns. `taken`: bytes that it accepted; `held`: bytes that the peer refuses.
        public int64_t taken
        public uint64_t held

        # `is_short`: whether the process has no memory to lend. `is_put_off`: whether received bytes wait.
        public bint is_short
        public bint is_put_off

        # The stream that returns these values.
        ByteStream below
