from typing import Any, final

from fastrpc._core.exchange.request_head import RequestHead
from fastrpc._core.server.served_call import ServerCall

#: Seconds that an application has after the end of its request, before it is cancelled.
GRACE_SECONDS: float

class ClientGoneError(OSError):
    """Raised to an application that sends a response: its client has disconnected."""

@final
class MountedRequest:
    """A request to a mounted application, as events of ASGI."""

    @property
    def call(self) -> ServerCall:
        """The call that the gate counts."""

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
        """The server's address of the connection, as the transport has it; None if it is gone."""

    async def receive(self) -> dict[str, Any]:
        """Return the next event: a part of the body, or the end of the request."""

    async def send(self, message: dict[str, Any]) -> None:
        """Take an event of the response; wait while the client takes no output.

        Raises:
            OSError: the client is gone.
            RuntimeError: the event does not fit the state of the response, or its body the stated length.
            ValueError: a field would break the head, or the status is out of range.
        """

    async def wait_memory(self) -> None:
        """Wait until the process has room.

        Raises:
            OSError: the client is gone.
        """

    async def wait_room(self) -> None:
        """Wait until some output was sent, or for another change."""

    def finish(self) -> None:
        """Note that the application has returned.

        Raises:
            RuntimeError: the response is not complete, and the client still waits for it.
        """

    def cancel(self) -> None:
        """Cancel the application, unless it has returned."""

    def leave(self) -> int:
        """Tell the application that the request is over."""

def current_request() -> MountedRequest:
    """Return the request of the running application."""
