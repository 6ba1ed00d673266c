from typing import final

from fastrpc._core.server.engine_served_connection import EngineServedConnection

@final
class HttpServedConnection(EngineServedConnection):
    """The served calls of one HTTP connection."""
