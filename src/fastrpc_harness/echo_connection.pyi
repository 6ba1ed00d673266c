from typing import final

from fastrpc._core.native.connection import Connection
from fastrpc._core.wire.settings import WireSettings

@final
class EchoConnection(Connection):
    """A connection that answers each request with its payload: what one call costs the core alone."""

    def __init__(self, *, is_client: bool, settings: WireSettings | None = None) -> None: ...
    @property
    def answered(self) -> int:
        """Calls of ours that were answered."""

    def exchange(self, server: EchoConnection) -> None:
        """Carry what either side has to say to the other, until neither has anything."""

    def make_calls(self, server: EchoConnection, count: int, batch: int, payload: bytes) -> int:
        """Make `count` calls, `batch` of them in each flush; return how many were answered."""
