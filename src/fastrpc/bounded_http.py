"""HTTP requests to servers that are not trusted: each response is bounded in bytes and time.

Every HTTP client of the package uses this one. It blocks, so it runs in threads. A response is refused when it

- redirects: a request may carry a secret, which is meant for one server;
- exceeds the byte limit; headers, chunk sizes, trailers and interim responses count;
- is incomplete at its deadline, even if bytes keep arriving;
- has a content encoding, since the request accepts none.

Proxy settings and `.netrc` are ignored.
"""

import contextlib
import http.client
import io
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping

from fastrpc.escaping import printable
from fastrpc.value_class import value_class

__all__ = ["ANSWER_BYTES", "ANSWER_SECONDS", "REST_SECONDS", "BoundedHttpClient", "HttpError", "Response"]

#: Longest response in bytes, headers included. Ten thousand endpoints with their records fit.
ANSWER_BYTES = 16 * 1024 * 1024

#: Seconds until the first byte of a response, connecting included. The system's name lookup is not bounded.
ANSWER_SECONDS = 2.0

#: Seconds from the first byte of a response to the last one.
REST_SECONDS = 3.0

#: Values of a JSON text: many small ones take far more memory than their bytes.
JSON_VALUES = 2_000_000

#: Longest text of an error, in characters, so that it fits on a line.
TEXT_CHARACTERS = 300

_PIECE_BYTES = 65_536

_LENGTH = re.compile(r"[0-9]{1,18}")


class HttpError(Exception):
    """A request failed, or its response broke a rule; the text is one line and safe to print."""

    def __init__(self, text: str) -> None:
        super().__init__(printable(" ".join(text[: 4 * TEXT_CHARACTERS].split()))[:TEXT_CHARACTERS])


@value_class
class Response:
    """A complete response, of any status."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json_text(self) -> str:
        """Return the body as text whose JSON is safe to parse.

        Raises:
            HttpError: it is not UTF-8, or has too many values.
        """
        values = sum(self.body.count(mark) for mark in (b",", b"[", b"{"))
        if values > JSON_VALUES:
            raise HttpError(f"the answer has some {values:,} JSON values, the limit is {JSON_VALUES:,}")
        try:
            return self.body.decode()
        except UnicodeDecodeError as error:
            raise HttpError(f"the answer is not UTF-8: {error}") from None


class BoundedHttpClient:
    """A client of one server over one kept connection, for one thread; another thread may call `close`.

    Args:
        encrypt: does a TLS handshake on a connected socket, which then checked the server; None is plain HTTP.
        most_bytes: longest response.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        encrypt: Callable[[socket.socket], ssl.SSLSocket] | None = None,
        most_bytes: int = ANSWER_BYTES,
    ) -> None:
        self._host = host
        self._port = port
        self._encrypt = encrypt
        self._most_bytes = most_bytes
        # Re-entrant: a finalizer may call `close`, and it can run on any line of the thread that holds the lock.
        self._lock = threading.RLock()
        self._socket: socket.socket | None = None
        self._is_busy = self._is_closed = False

    def request(
        self,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        held_seconds: float = 0.0,
    ) -> Response:
        """Return the response to a request.

        Args:
            target: path and query.
            held_seconds: how long the server may hold the request before it responds.

        Raises:
            HttpError: there is no response, or one that breaks a rule.
        """
        with self._lock:
            if self._is_closed:
                raise HttpError("the client is closed")
            self._is_busy = True
        try:
            connected = self._connected(held_seconds)
            # `http.client` writes the request and reads the response; it does not connect.
            connection = http.client.HTTPConnection(self._host, self._port)
            connection.sock = connected
            connection.request(method, target, body=body, headers=dict(headers or {}))
            response = connection.getresponse()
            if connected.is_ended:
                raise HttpError("the answer ended within its head")
            self._check_head(response)
            answer = Response(response.status, response.headers, self._body(response))
            if response.will_close:
                self._drop()
        except BaseException as error:
            # The rest of this response must not be parsed as the next one.
            self._drop()
            if not isinstance(error, OSError | http.client.HTTPException):
                raise
            raise HttpError("the client is closed" if self._is_closed else _told(error)) from error
        finally:
            self._end_request()
        return answer

    def _connected(self, held_seconds: float) -> "_TimedSocket":
        """Return the connection for one request: the kept one if it is open and idle, else a new one."""
        begun = time.monotonic()
        kept = self._socket
        if kept is None or not _is_quiet(kept):
            self._drop()
            kept = self._dial(begun + ANSWER_SECONDS)
        return _TimedSocket(kept, self._most_bytes, begun + held_seconds + ANSWER_SECONDS)

    def _end_request(self) -> None:
        with self._lock:
            self._is_busy = False
            if self._is_closed:
                self._drop()

    def _check_head(self, response: http.client.HTTPResponse) -> None:
        """Refuse redirects, content encodings, and a body that is too long or of unknown length."""
        status, headers = response.status, response.headers
        if not (200 <= status < 300 or 400 <= status < 600):
            place = headers.get("Location")
            told = "" if place is None else f" and leads to {place[:100]!r}"
            raise HttpError(f"it answered {status}{told}; redirects are not followed")
        for name, known in (("Content-Encoding", "identity"), ("Transfer-Encoding", "chunked")):
            found = headers.get(name, known)
            if found.strip(" \t").lower() != known:
                raise HttpError(f"the answer has {name} {found[:100]!r}, which the request did not accept")
        lengths = set(headers.get_all("Content-Length", ()))
        if len(lengths) > 1 or not all(_LENGTH.fullmatch(one) for one in lengths):
            raise HttpError(f"the answer has Content-Length {', '.join(sorted(lengths))[:100]!r}")
        if response.length is not None and response.length > self._most_bytes:
            raise HttpError(f"the answer has {response.length:,} bytes, the limit is {self._most_bytes:,}")

    def _body(self, response: http.client.HTTPResponse) -> bytes:
        """Return all of a body; its bytes are counted where they are received."""
        length = response.length
        # Piece by piece: an announced length allocates no memory.
        body = bytearray()
        while length is None or len(body) < length:
            piece = response.read1(_PIECE_BYTES if length is None else min(_PIECE_BYTES, length - len(body)))
            if not piece:
                break
            body += piece
        if length is not None and len(body) < length:
            raise HttpError(f"the answer ended after {len(body):,} of {length:,} bytes")
        response.close()
        return bytes(body)

    def _dial(self, due: float) -> socket.socket:
        """Connect to the first address of the host that accepts; each address gets its share of the time."""
        places = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        for number, (family, kind, protocol, _, address) in enumerate(places):
            one = socket.socket(family, kind, protocol)
            try:
                self._hold(one)
                one.settimeout(_left(due) / (len(places) - number))
                one.connect(address)
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                one.settimeout(_left(due))
                if self._encrypt is not None:
                    one = self._encrypt(one)
                    self._hold(one)
                return one
            except OSError:
                self._drop()
                one.close()
                if number == len(places) - 1:
                    raise
        raise OSError(f"{self._host} has no address")

    def _hold(self, one: socket.socket) -> None:
        """Record a socket, so that another thread can interrupt a wait on it."""
        with self._lock:
            self._socket = one
            if self._is_closed:
                _shut(one)

    def _drop(self) -> None:
        """Drop the connection; the next request opens another."""
        with self._lock:
            one, self._socket = self._socket, None
        if one is not None:
            one.close()

    def close(self) -> None:
        """Close the connection, even while another thread waits for a response on it. Closing twice is fine."""
        with self._lock:
            self._is_closed = True
            if self._socket is not None:
                _shut(self._socket)
            if not self._is_busy:
                self._drop()


class _TimedSocket:
    """A socket as `http.client` uses it, for one request: with a deadline and a byte count of the response."""

    def __init__(self, connected: socket.socket, most_bytes: int, due: float) -> None:
        self._socket = connected
        self._most_bytes = most_bytes
        self._received = 0
        # The deadline for the first byte of the response; after that byte, the deadline for the last one.
        self._due = due
        #: Whether the stream has ended.
        self.is_ended = False

    def sendall(self, data: bytes) -> None:
        self._socket.settimeout(_left(self._due))
        self._socket.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Received(self), _PIECE_BYTES)

    def receive_into(self, place: memoryview) -> int:
        """Receive the bytes that are available, waiting for the first; 0 is the end of the stream."""
        allowed = self._most_bytes - self._received
        if allowed <= 0:
            raise HttpError(f"the answer has more bytes than the limit of {self._most_bytes:,}")
        self._socket.settimeout(_left(self._due))
        count = self._socket.recv_into(place[:allowed])
        self.is_ended = not count
        if not self._received:
            self._due = min(self._due, time.monotonic() + REST_SECONDS)
        self._received += count
        return count

    def close(self) -> None:
        """Leave the socket to the client: a response may still be read after this."""


class _Received(io.RawIOBase):
    """The received bytes of a socket, as a file."""

    def __init__(self, source: _TimedSocket) -> None:
        self._source = source

    def readable(self) -> bool:
        return True

    def readinto(self, place: "memoryview | bytearray") -> int:  # type: ignore[override]
        return self._source.receive_into(memoryview(place))


def _left(due: float) -> float:
    """Return the seconds until an instant; raise a timeout if it has passed."""
    left = due - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _is_quiet(one: socket.socket) -> bool:
    """Return whether a kept connection is open and has received no unrequested bytes."""
    one.settimeout(0)
    try:
        # On the plain socket: TLS objects do not support MSG_PEEK.
        socket.socket.recv(one, 1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _shut(one: socket.socket) -> None:
    """Wake a thread that waits on a socket."""
    with contextlib.suppress(OSError):
        # On the plain socket: a TLS object would drop its state, which the other thread is using.
        socket.socket.shutdown(one, socket.SHUT_RDWR)


def _told(error: BaseException) -> str:
    """Return the cause in the system's words."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror and not isinstance(error, ssl.SSLError):
        return error.strerror
    return str(error) or type(error).__name__
