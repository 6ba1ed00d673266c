class SocketEnd:
    """The server's end of a WebSocket: frames in and out, its memory and its time."""
