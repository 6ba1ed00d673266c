from libc.stdint cimport uint64_t

from fastrpc._core.io.engine cimport PythonEngine
from fastrpc._core.server.connection_life cimport ConnectionLife
from fastrpc._core.server.engine_served_connection cimport EngineServedConnection
from fastrpc._core.server.gate cimport Gate


cdef class ProvenCaller:
    cdef:
        # The identity, or None; the expiry of its credential, 0 = never; the state of the files that proved it.
        readonly object identity
        uint64_t expires_ns
        # Whether the call brought a credential of its own.
        readonly bint has_own_credential
        uint64_t generation


cdef class PythonServedConnection(EngineServedConnection):
    pass


cdef class ServedEngine(PythonEngine):
    cdef:
        # The gate that all connections share; this connection as the gate knows it.
        readonly Gate gate
        readonly PythonServedConnection connection

        # Its life; whether that has the rules of the server: some engines have rules of their own.
        ConnectionLife life
        bint has_rules

        # The begin of an incomplete message, and the bytes of it received.
        uint64_t message_began_ns
        Py_ssize_t message_bytes

        # Its stream while that is connected: the loop does not hold a paused stream.
        object _held

    cdef uint64_t _check_life(self, uint64_t now) except? 0
