"""The messages and the words of calls by the native protocol."""

from fastrpc._core.link.contract cimport ContractGroups
from fastrpc._core.native.connection cimport Connection
from fastrpc._core.server.engine_served_connection cimport EngineServedConnection


# Objects without state, which all connections share.
cdef ContractGroups NATIVE_GROUPS


cdef inline Connection engine_behind(EngineServedConnection connection):
    """Return the native connection, or None once it is gone; output is sent at the connection's instant."""
    if connection._engine is NULL:
        return None
    cdef Connection engine = <Connection>connection._engine
    if connection.now > engine.now:
        engine.now = connection.now
    return engine
