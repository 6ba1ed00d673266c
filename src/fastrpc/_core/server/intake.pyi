from typing import final

from fastrpc._core.server.engine_served_connection import EngineServedConnection

@final
class Intake:
    """The checks of a wire before it takes a request: number of calls, memory, sender of a long request.

    Args:
        connection: its served connection, which has to outlast this object.
    """

    def __init__(self, connection: EngineServedConnection) -> None: ...
