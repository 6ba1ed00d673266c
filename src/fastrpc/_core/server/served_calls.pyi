from typing import final

from fastrpc._core.link.contract import Outcomes
from fastrpc._core.native.call_parts import ServingPart
from fastrpc._core.native.connection import Connection
from fastrpc._core.server.engine_served_connection import EngineServedConnection
from fastrpc._core.server.gate import Gate
from fastrpc.peers.peer import Peer

@final
class NativeServedConnection(EngineServedConnection):
    """The served calls of one connection that speaks the native protocol."""

    @property
    def engine(self) -> Connection | None:
        """The native connection, or None after it was freed."""

    def describe_peer(self) -> Peer:
        """Return the peer, which stays known when the connection has ended."""

    def note_probe(self) -> None:
        """Note a health probe, which does not count as use of the connection."""

    def note_drain(self) -> None:
        """Notify handlers of the drain. Calls are served until GOAWAY FINAL, which names the last accepted call."""

    def return_credit(self) -> int: ...

@final
class NativeOutcomes(Outcomes):
    """Sends the outcomes of calls on native connections. All connections share one object."""

@final
class ServedCalls(ServingPart):
    """The peer's calls on one connection, and the served connection that the gate uses for them."""

def serve_on(engine: Connection, gate: Gate) -> NativeServedConnection:
    """Make a connection serve calls through a gate, as its SETTINGS announce. Return the served connection."""
