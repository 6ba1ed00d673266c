"""A server behind a relay: its claim, and the connections that it opens for callers.

::

    claim stream ◄── ticket ──► data connection: presents the token, waits ──► a caller arrives: session
          └─► lost: claimed again, after at most 5 s; sessions stay
"""

import asyncio
import logging
import secrets
import time
from contextlib import suppress
from typing import Final, cast

from fastrpc.client.client import Client
from fastrpc.client.inside import dial_for_calls
from fastrpc.config import TLS, Backoff, ClientConfig, Keepalive, Pool, Timeouts
from fastrpc.config.delays import Delays
from fastrpc.endpoint import Address, relayed_host
from fastrpc.errors import ConfigError, ConnectError, FastRPCError, UnavailableError
from fastrpc.relay.claims import MOST_ASKED, SPARES, TICKET_SECONDS
from fastrpc.relay.place import RelayPlace
from fastrpc.relay.service import RelayService
from fastrpc.relay.troubles import ClaimLog, ClaimTrouble, start_error, trouble_of
from fastrpc.relay.wire import GREETING, ClaimTicket, opened_header
from fastrpc.server.proxied import Proxied, pass_on
from fastrpc.time_limit import time_limit
from fastrpc.tls.certificate import check_covers
from fastrpc.tls.ends import ClientEnd, ServerEnd
from fastrpc.transports.base import DialOptions, ListenOptions, SessionFactory
from fastrpc.transports.sockets import encrypted
from fastrpc.transports.tcp import TRANSPORT as TCP

__all__ = ["MOST_CONNECTIONS", "DataConnection", "RelayListener"]

logger = logging.getLogger("fastrpc.relay")

#: Pauses between claims: at most 5 s with their jitter.
_BACKOFF: Final = Backoff(first=0.1, factor=1.6, longest=4.0, jitter=0.2)
#: Pauses if an operator has to change something first: at most a minute. `reload` ends a pause.
_LASTING_BACKOFF: Final = Backoff(first=1.0, factor=2.0, longest=50.0, jitter=0.2)
#: With these times both sides notice a line that is cut.
_KEEPALIVE: Final = Keepalive(interval=2.0, timeout=3.0)
#: Seconds that a claim has to last before the pauses are short again.
_STEADY_SECONDS: Final = 5.0
#: Seconds for which the start waits for the first claim; then the server starts without the claim.
_PATIENCE_SECONDS: Final = 5.0
#: Seconds after the end of a claim in which callers that the relay had joined still arrive.
_LAST_SECONDS: Final = 1.0
#: The most data connections at the same time, which a relay never exceeds.
MOST_CONNECTIONS: Final = MOST_ASKED + 2 * SPARES
_FIRST_READ_BYTES: Final = 32_768


class RelayListener:
    """A `Listener` at a relay.

    Raises:
        ConfigError: the address or a file cannot be used.
    """

    def __init__(self, address: Address, session_factory: SessionFactory, options: ListenOptions) -> None:
        self._place = RelayPlace(address)
        # Check the files here: a client would retry an unusable file for ever.
        ClientEnd(self._place.tls, address.host)
        #: The address for clients: without the options, which are for this server only.
        self.address = self._place.address
        self._tls = cast(TLS, options.tls)
        self._end = ServerEnd(self._tls, agreed=options.agreed)
        check_covers(self._tls, relayed_host(self.address))
        self._session_factory = encrypted(session_factory, self._end)
        self._options = options
        self._instance = secrets.token_hex(16)
        # The first claim takes the name over from an earlier program, regardless of their clocks. A later claim, and a
        # first claim that could not reach the relay immediately, compare the starts of both programs.
        self._takes_over = True
        self._started = time.time_ns()
        self._connections: set[DataConnection] = set()
        self._dialing: set[asyncio.Task[None]] = set()
        self._claiming: asyncio.Task[None] | None = None
        self._first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._log = ClaimLog(self.address)
        # The instant since which the claim holds; None without a claim.
        self._stands_since: float | None = None
        self._has_stood = False
        # Ends a pause.
        self._hurry = asyncio.Event()

    async def open(self) -> None:
        """Claim the name.

        Raises:
            OSError: the relay refuses the claim, or this server does not trust the relay. The start fails, since the
                operator is present and can correct that. Each address fails or succeeds separately, as with other
                transports. If a relay cannot be reached, the server keeps trying: it may come back.
            ConfigError: a file of the address cannot be used.
        """
        self._claiming = asyncio.ensure_future(self._claim())
        try:
            done, _ = await asyncio.wait(
                [self._first, self._claiming],
                timeout=_PATIENCE_SECONDS,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for outcome in done:
                outcome.result()
        except BaseException:
            self.close()
            await asyncio.wait([self._claiming])
            raise
        if not done:
            # Later refusals are logged.
            self._first.set_result(None)
            self._takes_over = False
            logger.warning("%s: the relay does not answer; it is tried on and on", self.address)

    def reload(self) -> None:
        """Read the certificate files again now, and claim the name now if it is not claimed."""
        self._end.reload()
        try:
            check_covers(self._tls, relayed_host(self.address))
        except (ConfigError, OSError) as error:
            logger.warning("%s: callers will refuse this server: %s", self.address, error)
        self._hurry.set()

    def close(self) -> None:
        """Withdraw the claim. Closing twice is allowed."""
        if self._claiming is not None:
            self._claiming.cancel()
        for dialing in self._dialing:
            dialing.cancel()

    async def wait_closed(self) -> None:
        """Wait for callers that the relay joined to data connections before it noticed the end of the claim."""
        if self._claiming is not None:
            await asyncio.wait([self._claiming])
        if self._dialing:
            await asyncio.wait(self._dialing)
        loop = asyncio.get_running_loop()
        end = loop.time() + _LAST_SECONDS
        while self._connections and loop.time() < end:
            ended = [connection.over for connection in self._connections]
            await asyncio.wait(ended, timeout=end - loop.time(), return_when=asyncio.FIRST_COMPLETED)
        for connection in list(self._connections):
            connection.abort()

    # The claim

    async def _claim(self) -> None:
        """Claim the name, and claim it again whenever the claim ends."""
        short, long = Delays(_BACKOFF), Delays(_LASTING_BACKOFF)
        now = asyncio.get_running_loop().time
        async with self._client() as client:
            while True:
                # If `reload` is called during the claim, the pause after the claim ends immediately.
                self._hurry.clear()
                trouble = await self._held(client)
                if self._stands_since is not None and now() - self._stands_since >= _STEADY_SECONDS:
                    short.reset()
                    long.reset()
                self._stands_since = None
                if trouble.is_lasting:
                    await self._pause(long.take())
                else:
                    long.reset()
                    await self._pause(short.take())

    async def _held(self, client: Client) -> ClaimTrouble:
        """Hold the claim while its stream lasts; return the reason of its end."""
        place = self._place
        claim = (place.name, self._instance, self._takes_over, self._started)
        try:
            async with client.stream(RelayService.claim, *claim) as tickets:
                async for ticket in tickets:
                    self._takes_over = False
                    self._stands()
                    self._open(ClaimTicket(*ticket))
            failure: FastRPCError = UnavailableError("the relay ended it")
        except FastRPCError as error:
            failure = error
        trouble = trouble_of(failure, place)
        if trouble.number is not None and not self._first.done():
            is_setting = isinstance(failure, ConfigError)
            self._first.set_exception(failure if is_setting else start_error(trouble, self.address))
        else:
            self._log.lost(trouble, stood=self._has_stood)
        return trouble

    def _stands(self) -> None:
        if self._stands_since is None:
            self._stands_since = asyncio.get_running_loop().time()
            self._log.stands()
        self._has_stood = True
        if not self._first.done():
            self._first.set_result(None)

    async def _pause(self, seconds: float) -> None:
        """Wait before the next claim."""
        with suppress(TimeoutError):
            async with time_limit(seconds):
                await self._hurry.wait()

    def _client(self) -> Client:
        place = self._place
        config = ClientConfig(
            tls=place.tls,
            timeouts=Timeouts(call=None, connect=5.0),
            # The claim has its own pauses, and a second backoff must not add to them.
            backoff=Backoff(first=0.05, longest=0.2),
            keepalive=_KEEPALIVE,
            pool=Pool(breaker=None, outlier=None),
        )
        client = Client(place.relay, credentials=place.credentials, fail_mode="failfast", config=config)
        dial_for_calls(client)
        return client

    # Data connections

    def _open(self, ticket: ClaimTicket) -> None:
        if len(self._connections) + len(self._dialing) >= MOST_CONNECTIONS:
            return
        dialing = asyncio.ensure_future(self._dial(ticket))
        self._dialing.add(dialing)
        dialing.add_done_callback(self._dialing.discard)

    async def _dial(self, ticket: ClaimTicket) -> None:
        """Open a data connection. A failure does no harm, as the relay sends another ticket."""
        options = DialOptions(silence_seconds=self._options.silence_seconds)
        place = Address("tcp", host=self._place.relay.host, port=self._place.relay.port)
        try:
            async with time_limit(TICKET_SECONDS):
                await TCP.dial(place, lambda: DataConnection(self, ticket), options)
        except (ConnectError, TimeoutError) as error:
            logger.debug("%s: no data connection: %s", self.address, error)

    def add(self, connection: "DataConnection") -> None:
        """Record a data connection that waits for a caller."""
        self._connections.add(connection)

    def discard(self, connection: "DataConnection") -> None:
        """Record that a data connection no longer waits."""
        self._connections.discard(connection)

    def serve(self, transport: asyncio.Transport, caller: tuple[str, int], early: bytes) -> None:
        """Serve a caller that arrived on a data connection."""
        if self._options.admits is not None and not self._options.admits(caller):
            transport.abort()
            return
        pass_on(transport, Proxied(transport, caller), self._session_factory, early)


class DataConnection(asyncio.BufferedProtocol):
    """A connection to the relay, until it gets a caller."""

    def __init__(self, listener: RelayListener, ticket: ClaimTicket) -> None:
        self._listener = listener
        self._ticket = ticket
        self._early = b""
        self._place = bytearray()
        self._transport: asyncio.Transport
        #: Done once the connection serves a caller, or is lost.
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._listener.add(self)
        self._transport.write(GREETING + self._ticket.token)

    def get_buffer(self, sizehint: int) -> bytearray:
        self._place = bytearray(_FIRST_READ_BYTES)
        return self._place

    def buffer_updated(self, nbytes: int) -> None:
        self._early += self._place[:nbytes]
        try:
            opened = opened_header(self._early, self._ticket.key)
        except ValueError as error:
            logger.warning("%s: a data connection is refused: %s", self._listener.address, error)
            self.abort()
            return
        if opened is None:
            return
        size, caller = opened
        self._end()
        self._listener.serve(self._transport, caller, self._early[size:])

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()

    def abort(self) -> None:
        """Close it at once."""
        self._end()
        self._transport.abort()

    def _end(self) -> None:
        self._listener.discard(self)
        if not self.over.done():
            self.over.set_result(None)
