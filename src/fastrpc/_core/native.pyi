from typing import final

from fastrpc._core.frame import WireProtocol

@final
class NativeProtocol(WireProtocol):
    """fastrpc's own wire protocol, as PROTOCOL.md describes it."""
