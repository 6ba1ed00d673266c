"""HTTP requests to servers that are not trusted with more than the request: each answer is bounded in bytes and time.

Every HTTP client of the package is made of this one: registries, and whatever else fetches over HTTP. It blocks, so it
is used in threads that may wait. An answer is refused when it

- redirects: a request may carry a secret, which is meant for one server;
- has more bytes than allowed; headers, sizes of chunks, trailers and answers that only announce others count;
- is not complete in time, however it is spread over that time;
- is compressed or encoded otherwise, which nobody asked for.

Proxies and `.netrc` are for the world outside and are not looked at.
"""

import contextlib
import http.client
import io
import re
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

from fastrpc.escaping import printable

__all__ = ["ANSWER_BYTES", "ANSWER_SECONDS", "REST_SECONDS", "Answer", "BoundedHttpClient", "HttpError"]

#: Longest answer, all its parts together. Ten thousand endpoints with what a registry tells of each fit.
ANSWER_BYTES = 16 * 1024 * 1024

#: Seconds until the first byte of an answer, connecting included. Names are looked up by the system, in its own time.
ANSWER_SECONDS = 2.0

#: Seconds from the first byte of an answer to the last one.
REST_SECONDS = 3.0

#: Values of a JSON text: many small ones take far more memory than their bytes.
JSON_VALUES = 2_000_000

#: Longest text of an error, so that it stays a line.
TEXT_CHARACTERS = 300

_PIECE_BYTES = 65_536

_LENGTH = re.compile(r"[0-9]{1,18}")


class HttpError(Exception):
    """A request failed, or its answer broke a rule; the text is one line and safe to print."""

    def __init__(self, text: str) -> None:
        super().__init__(printable(" ".join(text[: 4 * TEXT_CHARACTERS].split()))[:TEXT_CHARACTERS])


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer, whatever its status."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json_text(self) -> str:
        """Return the body as text whose JSON may be parsed without harm.

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
    """Asks one server over one connection that is kept, for one thread; `close` may be called by another.

    Args:
        tls: encrypts and says who may answer; None is plain HTTP.
        most_bytes: longest answer.
    """

    def __init__(
        self, host: str, port: int, *, tls: ssl.SSLContext | None = None, most_bytes: int = ANSWER_BYTES
    ) -> None:
        self._host = host
        self._port = port
        self._tls = tls
        self._most_bytes = most_bytes
        # Re-entrant: who closes may be a finalizer, which runs in any line of the thread that holds it.
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
    ) -> Answer:
        """Return the answer to a request.

        Args:
            target: path and query.
            held_seconds: how long the server was asked to hold the request before it answers.

        Raises:
            HttpError: there is no answer, or one that breaks a rule.
        """
        with self._lock:
            if self._is_closed:
                raise HttpError("the client is closed")
            self._is_busy = True
        try:
            connected = self._connected(held_seconds)
            # It writes the request and reads the answer; connecting is not left to it.
            connection = http.client.HTTPConnection(self._host, self._port)
            connection.sock = connected
            connection.request(method, target, body=body, headers=dict(headers or {}))
            response = connection.getresponse()
            if connected.is_ended:
                raise HttpError("the answer ended within its head")
            self._check_head(response)
            answer = Answer(response.status, response.headers, self._body(response))
            if response.will_close:
                self._drop()
        except BaseException as error:
            # What is left of an answer must not be taken for the next one.
            self._drop()
            if not isinstance(error, OSError | http.client.HTTPException):
                raise
            raise HttpError("the client is closed" if self._is_closed else _told(error)) from error
        finally:
            self._end_request()
        return answer

    def _connected(self, held_seconds: float) -> "_TimedSocket":
        """Return the connection for one request, making one unless the kept one is open and silent."""
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
        """Refuse what nobody asked for, and a body that is too long or of which nobody knows how long it is."""
        status, headers = response.status, response.headers
        if not (200 <= status < 300 or 400 <= status < 600):
            place = headers.get("Location")
            told = "" if place is None else f" and leads to {place[:100]!r}"
            raise HttpError(f"it answered {status}{told}; redirects are not followed")
        for name, known in (("Content-Encoding", "identity"), ("Transfer-Encoding", "chunked")):
            found = headers.get(name, known)
            if found.strip().lower() != known:
                raise HttpError(f"the answer has {name} {found[:100]!r}, which was not asked for")
        lengths = set(headers.get_all("Content-Length", ()))
        if len(lengths) > 1 or not all(_LENGTH.fullmatch(one) for one in lengths):
            raise HttpError(f"the answer has Content-Length {', '.join(sorted(lengths))[:100]!r}")
        if response.length is not None and response.length > self._most_bytes:
            raise HttpError(f"the answer has {response.length:,} bytes, the limit is {self._most_bytes:,}")

    def _body(self, response: http.client.HTTPResponse) -> bytes:
        """Return all of a body; its bytes are counted where they are received."""
        length = response.length
        # Piece by piece: an announcement takes no memory.
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
        """Connect to the first address of the host that takes it; each gets its share of the time."""
        places = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        for number, (family, kind, protocol, _, address) in enumerate(places):
            one = socket.socket(family, kind, protocol)
            try:
                self._hold(one)
                one.settimeout(_left(due) / (len(places) - number))
                one.connect(address)
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                one.settimeout(_left(due))
                if self._tls is not None:
                    one = self._tls.wrap_socket(one, server_hostname=self._host)
                    self._hold(one)
                return one
            except OSError:
                self._drop()
                one.close()
                if number == len(places) - 1:
                    raise
        raise OSError(f"{self._host} has no address")

    def _hold(self, one: socket.socket) -> None:
        """Note a socket, so that another thread can end what waits on it."""
        with self._lock:
            self._socket = one
            if self._is_closed:
                _shut(one)

    def _drop(self) -> None:
        """Let go of the connection; the next request makes another."""
        with self._lock:
            one, self._socket = self._socket, None
        if one is not None:
            one.close()

    def close(self) -> None:
        """End the connection, also while another thread waits for an answer on it. Closing twice is fine."""
        with self._lock:
            self._is_closed = True
            if self._socket is not None:
                _shut(self._socket)
            if not self._is_busy:
                self._drop()


class _TimedSocket:
    """A socket as `http.client` uses it, for one request: with a clock, and a count of bytes of the answer."""

    def __init__(self, connected: socket.socket, most_bytes: int, due: float) -> None:
        self._socket = connected
        self._most_bytes = most_bytes
        self._received = 0
        # Instant until which the answer has to begin, and from its first byte on until which it has to end.
        self._due = due
        #: Whether all was received that ever will be.
        self.is_ended = False

    def sendall(self, data: bytes) -> None:
        self._socket.settimeout(_left(self._due))
        self._socket.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Received(self), _PIECE_BYTES)

    def receive_into(self, place: memoryview) -> int:
        """Receive what is there, or the first that comes; 0 is the end of the stream."""
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
        """Leave the socket to the client: an answer may still be read after this."""


class _Received(io.RawIOBase):
    """What a socket receives, as a file."""

    def __init__(self, source: _TimedSocket) -> None:
        self._source = source

    def readable(self) -> bool:
        return True

    def readinto(self, place: "memoryview | bytearray") -> int:  # type: ignore[override]
        return self._source.receive_into(memoryview(place))


def _left(due: float) -> float:
    """Return the seconds until an instant; there are none left for what did not come until then."""
    left = due - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _is_quiet(one: socket.socket) -> bool:
    """Whether a kept connection is open and nothing came that nobody asked for."""
    one.settimeout(0)
    try:
        # Of the plain socket: a layer above it does not let its bytes be looked at.
        socket.socket.recv(one, 1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _shut(one: socket.socket) -> None:
    """Wake a thread that waits on a socket."""
    with contextlib.suppress(OSError):
        # Of the plain socket: a layer above it would forget its state, which the other thread is using.
        socket.socket.shutdown(one, socket.SHUT_RDWR)


def _told(error: BaseException) -> str:
    """Return what went wrong in the words of the system."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror and not isinstance(error, ssl.SSLError):
        return error.strerror
    return str(error) or type(error).__name__
