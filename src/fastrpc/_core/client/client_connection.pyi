from asyncio import AbstractEventLoop
from typing import Any, final

from fastrpc._core.client.client_call import ClientCall
from fastrpc._core.io.client_life import ClientLife
from fastrpc._core.native.connection import Connection
from fastrpc._core.native.hooks import Side
from fastrpc.config import Keepalive, Timeouts
from fastrpc.protocols.base import Protocol

@final
class ClientSide(Side):
    """The decisions of the client's side of one connection."""

@final
class ClientConnection(Connection):
    """The client's side of one connection to one endpoint, carrying any number of calls at once.

    Args:
        endpoint: the address it leads to; errors name it.
        timeouts, keepalive: the rules of its life.
        owner: notified of its life, with the connection as first argument: `connection_ready`, `connection_aged`,
            `connection_draining`, `connection_lost` (and the error), if asked for `connection_used` and
            `connection_crowded`, and, of a credential that expires, `connection_accepted` (and the seconds). None for
            threads, which share it by a `BlockingSession`.
        loop: watches the deadlines of its calls; None for threads.
        credential: the token to show before the first call.
        protocol: the protocol of a translation below it; None: native. It names the calls in counts, and says whether
            each payload is one value.
        options: as for `Connection`.
    """

    def __init__(
        self,
        *,
        endpoint: Any,
        timeouts: Timeouts,
        keepalive: Keepalive,
        owner: Any = None,
        loop: AbstractEventLoop | None = None,
        credential: bytes | None = None,
        protocol: Protocol | None = None,
        **options: Any,
    ) -> None: ...
    @property
    def endpoint(self) -> Any:
        """The address it leads to."""

    @property
    def life(self) -> ClientLife:
        """The rules of its opening, age and rest."""

    @property
    def is_ready(self) -> bool:
        """Whether the peer's SETTINGS came."""

    @property
    def calls_in_flight(self) -> int:
        """The calls that were opened here and are not over."""

    def await_crowd(self, calls: int) -> None:
        """Notify the owner once when a call is opened while `calls` others are in flight; 0: never."""

    def tell_crowd(self) -> None:
        """Notify the owner that the calls in flight have reached `await_crowd`, unless the connection is closed."""

    def begin_probe(self, call: ClientCall) -> None:
        """Note that a call only probes health: it does not count as use of any connection."""

    def end_probe(self, call: ClientCall) -> None:
        """Note that a call that only probes health ended, or was not sent."""

    def present(self, token: bytes) -> None:
        """Show the server a token."""

    def retire(self) -> None:
        """Take no new calls, and close once the calls under way have ended."""

    def stats(self) -> dict[str, int]:
        """Return what is under way as plain data: calls, waiting, buffered, credit."""
