from typing import Any, final

from fastrpc._core.native.connection import Connection
from fastrpc._core.native.hooks import Side
from fastrpc.config import Keepalive, Timeouts
from fastrpc.endpoint import Endpoint
from fastrpc.protocols.base import Protocol

@final
class BlockingSide(Side):
    """The decisions of the client's side of one connection, without a loop."""

@final
class BlockingConnection(Connection):
    """The client's side of one connection to one endpoint, for a `BlockingSession`.

    Args:
        endpoint: the address it leads to; errors name it.
        timeouts, keepalive: the rules of its life.
        credential: the token to show before the first call.
        protocol: the protocol of a translation below it; None: native. It names the calls in counts, and says whether
            each payload is one value.
        options: as for `Connection`.
    """

    def __init__(
        self,
        *,
        endpoint: Endpoint | str,
        timeouts: Timeouts,
        keepalive: Keepalive,
        credential: bytes | None = None,
        protocol: Protocol | None = None,
        **options: Any,
    ) -> None: ...
    @property
    def is_aged(self) -> bool:
        """Whether it is older than `Keepalive.max_age`: it takes calls until its successor does, or twice that age."""

    @property
    def is_spent(self) -> bool:
        """Whether its age or disuse ended it."""

    def close(self, reason: int = 0, text: str = "") -> None:
        """Close, with the reason; the stream writes the last words."""

    def stats(self) -> dict[str, int]:
        """Return what is under way as plain data: calls, waiting, buffered, credit."""
