"""Nothing here is for Python."""

from typing import final

@final
class SocketTalk:
    """One WebSocket: a call, or the messages of JSON-RPC."""
