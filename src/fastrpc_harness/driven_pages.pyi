from collections.abc import Callable
from typing import Any

from fastrpc._core.exchange.exchange import HttpApplication
from fastrpc._core.exchange.pages import Pages
from fastrpc._core.exchange.request_head import RequestHead, RequestLimits

class DrivenPages(Pages):
    """Answers requests as a test says, without calls."""

    most: int
    takes_parts: bool
    decides: bool
    asks_later: bool
    on_request: Callable[[DrivenRequest], object] | None

    def __init__(
        self,
        limits: RequestLimits,
        *,
        most: int = 1_048_576,
        takes_parts: bool = False,
        decides: bool = False,
        asks_later: bool = False,
        on_request: Callable[[DrivenRequest], object] | None = None,
    ) -> None: ...
    @property
    def requests(self) -> list[DrivenRequest]:
        """The requests so far."""

class DrivenRequest(HttpApplication):
    """One request, with the events of its exchange."""

    on_part: Callable[[], object] | None
    on_event: Callable[[tuple[Any, ...]], object] | None

    @property
    def events(self) -> list[tuple[Any, ...]]:
        """The events so far, each a tuple that begins with its kind."""
    @property
    def looks(self) -> int:
        """The checks of the request so far."""
    @property
    def head(self) -> RequestHead | None:
        """The head of the request; None once it is answered or gone."""
    @property
    def is_open(self) -> bool:
        """Whether output may still be sent."""
    @property
    def is_full(self) -> bool:
        """Whether a sender of messages has to wait."""
    @property
    def unsent(self) -> int:
        """The bytes of output that wait."""
    def answer(self, status: int, lines: bytes = b"", body: bytes = b"") -> None:
        """Send a whole response."""
    def begin(self, status: int, lines: bytes = b"", size: int | None = None) -> None:
        """Begin a response in parts, of a stated length if a size is given."""
    def part(self, part: bytes, at: int = 0, size: int = -1) -> None:
        """Send a part."""
    def end(self) -> None:
        """End a response in parts."""
    def cut(self) -> None:
        """End without the rest."""
    def admit(self) -> None:
        """Let the body come."""
    def skip(self) -> None:
        """Hand the request over without its body."""
    def hold(self, is_held: bool) -> None:
        """Hold the body, or let it go on."""
    def ask(self) -> None:
        """Ask for the body."""
    def await_room(self) -> None:
        """Ask for the event of room."""
    def wait(self, due_ns: int) -> None:
        """Be checked at an instant, or before."""
    def open_tunnel(self, protocol: str = "", lines: bytes = b"") -> None:
        """Accept a WebSocket."""
    def send(self, data: bytes) -> None:
        """Send bytes in a tunnel."""
