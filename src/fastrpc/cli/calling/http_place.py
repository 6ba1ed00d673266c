"""An HTTP server on the command line: its URL, credentials, and connections."""

import contextlib
import http.client
import io
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast
from urllib.parse import urlsplit

import msgspec

from fastrpc.auth.token_file import TokenFile
from fastrpc.cli.calling.standard_streams import LONGEST_LINE
from fastrpc.config import TLS
from fastrpc.endpoint import Address, is_local
from fastrpc.errors import (
    ConfigError,
    ConnectError,
    ConnectionLostError,
    DeadlineExceededError,
    FastRPCError,
)
from fastrpc.gateway.dialing import Dialing
from fastrpc.networks import authority, place_name
from fastrpc.tls.ends import HttpEnd

__all__ = ["HttpPlace", "PlaceConnection", "request_head"]

#: Seconds for connecting, and for an answer about the service itself.
_CONNECT_SECONDS = 5.0

#: Seconds for the check whether a server speaks TLS, which an error's hint may need.
_PROBE_SECONDS = 2.0

_HTTP_HINT = (
    'a fastrpc server serves HTTP once its protocols name it: protocols=("native", "http"), or '
    "FASTRPC_PROTOCOLS=native,http for fastrpc run"
)


class HttpPlace:
    """An HTTP server: its URL, and the credentials for it.

    Args:
        authorization: a value for the Authorization header, in place of the credential of `dial`; None uses the
            credential of `dial`.
    """

    def __init__(self, address: str, dial: Dialing, authorization: str | None = None) -> None:
        found = urlsplit(address)
        if found.query or found.fragment or found.path not in {"", "/"} or found.username is not None:
            raise ConfigError(f"{address} is more than host and port", hint="write it as http://host:port")
        try:
            port = found.port
        except ValueError as error:
            raise ConfigError(f"{address}: {error}") from None
        if not found.hostname:
            raise ConfigError(f"{address} has no host", hint="write it as http://host:port")
        self._is_encrypted = found.scheme.lower() == "https"
        self._host, self._port = found.hostname, port or (443 if self._is_encrypted else 80)
        has_zone = "%" in self._host
        self.authority = authority(self._host, self._port) if has_zone else found.netloc
        self.url = f"{found.scheme.lower()}://{found.netloc}"
        self._tls = dial.config.tls or TLS()
        if authorization is None:
            token = dial.token if dial.token_path is None else TokenFile(dial.token_path)()
            authorization = f"Bearer {token}" if token else None
        self._authorization = authorization
        place = f"tcp://{place_name(self._host, self._port)}"
        if authorization and not self._is_encrypted and not is_local(Address.parse(place)):
            raise ConfigError(
                f"the token would travel in the clear to {self.url}", hint="give an address that is https://"
            )

    def fields(self) -> dict[str, str]:
        """Return the header fields of every request."""
        shown = {} if self._authorization is None else {"Authorization": self._authorization}
        return {"Host": self.authority, "User-Agent": "fastrpc", "Connection": "close", **shown}

    def connected(self, ends: float | None) -> "PlaceConnection":
        """Connect. `ends` is the deadline of the whole request, in `time.monotonic()`; None is no deadline."""
        limit = _CONNECT_SECONDS if ends is None else min(_left(ends), _CONNECT_SECONDS)
        try:
            connected = socket.create_connection((self._host, self._port), limit)
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._is_encrypted:
                connected = HttpEnd(self._tls, self._host).wrap(connected)
        except OSError as error:
            raise ConnectError(f"{self.url}: {error.strerror or error}") from error
        return PlaceConnection(connected, self.url, ends, self._hint)

    def _hint(self) -> str:
        """Return a hint for an answer that is not HTTP: the server may speak TLS."""
        if not self._is_encrypted and _speaks_tls(self._host, self._port):
            return f"the server speaks TLS there: write {self.url.replace('http', 'https', 1)}"
        return _HTTP_HINT

    def document(self, timeout: float | None) -> dict[str, Any] | None:
        """Return the server's OpenAPI document; None if the server does not show one."""
        limit = _CONNECT_SECONDS if timeout is None else min(timeout, _CONNECT_SECONDS)
        with self.told(limit), self.connected(time.monotonic() + limit) as connection:
            connection.sendall(request_head("GET", "/openapi.json", self.fields()))
            answer = connection.answer("GET")
            content = answer.read(LONGEST_LINE)
        if answer.status != http.client.OK:
            return None
        with contextlib.suppress(ValueError, RecursionError):
            found = msgspec.json.decode(content)
            return found if isinstance(found, dict) else None
        return None

    @contextlib.contextmanager
    def told(self, seconds: float | None) -> Iterator[None]:
        """Raise failures of the connection as the errors of native calls."""
        try:
            yield
        except (FastRPCError, BrokenPipeError):
            # BrokenPipeError is about standard output, not about the connection.
            raise
        except TimeoutError as error:
            text = f"no answer from {self.url} within {seconds:g} s"
            raise DeadlineExceededError(text, processed="unknown") from error
        except http.client.HTTPException as error:
            raise ConnectionLostError(f"{self.url}: the answer is incomplete: {error!r}") from error
        except OSError as error:
            raise ConnectionLostError(f"{self.url}: {error.strerror or error}") from error


class PlaceConnection(io.RawIOBase):
    """A connection to a server, on which one thread may send while another reads.

    A single instant ends all waits: with a limit for each wait, a server that sends a byte now and then would never
    time out.
    """

    def __init__(
        self, connected: socket.socket, url: str, ends: float | None, hint: Callable[[], str]
    ) -> None:
        # Only one thread at a time may use a TLS connection, and a socket has one timeout. So no thread holds this lock
        # while it waits.
        self._using = threading.Lock()
        self._connected = connected
        connected.setblocking(False)
        self._url = url
        self._ends = ends
        self._hint = hint
        #: The error in reading the rest of the request's body, which closed the connection.
        self.input_error: Exception | None = None

    def left(self) -> float | None:
        """Return the seconds that are left; None without a limit.

        Raises:
            TimeoutError: no time is left.
        """
        return None if self._ends is None else _left(self._ends)

    def sendall(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self._once_ready(self._connected.send, rest, selectors.EVENT_WRITE) :]

    def give_up(self, error: Exception) -> None:
        """Close the connection because the body cannot be completed; another thread may be reading the answer."""
        self.input_error = error
        with contextlib.suppress(OSError):
            # Do not close TLS properly: another thread may be using it. The shutdown wakes the thread that reads.
            socket.socket.shutdown(self._connected, socket.SHUT_RDWR)

    def answer(self, verb: str) -> http.client.HTTPResponse:
        """Read the head of the response to a request.

        Raises:
            ConnectionLostError: the connection ended before the head.
        """
        # HTTPResponse uses only `makefile` of its socket.
        found = http.client.HTTPResponse(cast(socket.socket, self), method=verb)
        try:
            found.begin()
        except (http.client.HTTPException, ConnectionResetError) as error:
            # http.client's error for a connection that ended is also a ConnectionResetError.
            is_silent = isinstance(error, ConnectionResetError)
            ending = "it closed the connection without an answer" if is_silent else repr(error)
            raise ConnectionLostError(
                f"{self._url} does not answer as an HTTP server: {ending}", hint=self._hint()
            ) from error
        return found

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, place: Any) -> int:
        return self._once_ready(self._connected.recv_into, place, selectors.EVENT_READ)

    def _once_ready(self, move: Callable[[Any], int], data: Any, event: int) -> int:
        """Send or receive bytes once the socket is ready."""
        while True:
            left = self.left()
            with selectors.DefaultSelector() as selector:
                with self._using:
                    try:
                        return move(data)
                    except BlockingIOError:
                        awaited = event
                    except ssl.SSLWantReadError:
                        awaited = selectors.EVENT_READ
                    except ssl.SSLWantWriteError:
                        awaited = selectors.EVENT_WRITE
                    # At this point the socket is still open.
                    selector.register(self._connected, awaited)
                selector.select(left)

    def close(self) -> None:
        # Closing a TLS socket first drops TLS: bytes that another thread sent meanwhile would be sent in the clear.
        with self._using:
            self._connected.close()
        super().close()


def _speaks_tls(host: str, port: int) -> bool:
    """Return whether a server answers a TLS handshake; its certificate is not checked."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with socket.create_connection((host, port), _PROBE_SECONDS) as connected:
            context.wrap_socket(connected, server_hostname=host).close()
    except ssl.SSLError as error:
        # A TLS alert is an answer, too. Other bytes belong to another protocol.
        return error.reason is not None and "ALERT" in error.reason
    except OSError:
        return False
    return True


def _left(ends: float) -> float:
    """Return the seconds until an instant; TimeoutError at 0."""
    left = ends - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def request_head(verb: str, target: str, fields: Mapping[str, str]) -> bytes:
    lines = [f"{verb} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
