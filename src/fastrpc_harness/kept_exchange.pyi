from typing import final

from fastrpc._core.exchange.exchange import Exchange, HttpApplication
from fastrpc._core.exchange.pages import Pages
from fastrpc._core.http.connection import GatewayConnection

@final
class KeptExchange(Exchange):
    """A request on a connection of the gateway, in addition to the requests in the bytes of the connection."""

    def __init__(self, engine: GatewayConnection) -> None: ...
    @property
    def status(self) -> int: ...
    @property
    def lines(self) -> bytes | None: ...
    @property
    def parts(self) -> list[bytes]: ...
    @property
    def is_complete(self) -> bool: ...
    @property
    def was_cut(self) -> bool: ...
    @property
    def has_sender(self) -> bool: ...
    @property
    def due_ns(self) -> int: ...
    @property
    def refused(self) -> int: ...
    @property
    def is_known(self) -> bool:
        """Whether the application refers to it."""
    takes_none: bool
    def ask(
        self,
        method: bytes,
        target: bytes,
        fields: list[tuple[bytes, bytes]],
        body: bytes | None = None,
        protocol: bytes | None = None,
    ) -> None:
        """Send a request; without `body` its body never arrives."""

    def feed(self, data: bytes) -> int:
        """Send bytes in a tunnel; return how many were consumed."""

    def reset(self) -> None:
        """Reset the request, as a client of HTTP/2 may."""

    def look(self, later_ns: int = 0) -> int:
        """Run the checks of the request or its tunnel that are due in `later_ns`; return the next instant."""

    def make_room(self) -> None:
        """Take output again."""

    def end_tunnel(self, text: str) -> None:
        """End the tunnel as if the connection closed."""

def attempt_exchange(exchange: Exchange, method: str) -> None:
    """Call a method of an exchange."""

def attempt_application(application: HttpApplication, method: str) -> None:
    """Call a method of an application."""

def attempt_pages(pages: Pages, method: str) -> None:
    """Call a method of pages."""
