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
        """Take an event; wait while the client takes no output.

        Raises:
            OSError: the client is gone.
            RuntimeError: the event does not fit the state of the connection.
            ValueError: a field, a status or a code is out of range.
        """

    def note_return(self) -> None:
        """Note that the application has returned: close the connection.

        Raises:
            RuntimeError: the handshake has no answer, and the client still waits for it.
        """

    def forget_messages(self) -> None:
        """Free the messages that the application has not taken: it has ended."""
