"""The dials of a blocking client, each by the thread that needs the connection."""

import math
import time
from collections.abc import Callable

from fastrpc._core.client.blocking_session import BlockingSession
from fastrpc._core.client.blocking_wait import ReentryGuard
from fastrpc._core.wire.settings import WireSettings
from fastrpc.client.credentials import ClientCredentials
from fastrpc.client.target import Target
from fastrpc.client.wire import protocol_of
from fastrpc.config import ClientConfig
from fastrpc.endpoint import Endpoint
from fastrpc.errors import ConnectError
from fastrpc.protocols.base import ClientParts, Protocol, client_engine
from fastrpc.transports.base import dial_options
from fastrpc.transports.blocking import connect

__all__ = ["SPARE_SECONDS", "Dialer", "opened", "seconds_until", "spare_seconds_until"]

#: The time by which a dial may delay a call that already has a connection.
#: With a lower value a client may never reconnect to a distant server, with a higher one single calls are delayed.
SPARE_SECONDS = 0.25


class Dialer:
    """Makes the connections of a blocking client."""

    def __init__(
        self, target: Target, config: ClientConfig, settings: WireSettings, reentry: ReentryGuard
    ) -> None:
        #: The time for which a reading thread polls: the setting, or less if polling cannot help on this machine.
        self.spin_microseconds = 0
        #: Credentials that connections show to servers.
        self.credentials: ClientCredentials | None = None
        self._target = target
        self._config = config
        self._settings = settings
        self._reentry = reentry

    def dial(
        self,
        endpoint: Endpoint,
        until: float | None,
        spare_seconds: float | None,
        check_process: Callable[[], None],
        *,
        ping_factor: int = 1,
    ) -> BlockingSession:
        """Return a new connection. Its opening is sent together with the first request; nothing has been read yet.

        Args:
            until: the deadline of the call, an instant of `time.monotonic()`, or None.
            spare_seconds: the time that the dial may take if the call has another connection; else None.
            check_process: raises in the child of a fork.
            ping_factor: as in `ClientParts`.

        Raises:
            FastRPCError: there is no connection, or the process forked meanwhile.
        """
        config = self._config
        left = None if until is None else max(0.0, until - time.monotonic())
        limits = [limit for limit in (config.timeouts.connect, spare_seconds, left) if limit is not None]
        token = None if self.credentials is None else self.credentials.current_blocking(endpoint.address)
        protocol = protocol_of(endpoint, config)
        tls = self._target.tls_for(endpoint, config.tls)
        options = dial_options(config, protocol.agreed[0], tls)
        parts = self._parts(protocol, endpoint, token, ping_factor)
        io = connect(endpoint.address, min(limits, default=None), options)
        try:
            if protocol.traits.io_layer is not None:
                io = protocol.traits.io_layer(parts, io)
            # A signal handler may have forked meanwhile: the parent then uses the same socket.
            check_process()
            return BlockingSession(
                client_engine(parts),
                io=io,
                endpoint=endpoint,
                linger=config.timeouts.linger or 0.0,
                spin_microseconds=self.spin_microseconds,
                reentry=self._reentry,
            )
        except BaseException:
            io.close()
            raise

    def _parts(
        self, protocol: Protocol, endpoint: Endpoint, token: bytes | None, ping_factor: int
    ) -> ClientParts:
        return ClientParts(
            protocol=protocol,
            endpoint=endpoint,
            config=self._config,
            timeouts=self._config.timeouts,
            settings=self._settings.copy(),
            credential=token,
            renews=self.credentials is not None and self.credentials.can_renew,
            ping_factor=ping_factor,
        )


def seconds_until(ends: float | None) -> float | None:
    """Return the seconds until an instant; None for never."""
    return None if ends is None or math.isinf(ends) else max(0.0, ends - time.monotonic())


def spare_seconds_until(until: float | None) -> float:
    """Return the time by which a dial may delay a call that has a connection: at most half of its remaining time."""
    if until is None:
        return SPARE_SECONDS
    return min(SPARE_SECONDS, max(0.0, until - time.monotonic()) / 2)


def opened(connection: BlockingSession, spare_seconds: float | None) -> BlockingSession:
    """Return a connection that replaces others, once its SETTINGS arrived.

    Raises:
        ConnectError: SETTINGS did not arrive in time.
    """
    is_ready = False
    try:
        is_ready = connection.wait_ready(None if spare_seconds is None else time.monotonic() + spare_seconds)
    finally:
        if not is_ready:
            connection.retire()
    if not is_ready:
        reason = connection.lost_because or "the server did not answer in time"
        raise ConnectError(
            f"{connection.endpoint} did not open a connection to replace an aged one: {reason}"
        )
    return connection
