from typing import final

from fastrpc._core.link.contract import Backlog, Placing

@final
class Http2Placing(Placing):
    """Receives long messages directly into their final memory."""

@final
class Http2Backlog(Backlog):
    """Messages that wait for the windows of the peer, or for the turn of their stream."""
