from collections.abc import Callable
from typing import Any, final

from fastrpc._core.calls.calling_part import CallingPart
from fastrpc._core.client.client_call import ClientCall
from fastrpc._core.http2.connection import Http2Connection
from fastrpc._core.io.client_life import ClientLife
from fastrpc._core.io.engine import Engine
from fastrpc._core.wire.settings import WireSettings
from fastrpc.endpoint import Endpoint
from fastrpc.protocols.base import ClientParts

@final
class GrpcCalls(CallingPart):
    """The client's calls on a connection that speaks gRPC."""

@final
class GrpcClient(Engine):
    """The client's side of one connection that speaks gRPC, for clients on event loops and in threads.

    Args: parts: the parts of the connection. scheme: "http", or "https" where the connection is encrypted. authority:
        the name of the server for requests. peer: the limits and numbers of every server. ping_interval: seconds
        without data after which a server with a call in progress is pinged; 0: never. validity: returns the seconds for
        which a token is valid, 0 if the token does not state them.
    """

    def __init__(
        self,
        parts: ClientParts,
        *,
        scheme: str,
        authority: str,
        peer: WireSettings,
        ping_interval: float,
        validity: Callable[[bytes], float],
    ) -> None: ...
    @property
    def http2(self) -> Http2Connection:
        """The connection of HTTP/2."""

    @property
    def endpoint(self) -> Endpoint: ...
    @property
    def peer(self) -> WireSettings: ...
    @property
    def is_ready(self) -> bool: ...
    @property
    def life(self) -> ClientLife:
        """The rules of its opening, age and rest."""

    @property
    def auth_status(self) -> int: ...
    @property
    def auth_text(self) -> str | None: ...
    @property
    def closed_text(self) -> str | None: ...
    @property
    def peer_replaces(self) -> bool: ...
    @property
    def wants_fewer_pings(self) -> bool:
        """Whether the server closed the connection for too many pings. The next connection sends half as many."""

    @property
    def calls_in_flight(self) -> int: ...
    def await_crowd(self, calls: int) -> None: ...
    def tell_crowd(self) -> None: ...
    def begin_probe(self, call: ClientCall) -> None: ...
    def end_probe(self, call: ClientCall) -> None: ...
    def present(self, token: bytes) -> None: ...
    def retire(self) -> None: ...
    def close(self, reason: int = 0, text: str = "") -> None: ...
    def stats(self) -> dict[str, Any]: ...
