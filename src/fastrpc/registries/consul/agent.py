"""HTTP to a Consul agent, by py-consul: blocking, so it is used in threads that may wait."""

import contextlib
import http.client
import random
import socket
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from fastrpc.errors import ConfigError, StoreError
from fastrpc.registries.base.urls import RegistryURL
from fastrpc.status import Status

if TYPE_CHECKING:
    from requests.adapters import HTTPAdapter

__all__ = ["Access", "Agent", "Index"]

#: Seconds for a connection or an answer, on top of what a blocking query may be held.
ANSWER_SECONDS = 2.0

#: How an answer of an agent begins that was asked too often: waiting helps.
_RATE_LIMITED = "429"


class Access:
    """Where the agent is and what it wants to be shown; makes clients of it."""

    def __init__(self, url: RegistryURL) -> None:
        try:
            import consul
            import requests
        except ImportError as error:
            raise ConfigError(
                f"{url} needs py-consul, which is not installed", hint="pip install 'fastrpc[consul]'"
            ) from error
        places = url.places(8500)
        if len(places) > 1:
            raise ConfigError(f"{url} names {len(places)} agents", hint="name the agent of this machine")
        (self.host, self.port) = places[0]
        self._token = url.take("token", None, str)
        self.dc = url.take("dc", None, str)
        self._scheme = "https" if url.take("tls", False, _truth) else "http"
        self._ca_file = url.take("ca_file", None, str)
        self._consul = consul
        #: What py-consul and the HTTP client below it raise.
        self.errors: tuple[type[Exception], ...] = (
            consul.ConsulException,
            requests.RequestException,
            OSError,
        )
        self.not_found: type[Exception] = consul.NotFound

    def connect(self) -> "Agent":
        """Return a client for one thread; connects when it is used."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        client = self._consul.Consul(
            host=host,
            port=self.port,
            scheme=self._scheme,
            dc=self.dc,
            verify=self._ca_file or True,
            connections_timeout=ANSWER_SECONDS,
        )
        # py-consul prefers CONSUL_HTTP_TOKEN to what it is given.
        client.token = self._token or client.token
        return Agent(client, self)

    def translated(self, error: Exception) -> StoreError:
        """Return our error for one of theirs; what cannot get better by waiting has another status."""
        kinds = self._consul
        status = Status.UNAVAILABLE
        if isinstance(error, kinds.ACLPermissionDenied | kinds.ACLDisabled):
            status = Status.PERMISSION_DENIED
        elif isinstance(error, kinds.exceptions.BadRequest | kinds.exceptions.ClientError):
            status = Status.INVALID_ARGUMENT
        text = " ".join(_reason(error).split()) or type(error).__name__
        if text.startswith(_RATE_LIMITED):
            status = Status.UNAVAILABLE
        return StoreError(f"Consul at {self.host}:{self.port}: {text[:300]}", status=status)


class Agent:
    """A client of the agent, for one thread; `close` may be called by another and breaks off what is under way."""

    def __init__(self, client: Any, access: Access) -> None:
        self.client = client
        #: What py-consul raises for status 404 where that is no empty answer.
        self.not_found: type[Exception] = access.not_found
        self._access = access
        self._sockets = _Sockets()
        session = client.http.session
        # Proxies and .netrc are for the world outside.
        session.trust_env = False
        if client.token:
            # For those calls of py-consul that take no token.
            session.headers["X-Consul-Token"] = client.token
        for prefix in ("http://", "https://"):
            session.mount(prefix, _adapter(self._sockets))

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Turn whatever goes wrong inside into StoreError."""
        try:
            yield
        except self._access.errors as error:
            raise self._access.translated(error) from error

    def close(self) -> None:
        """Close the connections, also while another thread waits for an answer on one."""
        self._sockets.shut()
        self.client.http.session.close()


class Index:
    """The index of a blocking query, by Consul's rules for clients."""

    def __init__(self, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self._index: int | None = None
        self._uniform = uniform

    def options(self, wait_seconds: float) -> dict[str, Any]:
        """Return the options of the next query."""
        if self._index is None or wait_seconds <= 0:
            return {}
        # All clients that saw the same change ask anew at the same time: spread their next questions.
        return {"index": self._index, "wait": f"{max(0.1, wait_seconds * self._uniform(0.9, 1.0)):.3f}s"}

    def note(self, text: Any) -> bool:
        """Take the index of an answer; returns whether it went backwards, as when the servers lost their state.

        Below 1 it would not block: such an index counts as 1, which answers at once until there is a real one.
        """
        try:
            new = int(text)
        except (TypeError, ValueError):
            self.forget()
            return False
        new = max(new, 1)
        went_back = self._index is not None and new < self._index
        self._index = None if went_back else new
        return went_back

    def forget(self) -> None:
        """Ask without waiting next time."""
        self._index = None


class _Sockets:
    """The sockets that are connected, so that a thread blocked on one can be woken."""

    def __init__(self) -> None:
        # Re-entrant: a watch may be collected, and shut its sockets by that, in any line of the thread that holds it.
        self._lock = threading.RLock()
        self._open: set[socket.socket] = set()
        self._is_shut = False

    def add(self, connected: socket.socket) -> None:
        with self._lock:
            self._open = {one for one in self._open if one.fileno() >= 0}
            self._open.add(connected)
            if self._is_shut:
                self._wake(connected)

    def shut(self) -> None:
        with self._lock:
            self._is_shut = True
            for one in self._open:
                self._wake(one)

    def _wake(self, one: socket.socket) -> None:
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


def _reason(error: BaseException) -> str:
    """Return what went wrong in the words of the system, which HTTP clients wrap again and again."""
    text = str(error)
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, TimeoutError):
            return "no answer in time"
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        if isinstance(cause, http.client.HTTPException):
            text = str(cause) or type(cause).__name__
        cause = cause.__cause__ or cause.__context__
    return text


def _adapter(sockets: _Sockets) -> "HTTPAdapter":
    """Return what opens connections for a session, and notes each socket."""
    from requests.adapters import HTTPAdapter
    from urllib3.connection import HTTPConnection, HTTPSConnection
    from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

    class NotedConnection(HTTPConnection):
        def connect(self) -> None:
            super().connect()
            sockets.add(self.sock)

    class NotedSecureConnection(HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            sockets.add(self.sock)

    class Pool(HTTPConnectionPool):
        ConnectionCls = NotedConnection

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = NotedSecureConnection

    class Adapter(HTTPAdapter):
        def init_poolmanager(self, *args: Any, **options: Any) -> None:
            super().init_poolmanager(*args, **options)
            self.poolmanager.pool_classes_by_scheme = {"http": Pool, "https": SecurePool}

    return Adapter(pool_connections=1, pool_maxsize=1)


def _truth(text: str) -> bool:
    if text.lower() not in {"true", "false", "1", "0", "yes", "no"}:
        raise ValueError("it is true or false")
    return text.lower() in {"true", "1", "yes"}
