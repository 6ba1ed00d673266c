from fastrpc._core.http.answering import BareAnswering

class SocketEnd(BareAnswering):
    """The server's end of a WebSocket: its frames, memory and time limits."""
