"""A connection to NATS for one event loop: client, options, error texts. Registries and brokers use it.

`take_access` reads servers, login and TLS from a URL. `NatsConnection` connects again after each error of the
connection. The owner states the class of errors and prepares each new client: a registry opens its bucket, a broker
JetStream.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

from nats.aio.client import Client
from nats.errors import Error, MaxPayloadError, NoServersError, SecureConnWantedError
from nats.js.errors import APIError

from fastrpc.bounded_http import HttpError
from fastrpc.config import TLS
from fastrpc.errors import ConfigError, FastRPCError, StoreError
from fastrpc.networks import place_name
from fastrpc.registries.base.secrets import check_carried, header_token, take_login, take_secret
from fastrpc.registries.base.urls import RegistryURL
from fastrpc.status import Status
from fastrpc.time_limit import time_limit
from fastrpc.tls.ends import HttpEnd

__all__ = ["ANSWER_SECONDS", "DROP_SECONDS", "FAILURES", "NatsAccess", "NatsConnection", "take_access"]

Entered = TypeVar("Entered")
T = TypeVar("T")

#: The most seconds to connect (CONNECT_SECONDS), to wait for an answer (ANSWER_SECONDS), and to close a connection
#: (DROP_SECONDS).
CONNECT_SECONDS = 2
ANSWER_SECONDS = 3.0
DROP_SECONDS = 0.5

#: Seconds between two pings. After two unanswered pings a connection counts as lost.
PING_SECONDS = 2

#: Errors of a connection, and of answers.
FAILURES = (Error, OSError, TimeoutError)

#: Parts of error texts that mean a refused login or subject.
_REFUSALS = (
    ("authorization violation", Status.UNAUTHENTICATED),
    ("authentication", Status.UNAUTHENTICATED),
    ("permissions violation", Status.PERMISSION_DENIED),
)


class _Client(Client):  # type: ignore[misc]
    """A client that never sends its login in plain text where TLS is required, and that always closes its socket."""

    def __init__(self, end: HttpEnd | None) -> None:
        super().__init__()
        self._end = end

    async def _connect_to_server(self, server: Any) -> None:
        # Close the connection to the previous server.
        self.abort()
        await super()._connect_to_server(server)

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        try:
            await super()._close(status, do_cbs)
        except OSError:
            # A broken socket refused queued bytes, and the close failed before it called the callbacks. The bytes are
            # dropped now, so a second close succeeds.
            self._status = Client.DISCONNECTED
            await super()._close(status, do_cbs)

    def abort(self) -> None:
        """Close the socket, even if closing the connection has not finished."""
        for name in ("_io_writer", "_bare_io_writer"):
            if (writer := getattr(self._transport, name, None)) is not None:
                writer.transport.abort()

    def _connect_command(self) -> bytes:
        if self._end is not None:
            if not self._server_info.get("tls_required"):
                raise SecureConnWantedError
            self._end.check(self._transport._io_writer.get_extra_info("ssl_object"))
        command: bytes = super()._connect_command()
        return command


class NatsAccess:
    """The servers of one cluster, and the login to them.

    Args:
        credentials: returns nats-py's options for the login. It is called for each connection.
        error: the class of the errors of its connections.

    Attributes:
        hosts: the servers, as `host:port`.
    """

    def __init__(
        self,
        places: Sequence[tuple[str, int]],
        *,
        tls: TLS | None,
        credentials: Callable[[], dict[str, Any]],
        error: type[FastRPCError] = StoreError,
    ) -> None:
        self.hosts = [place_name(host, port) for host, port in places]
        self._server_name = None if tls is None else tls.server_name
        self._end = None if tls is None else HttpEnd(tls, places[0][0])
        self._credentials, self._error = credentials, error

    def client(self) -> _Client:
        """Return a client that is not connected."""
        return _Client(self._end)

    def options(self) -> dict[str, Any]:
        """Return the options of a connection: servers, TLS, the login."""
        scheme = "nats" if self._end is None else "tls"
        options = {"servers": [f"{scheme}://{host}" for host in self.hosts], **self._credentials()}
        if self._end is not None:
            options |= {"tls": self._end.context(), "tls_hostname": self._server_name}
        return options

    def failure(self, error: BaseException, told: str = "") -> FastRPCError:
        """Return an error of class `error` with a status of fastrpc.

        Args:
            told: the last error that the server sent other than in an answer.
        """
        # NATS reports a refused subject to the error callback; the request itself only times out.
        text = str(error) or told or "no answer"
        if isinstance(error, NoServersError):
            # NoServersError does not state the reason, which the server's last error states.
            text = told or text
        both = f"{text} {told}".lower()
        status = next((status for part, status in _REFUSALS if part in both), Status.UNAVAILABLE)
        if isinstance(error, MaxPayloadError):
            status = Status.RESOURCE_EXHAUSTED
        # HttpError turns the server's text into one line that is safe to print.
        told = f"NATS at {','.join(self.hosts)}: {HttpError(text)}"
        return self._error(told, status=status, retryable=status is Status.UNAVAILABLE or None)


def take_access(url: RegistryURL, error: type[FastRPCError] = StoreError) -> NatsAccess:
    """Read servers, TLS and one login from a URL: `user` with `password`, `token`, or `creds_file`.

    Raises:
        ConfigError: an option is wrong.
    """
    places, tls = url.places(4222), url.take_tls()
    login, token = take_login(url), take_secret(url, "token", header_token)
    creds_file = url.take("creds_file", None, os.path.expanduser)
    given = [
        name
        for name, one in (("user", login), ("token", token), ("creds_file", creds_file))
        if one is not None
    ]
    if len(given) > 1:
        raise ConfigError(f"{url}: the options {' and '.join(given)} are both given", hint="leave one out")
    # A login by `creds_file` signs a nonce and does not send the secret, so it needs no TLS.
    check_carried(url, places, kind="login" if login or token else "", is_encrypted=tls is not None)

    def credentials() -> dict[str, Any]:
        if login is not None:
            return {"user": login[0], "password": login[1]()}
        if token is not None:
            return {"token": token()}
        return {} if creds_file is None else {"user_credentials": creds_file}

    return NatsAccess(places, tls=tls, credentials=credentials, error=error)


class NatsConnection(Generic[Entered]):
    """A connection for one event loop, replaced after each error.

    Args:
        enter: is called with the client of each new connection. Its result is passed to all `work` on the connection.

    Attributes:
        generation: increases when a connection opens and when a connection is lost.
        listeners: are called in the loop when the connection is lost.
    """

    def __init__(self, access: NatsAccess, enter: Callable[[Client], Awaitable[Entered]]) -> None:
        self.generation = 0
        self.listeners: set[Callable[[], None]] = set()
        self._access, self._enter = access, enter
        self._is_ended = False
        self._connecting = asyncio.Lock()
        self._client: _Client | None = None
        # The result of `enter` for the current connection; None if the next work has to open a connection.
        self._entered: Entered | None = None
        # The last error that the server sent other than in an answer.
        self._told = ""

    async def entered(self) -> Entered:
        """Return the result of `enter` for the current connection; connect if needed. Raises the errors of `run`."""
        return self._entered if self._entered is not None else await self.run(_itself)

    async def run(self, work: Callable[[Entered], Awaitable[T]], answer_seconds: float = ANSWER_SECONDS) -> T:
        """Connect if needed, then return the result of `work`. Several calls may run concurrently.

        A connection error, or a missing answer, closes the connection for all callers. The connection stays open if the
        server refuses this work in an answer of JetStream's API, if this work is cancelled, or if it raises another
        error.

        Raises:
            FastRPCError: no server can be reached, or a server refuses. The class is `NatsAccess.error`.
        """
        client = None
        try:
            async with time_limit(answer_seconds):
                async with self._connecting:
                    entered = self._entered
                    if entered is None:
                        entered = await self._opened()
                    client = self._client
                return await work(entered)
        except APIError as error:
            raise self.failure(error) from error
        except FAILURES as error:
            # Build the error first: a new connection, opened by other work, would reset the server's reason.
            told = self.failure(error)
            # Do not drop a newer connection, which other work has opened in the meantime.
            if client is not None and client is self._client:
                await self.drop()
            raise told from error

    def failure(self, error: BaseException) -> FastRPCError:
        """Return an error of this connection as an error of fastrpc."""
        return self._access.failure(error, self._told)

    def end(self) -> None:
        """Open no further connections. Any thread may call this."""
        self._is_ended = True

    async def drop(self) -> None:
        """Close the connection; the next work opens another one, unless `end` was called."""
        client, self._client, self._entered = self._client, None, None
        if client is not None:
            # The limit is needed: after a failed handshake nats-py waits for the end of a connection that does not
            # exist.
            try:
                async with time_limit(DROP_SECONDS):
                    await client.close()
            except FAILURES:
                pass
            finally:
                # If closing took too long, nats-py leaves the socket open.
                client.abort()
                await asyncio.sleep(0)

    async def _opened(self) -> Entered:
        await self.drop()
        if self._is_ended:
            raise ConnectionError("the connection is closed")
        self._told = ""
        self._client = client = self._access.client()
        await client.connect(
            allow_reconnect=False,
            # With more attempts nats-py would wait between them until the time limit. The owner retries anyway.
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            connect_timeout=CONNECT_SECONDS,
            ping_interval=PING_SECONDS,
            error_cb=self._note,
            closed_cb=partial(self._lost, client),
            **self._access.options(),
        )
        self.generation += 1
        self._entered = entered = await self._enter(client)
        return entered

    async def _note(self, error: Exception) -> None:
        self._told = str(error)

    async def _lost(self, client: Client) -> None:
        if self._client is not None and client is not self._client:
            # Other work has already opened a newer connection.
            return
        self._entered = None
        self.generation += 1
        for listener in list(self.listeners):
            listener()


async def _itself(entered: Entered) -> Entered:
    return entered
