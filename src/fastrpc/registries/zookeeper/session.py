"""One session of ZooKeeper, which many threads may use."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from kazoo.client import KazooClient
from kazoo.exceptions import (
    AuthFailedError,
    ConnectionLoss,
    NoAuthError,
    SessionExpiredError,
)
from kazoo.handlers.threading import KazooTimeoutError, SequentialThreadingHandler
from kazoo.security import CREATOR_ALL_ACL, READ_ACL_UNSAFE

from fastrpc.bounded_http import HttpError
from fastrpc.config import TLS
from fastrpc.errors import StoreError
from fastrpc.networks import place_name
from fastrpc.registries.base.secrets import Secret
from fastrpc.status import Status
from fastrpc.tls.ends import HttpEnd

__all__ = ["ZookeeperSession"]

#: The most seconds to open a session, to wait for an answer, and to end a session.
CONNECT_SECONDS, ANSWER_SECONDS, END_SECONDS = 3.0, 3.0, 2.0

#: Pauses between attempts to connect. They are short, so that a restarted server is noticed soon.
RETRY = {"max_tries": -1, "delay": 0.1, "backoff": 2, "max_delay": 1.0}

#: Seconds without a connection after which kazoo's client is replaced. Its thread ends after an unexpected answer, and
#: servers with older data refuse a client that has seen newer data.
REPLACE_SECONDS = 4.0


class _Sockets(SequentialThreadingHandler):  # type: ignore[misc]
    """Opens connections with fastrpc's TLS settings, and can cut the current connection."""

    def __init__(self, ends: dict[str, HttpEnd] | None) -> None:
        super().__init__()
        self._ends = ends
        self._last: socket.socket | None = None
        #: The reason why the last connection failed, which kazoo does not report.
        self.failure = ""

    def create_connection(self, address: Any, hostname: str, timeout: float, **_: Any) -> socket.socket:
        try:
            made: socket.socket = super().create_connection(address, timeout=min(timeout, CONNECT_SECONDS))
            self._last = made
            if self._ends is not None:
                self._last = made = self._ends[hostname].wrap(made)
        except BaseException as error:
            self.failure = str(error)
            self.cut()
            raise
        self.failure = ""
        return made

    def cut(self) -> None:
        if self._last is not None:
            with contextlib.suppress(OSError):
                self._last.shutdown(socket.SHUT_RDWR)


class ZookeeperSession:
    """The session of a registry object. It starts on first use, and again after it has ended.

    Args:
        login: the user name, and a function that returns the password; None for no login.
        ttl_seconds: seconds without a heartbeat after which the servers end the session.
    """

    def __init__(
        self,
        places: Sequence[tuple[str, int]],
        *,
        tls: TLS | None,
        login: tuple[str, Secret] | None,
        ttl_seconds: int,
    ) -> None:
        self.ttl_seconds = ttl_seconds
        self._hosts = ",".join(place_name(host, port) for host, port in places)
        self._ends = None if tls is None else {host: HttpEnd(tls, host) for host, _ in places}
        self._login = login
        self._lock = threading.Lock()
        self._client: Any = None
        # Set while the client is connected.
        self._is_live = threading.Event()
        self._sockets: _Sockets | None = None
        # The time at which the current client was started, or last seen connected.
        self._seen_at = 0.0
        self._is_closed = False
        #: Functions that are called in a thread of the session when its connection is lost or restored.
        self.listeners: set[Callable[[], None]] = set()

    @property
    def id(self) -> int:
        """The ID of the current session."""
        client = self._client
        return 0 if client is None or client.client_id is None else client.client_id[0]

    def ask(self, begin: Callable[[Any], Any]) -> Any:
        """Return the answer to a request of kazoo; `begin` starts it and returns its asynchronous result.

        Raises:
            StoreError: no server answers, or the login is refused. Other refusals are raised as errors of kazoo.
        """
        return self.ask_all([begin])[0]

    def ask_all(self, begins: Sequence[Callable[[Any], Any]]) -> list[Any]:
        """Return the answers to concurrent requests. An error of kazoo is returned in place of an answer.

        If there is only one request, its error is raised.
        """
        with self._errors():
            client = self._connected()
            results = [begin(client) for begin in begins]
            if len(results) == 1:
                return [results[0].get(timeout=ANSWER_SECONDS)]
            answers = []
            for result in results:
                result.wait(ANSWER_SECONDS)
                if not result.ready():
                    raise KazooTimeoutError("no answer")
                error = result.exception
                if isinstance(error, ConnectionLoss | SessionExpiredError | NoAuthError | AuthFailedError):
                    raise error
                answers.append(result.value if error is None else error)
            return answers

    def close(self) -> None:
        """End the session. The server deletes its ephemeral nodes."""
        with self._lock:
            self._is_closed = True
            client, self._client = self._client, None
        if client is not None and self._sockets is not None:
            _end(client, self._sockets)

    def _connected(self) -> Any:
        with self._lock:
            if self._is_closed:
                raise ConnectionLoss("the session is closed")
            old: tuple[Any, _Sockets] | None = None
            if (
                self._client is not None
                and self._sockets is not None
                and not self._client.connected
                and time.monotonic() - self._seen_at > REPLACE_SECONDS
            ):
                old = self._client, self._sockets
            if self._client is None or old is not None:
                self._client, self._is_live = self._begun()
                self._seen_at = time.monotonic()
            client, is_live = self._client, self._is_live
        if old is not None:
            _end(*old)
        if not client.connected:
            is_live.wait(CONNECT_SECONDS)
        if client.connected:
            self._seen_at = time.monotonic()
        else:
            failure = "" if self._sockets is None else self._sockets.failure
            raise ConnectionLoss(failure or "no server could be reached")
        return client

    def _begun(self) -> tuple[Any, threading.Event]:
        """Start a client of kazoo; return the client and the event that is set when it is connected."""
        options: dict[str, Any] = {}
        if self._login is not None:
            user, password = self._login
            options["auth_data"] = [("digest", f"{user}:{password()}")]
            options["default_acl"] = [*CREATOR_ALL_ACL, *READ_ACL_UNSAFE]
        self._sockets = _Sockets(self._ends)
        client = KazooClient(
            self._hosts,
            timeout=self.ttl_seconds,
            handler=self._sockets,
            connection_retry=RETRY,
            command_retry={"max_tries": 0},
            **options,
        )
        client.add_listener(partial(_tell, self.listeners))
        return client, client.start_async()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Raise errors of the connection and login inside the block as StoreError."""
        try:
            yield
        except (NoAuthError, AuthFailedError) as error:
            raise self._error("the login is refused", Status.PERMISSION_DENIED) from error
        except (ConnectionLoss, SessionExpiredError, KazooTimeoutError, OSError) as error:
            raise self._error(str(HttpError(str(error))) or "the connection is lost") from error

    def _error(self, text: str, status: Status = Status.UNAVAILABLE) -> StoreError:
        return StoreError(f"ZooKeeper at {self._hosts}: {text}", status=status)


def _end(client: Any, sockets: _Sockets) -> None:
    """Stop a client of kazoo."""
    # If the server does not answer, cut the connection to end the wait.
    timer = threading.Timer(END_SECONDS, sockets.cut)
    timer.start()
    try:
        client.stop()
        client.close()
    finally:
        timer.cancel()


def _tell(listeners: set[Callable[[], None]], state: str) -> None:
    for listener in list(listeners):
        listener()
