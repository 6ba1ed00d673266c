"""The life of a served connection alone: facts and times go in, orders come out."""

from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.io.engine cimport ByteStream, PythonEngine
from fastrpc._core.server.connection_life cimport ConnectionLife
from fastrpc._core.server.served_connection cimport ServedConnection


cdef class LivedStream(ByteStream):
    cdef:
        # Bytes that left this machine; whether something is unread; the instants of looks that were asked for.
        public int64_t taken
        public bint is_unread
        readonly bint is_input_held
        readonly list looks


cdef class LivedConnection(ServedConnection):
    cdef:
        # The calls that stream; the part of the output that holds no calls up.
        public list streams
        public int64_t cut


cdef class LivedEngine(PythonEngine):
    cdef:
        readonly LivedStream below
        readonly ServedConnection connection
        ConnectionLife life

        # The orders, in order.
        readonly list orders

        # The facts.
        public bint is_busy
        public bint is_receiving
        public uint64_t began_ns
        public uint64_t heard_ns
        public int64_t received
        public int64_t unsent
        public int64_t parked
