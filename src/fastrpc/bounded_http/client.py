"""Requests over one persistent connection."""

import contextlib
import http.client
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, TypeVar, cast

import msgspec

from fastrpc.bounded_http.line_stream import STREAM_BYTES_PER_SECOND, LineStream
from fastrpc.bounded_http.timed_socket import (
    ANSWER_BYTES,
    ANSWER_SECONDS,
    PIECE_BYTES,
    HttpError,
    TimedSocket,
    check_values,
    seconds_left,
    told,
)
from fastrpc.networks import authority

__all__ = ["BoundedHttpClient", "Response", "decoded"]

T = TypeVar("T")

_LENGTH = re.compile(r"[0-9]{1,18}")


class Response(NamedTuple):
    """A complete response, of any status."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json_text(self) -> str:
        """Return the body as text whose JSON is safe to parse.

        Raises:
            HttpError: the body is not UTF-8, or has too many values.
        """
        check_values(self.body)
        try:
            return self.body.decode()
        except UnicodeDecodeError as error:
            raise HttpError(f"the answer is not UTF-8: {error}") from None


class BoundedHttpClient:
    """A client of one server over one persistent connection, for one thread; others may call `interrupt` and `close`.

    Args:
        encrypt: does the TLS handshake on a connected socket and verifies the server; None is plain HTTP.
        most_bytes: the size of the longest response.
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
        # Re-entrant, because a finalizer may call `close`: it can run on any line of the thread that holds the lock.
        self._lock = threading.RLock()
        self._socket: socket.socket | None = None
        self._is_busy = self._is_closed = self._is_streaming = self._was_sent = False

    @property
    def authority(self) -> str:
        """Host and port, in the form of the Host header."""
        return authority(self._host, self._port)

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
            HttpError: the response is missing, or breaks a rule.
            RuntimeError: a stream uses the connection.
        """
        self._check_free()
        with self.using():
            response, _ = self._asked(method, target, headers, body, held_seconds)
            return self._answer(response)

    def remaining(self, connected: TimedSocket) -> Response:
        """Return the response to a GET request that was sent on the kept connection.

        Raises:
            HttpError: the response is missing, or breaks a rule.
        """
        with self.using():
            # The parser uses the connection only through `makefile`.
            response = http.client.HTTPResponse(cast(socket.socket, connected), method="GET")
            response.begin()
            self._check_begun(response, connected)
            return self._answer(response)

    def _answer(self, response: http.client.HTTPResponse) -> Response:
        """Return a response with its body; the connection is dropped if the server closes it."""
        answer = Response(response.status, response.headers, self._body(response))
        if response.will_close:
            self.drop()
        return answer

    def stream(
        self,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        idle_seconds: float,
        bytes_per_second: int = STREAM_BYTES_PER_SECOND,
    ) -> LineStream:
        """Return the lines of an endless response. The stream occupies the connection until it is closed.

        Args:
            target: path and query.
            idle_seconds: the most seconds between two pieces of the response.
            bytes_per_second: the allowed rate. It applies after a first burst of the size of the longest response.

        Raises:
            HttpError: the response is missing, or breaks a rule.
            RuntimeError: another stream uses the connection.
        """
        self._check_free()
        with self.using():
            response, source = self._asked(method, target, headers, body, 0.0)
            self._is_streaming = True
            return LineStream(self, response, source, self._most_bytes, idle_seconds, bytes_per_second)

    def _check_free(self) -> None:
        """Refuse a request while a stream occupies the connection: the stream would read the response as its lines."""
        if self._is_streaming:
            raise RuntimeError("a stream has the connection of this client: close it first")

    @contextlib.contextmanager
    def using(self) -> Iterator[None]:
        """Use the connection in this thread; a failure drops the connection and is raised as HttpError."""
        self._was_sent = False
        with self._lock:
            if self._is_closed:
                raise self._failure("the client is closed")
            self._is_busy = True
        try:
            yield
        except BaseException as error:
            # The remaining bytes of this response must not be parsed as the next response.
            self.drop()
            if not isinstance(error, OSError | http.client.HTTPException):
                raise
            raise self._failure("the client is closed" if self._is_closed else told(error)) from error
        finally:
            self._end_request()

    def _failure(self, text: str) -> HttpError:
        failure = HttpError(text)
        failure.was_sent, failure.is_cut = self._was_sent, True
        return failure

    def _asked(
        self, method: str, target: str, headers: Mapping[str, str] | None, body: bytes, held_seconds: float
    ) -> tuple[http.client.HTTPResponse, TimedSocket]:
        """Send a request; return the checked head of the response, and the connection from which to read the body."""
        connected = self._connected(held_seconds)
        # `http.client` writes the request and reads the response; it does not connect.
        connection = http.client.HTTPConnection(self._host, self._port)
        connection.sock = connected
        self._was_sent = True
        connection.request(method, target, body=body, headers=dict(headers or {}))
        response = connection.getresponse()
        self._check_begun(response, connected)
        return response, connected

    def kept(self, held_seconds: float) -> TimedSocket | None:
        """Return the kept connection for one request if it is open and idle; else None."""
        kept = self._socket
        if kept is None or self._is_streaming or not _is_quiet(kept):
            return None
        return TimedSocket(kept, self._most_bytes, time.monotonic() + held_seconds + ANSWER_SECONDS)

    def _connected(self, held_seconds: float) -> TimedSocket:
        """Return the connection for one request: the kept one if it is open and idle, otherwise a new one."""
        if (kept := self.kept(held_seconds)) is not None:
            return kept
        begun = time.monotonic()
        self.drop()
        dialed = self._dial(begun + ANSWER_SECONDS)
        return TimedSocket(dialed, self._most_bytes, begun + held_seconds + ANSWER_SECONDS)

    def _end_request(self) -> None:
        with self._lock:
            self._is_busy = False
            if self._is_closed:
                self.drop()

    def _check_begun(self, response: http.client.HTTPResponse, connected: TimedSocket) -> None:
        """Refuse an incomplete head, redirects, content encodings, and a body that is too long or of unknown length."""
        if connected.is_ended:
            raise HttpError("the answer ended within its head")
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
        """Return the whole body; its bytes are counted when they are received."""
        length = response.length
        # The body is read piece by piece, so an announced length allocates no memory.
        body = bytearray()
        while length is None or len(body) < length:
            piece = response.read1(PIECE_BYTES if length is None else min(PIECE_BYTES, length - len(body)))
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
                one.settimeout(seconds_left(due) / (len(places) - number))
                one.connect(address)
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                one.settimeout(seconds_left(due))
                if self._encrypt is not None:
                    one = self._encrypt(one)
                    self._hold(one)
                return one
            except OSError:
                self.drop()
                one.close()
                if number == len(places) - 1:
                    raise
        raise OSError(f"{self._host} has no address")

    def _hold(self, one: socket.socket) -> None:
        """Record a socket, so that another thread can interrupt a wait for it."""
        with self._lock:
            self._socket = one
            if self._is_closed:
                _shut(one)

    def drop(self, only: socket.socket | None = None) -> None:
        """Drop the connection; with `only`, drop it only if it uses this socket. The next request opens another."""
        with self._lock:
            if only is not None and only is not self._socket:
                return
            one, self._socket = self._socket, None
            self._is_streaming = False
        if one is not None:
            one.close()

    def interrupt(self) -> None:
        """Interrupt another thread that waits for a response: it gets an error. The next request connects again."""
        with self._lock:
            if self._socket is not None:
                _shut(self._socket)

    def close(self) -> None:
        """Close the connection, even while another thread waits for a response on it. Closing twice is fine."""
        with self._lock:
            self._is_closed = True
            if self._socket is not None:
                _shut(self._socket)
            if not self._is_busy:
                self.drop()


def decoded(text: bytes, kind: type[T], *, strict: bool = True) -> T:
    """Return the JSON of a response as a type.

    Args:
        strict: False also accepts numbers that are written as strings.

    Raises:
        HttpError: the text does not fit the type, or has too many values.
    """
    check_values(text)
    try:
        return msgspec.json.decode(text, type=kind, strict=strict)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise HttpError(f"the answer does not fit: {error}") from None


def _is_quiet(one: socket.socket) -> bool:
    """Return whether a kept connection is open and has received no unrequested bytes."""
    one.settimeout(0)
    try:
        # Call the method of the plain socket: the TLS socket's does not support MSG_PEEK.
        socket.socket.recv(one, 1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _shut(one: socket.socket) -> None:
    """Shut down a socket, which wakes a thread that waits on it."""
    with contextlib.suppress(OSError):
        # Call the method of the plain socket: the TLS socket's would discard the TLS state, which the other thread
        # needs.
        socket.socket.shutdown(one, socket.SHUT_RDWR)
