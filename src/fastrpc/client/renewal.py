"""The renewal of the credential of one connection."""

import asyncio
import contextlib
import contextvars
import logging
from collections import deque
from typing import Final

from fastrpc.client.credentials import ClientCredentials
from fastrpc.config import Backoff
from fastrpc.config.delays import Delays
from fastrpc.errors import ConnectError, FastRPCError
from fastrpc.protocols.base import ClientEngine
from fastrpc.time_limit import time_limit

__all__ = ["Renewal", "Renewals"]

logger = logging.getLogger("fastrpc.client")

#: The share of a credential's validity after which it is renewed.
RENEWED_AT: Final = 0.8

#: The most credentials that a connection shows in a minute: one less than PROTOCOL.md 9 allows.
MOST_SHOWN: Final = 9
MINUTE: Final = 60.0

#: Seconds within which the function for credentials must return a token to replace a refused one.
LONGEST_REPLACEMENT: Final = 30.0


class Renewal:
    """Sends a server another token before the current one expires.

    The same token is not sent again: the server would close the connection with its calls in flight. If no other token
    is available in time, the connection is replaced, and its calls end normally.

    Args:
        shown: the token that the connection begins with.
    """

    def __init__(
        self,
        connection: ClientEngine,
        credentials: ClientCredentials,
        shown: bytes,
        backoff: Backoff,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._connection = connection
        self._credentials = credentials
        self._shown = shown
        self._backoff = backoff
        self._loop = loop
        self._instants = deque([loop.time()], maxlen=MOST_SHOWN)
        self._task: asyncio.Task[None] | None = None

    def accepted(self, seconds: float) -> None:
        """Renew a token that the server accepts for this number of seconds."""
        self.end()
        # The context variables of the first caller must not live as long as the connection.
        self._task = self._loop.create_task(self._renew(seconds), context=contextvars.Context())

    def refused(self) -> None:
        """Show another token, if there is one: the server no longer accepts the current one."""
        if self._task is None or self._task.done():
            self._task = self._loop.create_task(self._replace(), context=contextvars.Context())

    async def _replace(self) -> None:
        # Without another token calls continue to fail, each with the status that the server sends.
        with contextlib.suppress(FastRPCError, TimeoutError):
            self._show(await self._next(self._loop.time() + LONGEST_REPLACEMENT))

    def end(self) -> None:
        """End the renewals."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _renew(self, seconds: float) -> None:
        """Show another token at four fifths of the time; without another token, retry until the time is over."""
        ends = self._loop.time() + seconds
        delays = Delays(self._backoff)
        told = ""
        await asyncio.sleep(RENEWED_AT * seconds)
        while not self._connection.is_closed:
            try:
                token = await self._next(ends)
            except (FastRPCError, TimeoutError) as error:
                # Log each reason once: retries may fail for the same reason for minutes.
                if str(error) != told:
                    told = str(error)
                    logger.warning(
                        "%s: the credentials cannot be renewed: %s", self._connection.endpoint, told
                    )
                pause = delays.take()
                if self._loop.time() + pause >= ends:
                    # The connection that replaces this one begins with new credentials.
                    self._connection.retire()
                    return
                await asyncio.sleep(pause)
            else:
                self._show(token)
                return

    async def _next(self, ends: float) -> bytes:
        """Return a token that was not shown before."""
        async with time_limit(max(0.0, ends - self._loop.time())):
            token = await self._credentials.current(self._connection.endpoint.address)
        if token == self._shown:
            raise ConnectError("there is no other token yet")
        return token

    def _show(self, token: bytes) -> None:
        """Send the server a new token, even late: calls and the streams that the server has not ended continue."""
        now = self._loop.time()
        if self._connection.is_closed:
            return
        if len(self._instants) == MOST_SHOWN and now - self._instants[0] < MINUTE:
            self._connection.retire()
            return
        self._instants.append(now)
        self._shown = token
        self._connection.present(token)


class Renewals:
    """The renewals of connections with a renewable credential."""

    def __init__(self) -> None:
        self._running: dict[ClientEngine, Renewal] = {}

    def begin(
        self,
        connection: ClientEngine,
        credentials: ClientCredentials | None,
        shown: bytes | None,
        backoff: Backoff,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """Renew the credential of a connection from now on, if it can be renewed."""
        if shown is not None and credentials is not None and credentials.can_renew:
            self._running[connection] = Renewal(connection, credentials, shown, backoff, loop)

    def accepted(self, connection: ClientEngine, seconds: float) -> None:
        """Renew a credential while the connection is used; the server accepts it for `seconds`."""
        renewal = self._running.get(connection)
        if renewal is not None:
            renewal.accepted(seconds)

    def refused(self, connection: ClientEngine) -> None:
        """Ask for another credential, because the server refused the current one for a call."""
        renewal = self._running.get(connection)
        if renewal is not None:
            renewal.refused()

    def end(self, connection: ClientEngine) -> None:
        """End the renewal for a connection that has ended."""
        renewal = self._running.pop(connection, None)
        if renewal is not None:
            renewal.end()
