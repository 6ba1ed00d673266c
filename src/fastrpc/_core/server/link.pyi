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
    """The served calls of the connection of a `Link`."""

    def note_drain(self) -> None:
        """Notify handlers of the drain. Further calls are accepted: the wire refuses calls that are too late."""

@final
class LinkedOutcomes(Outcomes):
    """Passes the outcomes of calls to the wire of their link. All links share one object."""

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
        """Return "pushes" if the protocol has pushes, else None. The peer may ignore pushes without notice."""

    @property
    def takes_pushes(self) -> bool:
        """Whether the peer has accepted enough output for another push."""
    pusher: Any
    """Receiver of `on_room()`, when pushes fit again, and `on_end()`, when none ever will; or None."""

    def push(self, call: Call) -> None:
        """Send a one-way call of ours: to the peer it is a message of its server.

        Raises:
            EncodeError: the protocol has no such codec.
            NotImplementedError: the protocol has no pushes.
        """

    def describe_peer(self) -> Peer:
        """Return a description of the other side of the connection."""

    def identify(
        self,
        identity: Identity,
        valid_seconds: float | None = None,
        *,
        by_certificate: bool = False,
        generation: int = 0,
    ) -> bool:
        """Set the identity proved by the peer's certificate, and its expiry. A token of a call has precedence."""

    def go_on(self) -> None:
        """Handle the input that waited for a verdict."""

    def begin_drain(self, reason: int, text: str = "") -> None:
        """Notify the peer, or close when it makes no call for a while. Calls until then are served."""

    @property
    def is_at_rest(self) -> bool:
        """Whether the connection is idle, and its protocol has no goodbye, so that a last request may still arrive."""

    @property
    def has_drained(self) -> bool:
        """Whether a drain is complete: no call is in progress or expected, and all output is sent."""

    def end_calls(self, text: str) -> None:
        """Answer every call that is still in progress, and stop its handler."""

    def close(self, reason: int = 0, text: str = "") -> None:
        """Send the reason to the peer, if the protocol can, and close when all output is sent."""

    def stats(self) -> dict[str, Any]:
        """Return the state of this connection as plain data: calls in progress, waiting output, credit."""
