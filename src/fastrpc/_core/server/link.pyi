from typing import Any, Literal, final

from fastrpc._core.calls.call import Call
from fastrpc._core.io.engine import Engine
from fastrpc._core.link.contract import Flow, Outcomes, Wire
from fastrpc._core.server.engine_served_connection import EngineServedConnection
from fastrpc._core.server.gate import Gate
from fastrpc._core.server.leaving import Leaving
from fastrpc._core.server.openings import Openings
from fastrpc.config import Keepalive, Timeouts
from fastrpc.peers.peer import Peer
from fastrpc.rpc.identity import Identity

@final
class LinkedConnection(EngineServedConnection):
    """The served calls of one connection that holds its protocol."""

    def note_drain(self) -> None:
        """Notify handlers of the drain. Further calls are accepted: the wire knows which are too late."""

@final
class LinkedOutcomes(Outcomes):
    """The outcomes of the calls of all links, by the wire of each."""

@final
class LinkedFlow(Flow):
    """The streams of all links, by the flow of each wire: the calls of a link may outlive it."""

@final
class Link(Engine):
    """A connection of a server, with the protocol that it holds.

    Args:
        wire: the protocol, which no other link may hold.
        openings: the connections of the server that are in their opening.
        timeouts: the times of the server.
        keepalive: its rules for silence, and the age of connections.

    Raises:
        RuntimeError: another link holds the wire.
    """

    def __init__(
        self, wire: Wire, *, gate: Gate, openings: Openings, timeouts: Timeouts, keepalive: Keepalive
    ) -> None: ...
    @property
    def gate(self) -> Gate: ...
    @property
    def connection(self) -> LinkedConnection: ...
    @property
    def wire(self) -> Wire:
        """The protocol."""

    @property
    def leaving(self) -> Leaving:
        """The drain and the close."""

    @property
    def peer_takes(self) -> Literal["pushes"] | None:
        """Return "pushes" if the protocol has them. The peer may ignore them without notice."""

    @property
    def takes_pushes(self) -> bool:
        """Whether the peer took enough output for another push."""
    pusher: Any
    """Receiver of `on_room()`, when pushes fit again, and `on_end()`, when none ever will; or None."""

    def push(self, call: Call) -> None:
        """Send a one-way call of ours: to the peer it is a message of its server.

        Raises:
            EncodeError: the protocol has no such codec.
            NotImplementedError: the protocol has no pushes.
        """

    def describe_peer(self) -> Peer:
        """Return the other side of the connection."""

    def identify(
        self,
        identity: Identity,
        valid_seconds: float | None = None,
        *,
        by_certificate: bool = False,
        generation: int = 0,
    ) -> bool:
        """Note the identity proved by the peer's certificate, and its expiry; a call's own token has precedence."""

    def go_on(self) -> None:
        """Handle the input that waited for a verdict."""

    def begin_drain(self, reason: int, text: str = "") -> None:
        """Notify the peer, or close once it made no call for a while; calls until then are served."""

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing is under way, and a last request may still come, which is impossible after a goodbye."""

    @property
    def has_drained(self) -> bool:
        """Whether no call is under way or to come, and all output is sent."""

    def end_calls(self, text: str) -> None:
        """Answer every call that is still under way, and stop its handler."""

    def close(self, reason: int = 0, text: str = "") -> None:
        """Tell the peer the reason, if the protocol can, and close once all output is sent."""

    def stats(self) -> dict[str, Any]:
        """Return the calls under way on this connection, as plain data."""
