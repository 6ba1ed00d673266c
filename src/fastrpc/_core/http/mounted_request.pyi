from typing import Any, final

from fastrpc._core.exchange.request_head import RequestHead
from fastrpc._core.server.served_call import ServerCall

#: Seconds that an application has after the end of its request, before it is cancelled.
GRACE_SECONDS: float

class ClientGoneError(OSError):
    """Raised by `send` in an application whose client has disconnected."""

@final
class MountedRequest:
    """A request to a mounted application, as events of ASGI."""

    @property
    def call(self) -> ServerCall:
        """The call that represents the request for the gate."""

    @property
    def head(self) -> RequestHead: ...
    @property
    def is_gone(self) -> bool:
        """Whether the client is gone, or the time of the request is over."""

    @property
    def is_complete(self) -> bool:
        """Whether the last part of the response was sent."""

    #: The `MountedSocket` that it asked for; None for other requests.
    socket: Any

    @property
    def fields(self) -> list[tuple[bytes, bytes]]:
        """The names in lower case with their values, in order."""

    @property
    def sockname(self) -> Any:
        """The server's address of the connection, from its transport; None if the connection is closed."""

    async def receive(self) -> dict[str, Any]:
        """Return the next event: a part of the body, or the end of the request."""

    async def send(self, message: dict[str, Any]) -> None:
        """Send an event of the response; wait while the client reads no output.

        Raises:
            OSError: the client is gone.
            RuntimeError: the state of the response forbids the event, or the body does not fit its Content-Length.
            ValueError: a field would break the head, or the status is out of range.
        """

    async def wait_memory(self) -> None:
        """Wait until the process has memory for more output.

        Raises:
            OSError: the client is gone.
        """

    async def wait_room(self) -> None:
        """Wait until some output was sent, or something else has changed."""

    def finish(self) -> None:
        """Handle the return of the application.

        Raises:
            RuntimeError: the response is incomplete, and the client still waits for it.
        """

    def cancel(self) -> None:
        """Cancel the application, unless it has returned."""

    def leave(self) -> int:
        """Notify the application that the request is over."""

def current_request() -> MountedRequest:
    """Return the request of the running application."""
