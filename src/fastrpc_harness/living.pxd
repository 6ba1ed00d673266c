"""The life of a served connection alone: a test sets facts and instants, and gets orders."""

from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.io.engine cimport ByteStream, PythonEngine
from fastrpc._core.server.connection_life cimport ConnectionLife
from fastrpc._core.server.served_connection cimport ServedConnection


cdef class LivedStream(ByteStream):
    cdef:
        # `taken`: bytes that left this machine. `is_unread`: whether the socket has unread bytes. `looks`: the instants
        # of requested checks.
        public int64_t taken
        public bint is_unread
        readonly bint is_input_held
        readonly list looks


cdef class LivedConnection(ServedConnection):
    cdef:
        # `streams`: the calls that stream. `cut`: bytes of output that do not delay calls.
        public list streams
        public int64_t cut


cdef class LivedEngine(PythonEngine):
    cdef:
        readonly LivedStream below
        readonly ServedConnection connection
        ConnectionLife life

        # The orders of the life, in their order.
        readonly list orders

        # The facts that the life reads.
        public bint is_busy
        public bint is_receiving
        public uint64_t began_ns
        public uint64_t heard_ns
        public int64_t received
        public int64_t unsent
        public int64_t parked
