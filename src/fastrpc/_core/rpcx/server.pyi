from typing import Any, Literal

from fastrpc._core.client.client_call import ClientCall
from fastrpc._core.rpcx.frames import Profile
from fastrpc._core.rpcx.requests import RpcxRequests
from fastrpc._core.server.gate import Gate
from fastrpc._core.server.openings import Openings
from fastrpc.config import Keepalive, Limits, Timeouts
from fastrpc.peers.peer import Peer
from fastrpc.rpc.identity import Identity

class RpcxServer(RpcxRequests):
    """The server's side of one connection.

    Args:
        derived: a protocol that is served here too, whose peers may come with this magic: errors have its key as well.
    """

    def __init__(
        self,
        profile: Profile,
        *,
        gate: Gate,
        openings: Openings,
        timeouts: Timeouts,
        keepalive: Keepalive,
        limits: Limits,
        derived: Profile | None = None,
    ) -> None: ...
    @property
    def is_opening(self) -> bool: ...
    @property
    def peer_takes(self) -> Literal["pushes"]:
        """Always "pushes": nothing tells whether the peer listens."""

    @property
    def takes_pushes(self) -> bool:
        """Whether the peer took so much of the output that a push may be added."""
    pusher: Any
    """Receiver of `on_room()`, if there is room for pushes, and `on_end()`, once there never will be; or None."""

    def push(self, call: ClientCall) -> None:
        """Send a one-way call of ours: to the peer it is a message of its server.

        Raises:
            EncodeError: rpcx has no such codec.
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
        """Note who the peer proved to be by its certificate, and until when; a call's own token comes before it."""

    def begin_drain(self, reason: int, text: str = "") -> None:
        """Close when the peer has made no call for a while; calls until then are served."""

    @property
    def is_at_rest(self) -> bool:
        """Whether it carries nothing; it waits for a last request."""

    @property
    def has_drained(self) -> bool:
        """Whether no call is under way, none came for a while, and all output is sent."""

    def end_calls(self, text: str) -> None:
        """Answer every call that is still under way, and stop its handler."""

    def close(self, reason: int = 0, text: str = "") -> None:
        """Close once all output is sent; the protocol has no word of goodbye."""

    def stats(self) -> dict[str, Any]:
        """Return the calls under way on this connection, as plain data."""
