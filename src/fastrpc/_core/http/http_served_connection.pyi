from collections.abc import Collection
from typing import Any, final

from fastrpc._core.server.engine_served_connection import EngineServedConnection
from fastrpc._core.server.served_call import ServerCall

@final
class HttpServedConnection(EngineServedConnection):
    """The served calls of one HTTP connection."""

    def unknown_method(self, call: ServerCall, method: str, services: Collection[str] | None) -> str | None:
        """Return the error text for a path without a method; for rpcx the text of servers in Go."""

    def unknown_codec(self, call: ServerCall) -> str | None:
        """Return the error text of servers in Go, for calls by the header gateway."""

    def unknown_compressor(self, call: ServerCall) -> str | None:
        """Return the error text for an unknown compressor."""

    def corrupt_status(self, call: ServerCall) -> int:
        """Return the status for a request, or a message of its stream, that cannot be decompressed."""

    def encode_details(self, call: ServerCall, status: int, text: str, details: Any) -> bytes | None:
        """Return the details of an error in the form of gRPC, for the protocols that descend from it."""

    def note_answer(
        self, call: ServerCall, status: int, fields: dict[str, bytes], compress: bool | None
    ) -> None:
        """Keep the handler's settings for its answer, unless its protocol has other answers."""

    def peer_of(self, call: ServerCall) -> Any:
        """Return the other side of a call: the connection's peer, or the client of a trusted proxy."""

    def note_mistakes(self, call: ServerCall, payload: bytes, first: str) -> None:
        """Keep all mistakes in arguments by name."""
