from typing import Any

from fastrpc._core.grpc.requests import GrpcRequests
from fastrpc._core.server.gate import Gate
from fastrpc._core.server.openings import Openings
from fastrpc.config import Keepalive, Limits, Memory, Timeouts
from fastrpc.peers.peer import Peer
from fastrpc.rpc.identity import Identity

class GrpcServer(GrpcRequests):
    """The server's side of one connection."""

    def __init__(
        self,
        *,
        gate: Gate,
        openings: Openings,
        timeouts: Timeouts,
        keepalive: Keepalive,
        limits: Limits,
        memory: Memory,
        web: Any = None,
        proxies: Any = None,
    ) -> None: ...
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
        """Note who the certificate names, and until when; a call's own credential comes before it."""

    def go_on(self) -> None:
        """Take the requests that waited for a verdict."""

    def begin_drain(self, reason: int, text: str = "") -> None:
        """Take no new calls, once the peer knows; those under way go on."""

    @property
    def has_drained(self) -> bool:
        """Whether the peer knows that no new calls are taken, none is under way, and all output is sent."""

    def end_calls(self, text: str) -> None:
        """Answer every call that is still under way, and stop its handler."""

    def close(self, reason: int = 0, text: str = "") -> None:
        """Tell the peer the reason, and close once all output is sent."""

    def stats(self) -> dict[str, Any]:
        """Return the state of the connection as plain data."""
