from typing import final

class SocketViolationError(Exception):
    """The peer broke the protocol, or a limit: the connection closes with a code."""

    code: int
    text: str

    def __init__(self, code: int, text: str) -> None: ...

@final
class WebSocketReader:
    """Makes messages from the bytes that a client sends.

    Args:
        most_bytes: the most bytes of a message.
        takes_text: whether messages of text are taken.
        takes_binary: whether messages of bytes are taken.
    """

    def __init__(self, most_bytes: int, *, takes_text: bool = True, takes_binary: bool = True) -> None: ...
    @property
    def most_bytes(self) -> int: ...
    @property
    def opcode(self) -> int:
        """The kind of the message under way; 0 between two."""

    @property
    def payload(self) -> bytes:
        """The part completed last."""

    @property
    def kind(self) -> int:
        """The opcode of the last message."""

    @property
    def close_code(self) -> int:
        """The code of the close frame; 1005: it had none."""

    @property
    def close_reason(self) -> str: ...
    @property
    def held(self) -> int:
        """The bytes that are kept of a message."""

    def take_data(self, data: bytes) -> tuple[int, str]:
        """Take the next part of these bytes.

        Returns:
            Its size, and the part completed: "message", "ping", "pong", "close" or "". With 0 more bytes are needed:
            the rest is presented again.

        Raises:
            SocketViolationError: the peer broke the protocol, or a limit.
        """

def server_frame(opcode: int, payload: bytes) -> bytes:
    """Return a whole frame as a server sends it."""

def close_payload(code: int, reason: str = "") -> bytes:
    """Return the content of a close frame; the reason is cut to fit."""
