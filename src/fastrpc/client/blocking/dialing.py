"""The dials of a blocking client, each by the thread that needs the connection."""

import math
import time
from collections.abc import Callable

from fastrpc._core.calling.blocking_session import BlockingSession
from fastrpc._core.calling.reentry import ReentryGuard
from fastrpc._core.framing.settings import Settings
from fastrpc.client.credentials import ClientCredentials
from fastrpc.client.wire import wire_of
from fastrpc.config import ClientConfig
from fastrpc.endpoint import Endpoint
from fastrpc.errors import ConnectError, ConnectionLostError
from fastrpc.transports.base import dial_options
from fastrpc.transports.blocking import connect

__all__ = ["SPARE_SECONDS", "Dialer", "opened", "seconds_until", "spare_seconds_until"]

#: How long a dial may delay a call that already has a connection.
#: Too low never reconnects to a distant server, too high delays single calls.
SPARE_SECONDS = 0.25


class Dialer:
    """Makes the connections of a blocking client."""

    def __init__(self, config: ClientConfig, settings: Settings, reentry: ReentryGuard) -> None:
        #: How long a reading thread polls; shorter than the setting where polling cannot help.
        self.spin_microseconds = 0
        #: What connections show to servers; None: nothing.
        self.credentials: ClientCredentials | None = None
        self._config = config
        self._settings = settings
        self._reentry = reentry

    def dial(
        self,
        endpoint: Endpoint,
        until: float | None,
        spare_seconds: float | None,
        check_process: Callable[[], None],
    ) -> BlockingSession:
        """Return a new connection; it has sent what opens it, and has read nothing.

        Args:
            until: the deadline of the call, an instant of `time.monotonic()`, or None.
            spare_seconds: how long the dial may take where the call has another connection; None elsewhere.
            check_process: raises in the child of a fork.

        Raises:
            FastRPCError: there is no connection, or the process forked meanwhile.
        """
        config = self._config
        left = None if until is None else max(0.0, until - time.monotonic())
        limits = [limit for limit in (config.timeouts.connect, spare_seconds, left) if limit is not None]
        token = None if self.credentials is None else self.credentials.current_blocking(endpoint.address)
        wire = wire_of(endpoint, config)
        io = connect(endpoint.address, min(limits, default=None), dial_options(config, wire))
        if wire != "native":
            # Imported on first use: most clients speak the native protocol.
            from fastrpc.protocols.rpcx_client import rpcx_io

            io = rpcx_io(io, config, wire)
        try:
            check_process()
        except ConnectionLostError:
            # A signal handler forked meanwhile: the parent uses the same socket.
            io.close()
            raise
        return BlockingSession(
            io=io,
            endpoint=endpoint,
            timeouts=config.timeouts,
            keepalive=config.keepalive,
            settings=self._settings.copy(),
            early_calls=config.early_calls,
            spin_microseconds=self.spin_microseconds,
            reentry=self._reentry,
            credential=token,
            takes_values=wire != "native",
        )


def seconds_until(ends: float | None) -> float | None:
    """Return the seconds until an instant; None for never."""
    return None if ends is None or math.isinf(ends) else max(0.0, ends - time.monotonic())


def spare_seconds_until(until: float | None) -> float:
    """Return how long a dial may delay a call that already has a connection: at most half of its remaining time."""
    if until is None:
        return SPARE_SECONDS
    return min(SPARE_SECONDS, max(0.0, until - time.monotonic()) / 2)


def opened(session: BlockingSession, spare_seconds: float | None) -> BlockingSession:
    """Return a connection that replaces others, once its SETTINGS arrived.

    Raises:
        ConnectError: SETTINGS did not arrive in time.
    """
    is_ready = False
    try:
        is_ready = session.wait_ready(None if spare_seconds is None else time.monotonic() + spare_seconds)
    finally:
        if not is_ready:
            session.retire()
    if not is_ready:
        reason = session.lost_because or "the server did not answer in time"
        raise ConnectError(f"{session.endpoint} did not open a connection to replace an aged one: {reason}")
    return session
