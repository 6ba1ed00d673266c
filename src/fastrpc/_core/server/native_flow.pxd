"""The messages and the words of calls by the native protocol."""

cimport cython

from fastrpc._core.link.contract cimport Flow
from fastrpc._core.native.connection cimport Connection
from fastrpc._core.server.engine_served_connection cimport EngineServedConnection
from fastrpc._core.server.served_connection cimport PlainDialect


@cython.final
cdef class NativeDialect(PlainDialect):
    pass


@cython.final
cdef class NativeFlow(Flow):
    pass


# An object without state, which all connections share.
cdef NativeDialect NATIVE_DIALECT
cdef NativeFlow NATIVE_FLOW


cdef inline Connection engine_behind(EngineServedConnection connection):
    """Return the native connection, or None once it is gone; output is sent at the connection's instant."""
    if connection._engine is NULL:
        return None
    cdef Connection engine = <Connection>connection._engine
    if connection.now > engine.now:
        engine.now = connection.now
    return engine
