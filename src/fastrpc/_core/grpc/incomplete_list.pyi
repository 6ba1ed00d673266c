from typing import final

from fastrpc._core.server.gate import Gate

@final
class IncompleteList:
    """The calls with an incomplete request or message, on one connection."""

    def __init__(self, gate: Gate) -> None: ...
