"""The limits of responses, and the socket that enforces them."""

import io
import socket
import ssl
import time

from fastrpc.escaping import printable

__all__ = [
    "ANSWER_BYTES",
    "ANSWER_SECONDS",
    "PIECE_BYTES",
    "REST_SECONDS",
    "HttpError",
    "TimedSocket",
    "check_values",
    "seconds_left",
    "told",
]

#: Longest response in bytes, including headers. The records of ten thousand endpoints fit.
ANSWER_BYTES = 16 * 1024 * 1024

#: Seconds until the first byte of a response, including the time to connect. The system's name lookup is not bounded.
ANSWER_SECONDS = 2.0

#: Seconds from the first byte of a response to the last one, and from the first byte of a line of a stream to its end.
REST_SECONDS = 3.0

#: The most values of a JSON text: many small values need far more memory than the text has bytes.
JSON_VALUES = 2_000_000

#: The longest text of an error, in characters, so that it fits on a line.
TEXT_CHARACTERS = 300

#: Most bytes that are received in one call.
PIECE_BYTES = 65_536


class HttpError(Exception):
    """A request failed, or its response broke a rule; the text is one line and safe to print."""

    #: Whether the server may have received the request.
    was_sent = True

    #: Whether the connection failed or ended within a response.
    is_cut = False

    def __init__(self, text: str) -> None:
        super().__init__(printable(" ".join(text[: 4 * TEXT_CHARACTERS].split()))[:TEXT_CHARACTERS])


def check_values(text: bytes) -> None:
    """Refuse a JSON text with too many values.

    Raises:
        HttpError: the text has too many values.
    """
    if len(text) < JSON_VALUES:  # Each value has a byte.
        return
    values = sum(text.count(mark) for mark in (b",", b"[", b"{"))
    if values > JSON_VALUES:
        raise HttpError(f"the answer has some {values:,} JSON values, the limit is {JSON_VALUES:,}")


class TimedSocket:
    """A socket as `http.client` uses it, for one request: with a deadline and a byte count of the response."""

    def __init__(self, connected: socket.socket, most_bytes: int, due: float) -> None:
        self.socket = connected
        self._most_bytes = most_bytes
        #: Bytes of the response so far.
        self.received = 0
        # The deadline for the first byte of the response; after that byte, the deadline for the last one.
        self._due = due
        #: Whether the stream has ended.
        self.is_ended = False
        # Bytes that `give_back` returned, to be read again.
        self._given_back = b""

    def allow(self, most_bytes: int, due: float) -> None:
        """Allow `most_bytes` further bytes until an instant."""
        self._most_bytes = self.received + most_bytes
        self._due = due

    @property
    def seconds_left(self) -> float:
        """The seconds until the deadline.

        Raises:
            TimeoutError: the deadline has passed.
        """
        return seconds_left(self._due)

    def send_now(self, data: bytes) -> None:
        """Send a request without waiting.

        Raises:
            OSError: the socket's send buffer cannot hold the whole request.
        """
        self.socket.settimeout(0)
        if self.socket.send(data) != len(data):
            raise OSError("the connection is congested")

    def receive_now(self) -> bytes | None:
        """Return the available bytes without waiting: None if no byte has arrived, b"" at the end of the stream."""
        self.socket.settimeout(0)
        try:
            piece = self.socket.recv(min(PIECE_BYTES, self._allowed()))
        except (BlockingIOError, ssl.SSLWantReadError):
            return None
        self._note_received(len(piece))
        return piece

    def give_back(self, data: "bytes | bytearray") -> None:
        """Put back received bytes, so that they are read again before others. They are not counted again."""
        self._given_back = bytes(data)
        # If the end of the stream was received, it is read again after these bytes.
        self.is_ended = False

    def sendall(self, data: bytes) -> None:
        self.socket.settimeout(seconds_left(self._due))
        self.socket.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Received(self), PIECE_BYTES)

    def receive_into(self, place: memoryview) -> int:
        """Receive the bytes that are available, waiting for the first; 0 is the end of the stream."""
        if self._given_back:
            piece, self._given_back = self._given_back[: len(place)], self._given_back[len(place) :]
            place[: len(piece)] = piece
            return len(piece)
        allowed = self._allowed()
        self.socket.settimeout(seconds_left(self._due))
        count = self.socket.recv_into(place[:allowed])
        self._note_received(count)
        return count

    def _allowed(self) -> int:
        """Return how many more bytes the response may have."""
        allowed = self._most_bytes - self.received
        if allowed <= 0:
            raise HttpError(f"the answer has more bytes than the limit of {self._most_bytes:,}")
        return allowed

    def _note_received(self, count: int) -> None:
        self.is_ended = not count
        if not self.received:
            self._due = min(self._due, time.monotonic() + REST_SECONDS)
        self.received += count

    def close(self) -> None:
        """Do nothing: a response may still be read after this. The client closes the socket."""


class _Received(io.RawIOBase):
    """The received bytes of a socket, as a file."""

    def __init__(self, source: TimedSocket) -> None:
        self._source = source

    def readable(self) -> bool:
        return True

    def readinto(self, place: "memoryview | bytearray") -> int:  # type: ignore[override]
        return self._source.receive_into(memoryview(place))


def seconds_left(due: float) -> float:
    """Return the seconds until an instant; raise a timeout if it has passed."""
    left = due - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def told(error: BaseException) -> str:
    """Return the cause of an error as text, for a socket error in the system's words."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror and not isinstance(error, ssl.SSLError):
        return error.strerror
    return str(error) or type(error).__name__
