"""The streams of the native protocol, and its dialect: error texts and numbers of compressors."""

from fastrpc._core.link.contract cimport ContractGroups
from fastrpc._core.native.connection cimport Connection
from fastrpc._core.server.engine_served_connection cimport EngineServedConnection


# Objects without state, which all connections share.
cdef ContractGroups NATIVE_GROUPS


cdef inline Connection engine_behind(EngineServedConnection connection):
    """Return the native connection, or None after it was freed. Advance its `now` to the served connection's."""
    if connection._engine is NULL:
        return None
    cdef Connection engine = <Connection>connection._engine
    if connection.now > engine.now:
        engine.now = connection.now
    return engine
