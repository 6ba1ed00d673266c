from typing import Any, final

from fastrpc._core.http.mounted_request import MountedRequest
from fastrpc._core.http.socket_end import SocketEnd

@final
class MountedSocket(SocketEnd):
    """A WebSocket of a mounted application, as events of ASGI."""

    def __init__(self, request: MountedRequest) -> None: ...
    @property
    def subprotocols(self) -> list[str]:
        """The subprotocols that the client offers, without a credential among them."""

    async def receive(self) -> dict[str, Any]:
        """Return the next event: the handshake, a message, or the end."""

    async def send(self, message: dict[str, Any]) -> None:
        """Send an event; wait while the client reads no output.

        Raises:
            OSError: the client is gone.
            RuntimeError: the state of the WebSocket forbids the event.
            ValueError: a field, a status or a code is out of range.
        """

    def note_return(self) -> None:
        """Handle the return of the application: close the connection.

        Raises:
            RuntimeError: the handshake was not answered, and the client still waits.
        """

    def forget_messages(self) -> None:
        """Free the messages that the application has not received, as it has ended."""
