from typing import final

from fastrpc._core.native.call_parts import ServingPart
from fastrpc._core.native.connection import Connection
from fastrpc._core.server.engine_served_connection import EngineServedConnection
from fastrpc._core.server.gate import Gate
from fastrpc.peers.peer import Peer

@final
class NativeServedConnection(EngineServedConnection):
    """The served calls of one connection that speaks the native protocol."""

    @property
    def session(self) -> Connection | None:
        """The connection, or None once it is gone."""

    def describe_peer(self) -> Peer:
        """Return who is on the other side; known also when the connection is gone."""

    def note_probe(self) -> None:
        """Note that a call only asked for health: it is no use of the connection."""

    def note_drain(self) -> None:
        """Tell handlers that the connection drains. Its GOAWAY with FINAL says which calls are too late."""

    def return_credit(self) -> int: ...

@final
class ServedCalls(ServingPart):
    """The calls of theirs on one connection, with what the gate knows of it."""

def serve_on(session: Connection, gate: Gate) -> NativeServedConnection:
    """Let a connection serve calls by a gate; what it announces has to say so. Return what the gate knows of it."""
