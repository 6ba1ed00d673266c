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
        """Pass the output of each side to the other side until both have no output."""

    def make_calls(self, server: EchoConnection, count: int, batch: int, payload: bytes) -> int:
        """Make `count` calls, and flush after every `batch` calls; return the number of answered calls."""
