from typing import Any, final

from fastrpc._core.link.failure import Failure
from fastrpc._core.server.engine_served_connection import EngineServedConnection
from fastrpc.peers.peer import Peer

def failure_fields(failure: Failure, sent: list[tuple[int, bytes, bytes]]) -> list[tuple[int, bytes, bytes]]:
    """Return the fields that tell a failure, beside fields of metadata: token, name, value."""

@final
class GrpcServedConnection(EngineServedConnection):
    """The served calls of one connection that speaks gRPC."""

    def encodings(self) -> bytes:
        """Return the names of the compressors that requests may have."""

    def unknown_compressor(self, call: Any) -> str:
        """Return the error text for an unknown compressor."""

    def corrupt_status(self, call: Any) -> int:
        """Return the status for a request, or a message of its stream, that cannot be decompressed."""

    def note_answer(self, call: Any, status: int, fields: dict[str, bytes], compress: bool | None) -> None:
        """Keep the fields of an answer by Connect that caches may store."""

    def unknown_method(self, call: Any, method: str, services: Any) -> str | None:
        """Return the error text for a path that leads to no method."""

    def encode_details(self, call: Any, status: int, text: str, details: Any) -> bytes:
        """Return the details of an error as a google.rpc.Status; b"" if no message holds them."""

    def peer_of(self, call: Any) -> Peer | None:
        """Return the other side of a call, with the protocol of that call."""

    def note_drain(self) -> None:
        """Notify handlers that the connection drains. Its second GOAWAY names the last call in time."""
