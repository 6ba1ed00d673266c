from fastrpc._core.http.answering import BareAnswering

class SocketEnd(BareAnswering):
    """The server's end of a WebSocket: frames in and out, its memory and its time."""
