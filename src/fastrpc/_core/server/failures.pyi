from typing import Any, final

from fastrpc._core.server.output_room import OutputRoom

@final
class HandlerFailures:
    """Makes the failures that answer the errors of handlers.

    Args:
        dispatcher: chooses status, text and details of an error (`fastrpc.handlers.dispatcher`).
        room: the room of the process for details, and their bound.
    """

    def __init__(self, dispatcher: Any, room: OutputRoom) -> None: ...
