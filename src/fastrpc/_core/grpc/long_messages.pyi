from typing import final

from fastrpc._core.http2.stream_table import FlowControl
from fastrpc._core.server.gate import Gate

@final
class LongMessages:
    """Decides when the rest of a long message may come, on one connection."""

    def __init__(self, gate: Gate, flow: FlowControl) -> None: ...
