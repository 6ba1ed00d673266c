from typing import Any, final

from fastrpc._core.server.admission import CallAdmission
from fastrpc._core.server.output_room import OutputRoom

@final
class HandlerFailures:
    """Makes the failures that answer the errors of handlers.

    Args:
        dispatcher: chooses status, text and details of an error (`fastrpc.handlers.dispatcher`).
        admission: the bounds of the server.
        room: the room of the process for details.
    """

    def __init__(self, dispatcher: Any, admission: CallAdmission, room: OutputRoom) -> None: ...
