"""Nothing here is for Python."""

from typing import final

@final
class SocketTalk:
    """A WebSocket that carries one call, or the messages of a fixed path such as JSON-RPC."""
