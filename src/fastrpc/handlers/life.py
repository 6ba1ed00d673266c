"""Records of a server's life on the logger `fastrpc.server`: listening, draining, strangers, refused addresses.

INFO is for events of the server, DEBUG for events of each connection. A stranger is a connection whose first bytes
match no protocol: the first stranger in a minute is logged immediately, further ones are counted and logged once a
minute. The same holds for connections that `Addresses` or `ConnectionRate` refuse, and for calls that fail with their
store or broker.
"""

import asyncio
import logging
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

from fastrpc.endpoint import Address

__all__ = ["Life", "LoopMinuteLog", "MinuteLog", "log_listening", "refused_at_edges", "warn_of_collectors"]

logger = logging.getLogger("fastrpc.server")

#: Seconds between two records about strangers.
STRANGER_SECONDS = 60.0

#: Most connections refused by TLS that are logged individually within `STRANGER_SECONDS`.
TLS_REFUSALS = 60


def log_listening(address: Address, workers: int = 1) -> None:
    """Log a listening address. `event` marks the record for `fastrpc run`, which prints the address itself."""
    suffix = f" with {workers} workers" if workers > 1 else ""
    logger.info("listening at %s%s", address, suffix, extra={"event": "listening", "address": str(address)})


class MinuteLog:
    """Logs the first of many events immediately, and the number of further events once a minute. It needs no loop.

    Args:
        tell: logs the number of events, and peer and reason of the last event.
    """

    def __init__(self, tell: Callable[[int, str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._tell = tell
        self._clock = clock
        self._count = 0
        # Peer and reason of the last event. They are formatted only for the log, because a flood may cause tens of
        # thousands of events per second.
        self._last: tuple[Any, str] = ("", "")
        self._told_at = float("-inf")

    @property
    def due(self) -> float | None:
        """The instant at which to call `tell_due`; None if every event was reported."""
        return self._told_at + STRANGER_SECONDS if self._count else None

    def note(self, peer: Any, reason: str) -> None:
        """Note an event."""
        self._count += 1
        self._last = peer, reason
        self.tell_due()

    def tell_due(self) -> None:
        """Report the events counted so far, if a minute has passed."""
        if self._count and self._clock() >= self._told_at + STRANGER_SECONDS:
            self.close()

    def close(self) -> None:
        """Report the events counted so far."""
        if self._count:
            count, self._count = self._count, 0
            self._told_at = self._clock()
            peer, reason = self._last
            self._tell(count, f"{peer}: {reason}")


class LoopMinuteLog(MinuteLog):
    """A `MinuteLog` with a timer of the running loop."""

    _timer: asyncio.TimerHandle | None = None

    def note(self, peer: Any, reason: str) -> None:
        super().note(peer, reason)
        if self._timer is None and self.due is not None:
            left = max(0.0, self.due - self._clock())
            self._timer = asyncio.get_running_loop().call_later(left, self.close)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        super().close()


class Life:
    """Log the events of one server."""

    def __init__(self) -> None:
        #: The level of the records: INFO, or a lower level in a worker process, whose supervisor logs each event once
        #: for all workers.
        self.level = logging.INFO
        #: Whether calls were cancelled because they did not end in time.
        self.has_cut_off = False
        self._drain_began = 0.0
        self._strangers = LoopMinuteLog(_tell_strangers)
        self._refused = LoopMinuteLog(_tell_refused)
        self._failed = LoopMinuteLog(_tell_failed)
        # Connections refused by TLS in the minute that began at `_tls_minute`: the number that was logged
        # (`_tls_told`), and the number that was not logged (`_tls_untold`).
        self._tls_minute = float("-inf")
        self._tls_told = self._tls_untold = 0

    def listening(self, address: Address) -> None:
        """Log a new address."""
        log_listening(address)

    def draining(self, calls: int) -> None:
        """Log the start of a drain."""
        self._drain_began = time.monotonic()
        logger.log(self.level, "the drain began: calls under way: %d", calls, extra={"event": "drain_began"})

    def cut_off(self, calls: int, seconds: float | None) -> None:
        """Log that calls did not end in time."""
        self.has_cut_off = True
        text = "calls cut off after %s s of drain (Timeouts.drain): %d"
        if not calls:
            text = "requests or answers in part cut off after %s s of drain (Timeouts.drain); calls: %d"
        logger.warning(text, seconds, calls, extra={"event": "cut_off"})

    def drained(self) -> None:
        """Log the end of a drain."""
        seconds = time.monotonic() - self._drain_began
        logger.log(self.level, "the drain ended after %.1f s", seconds, extra={"event": "drain_ended"})

    def connection_lost(self, peer: Any, error: BaseException | None) -> None:
        """Log the loss of a connection."""
        if logger.isEnabledFor(logging.DEBUG):
            reason = "" if error is None else f": {error!r}"
            fields = {"event": "connection_ended", "peer": str(peer)}
            logger.debug("the connection of %s ended%s", peer, reason, extra=fields)

    def stranger(self, peer: Any, reason: str) -> None:
        """Log a connection whose first bytes match no protocol, at most once a minute."""
        self._strangers.note(peer, reason)

    def refused_at_edge(self, host: str, reason: str) -> None:
        """Log a connection, or a request of a proxy's client, from a refused address, at most once a minute."""
        self._refused.note(host, reason)

    def failed_backend(self, method: str, error: BaseException) -> None:
        """Log a call that failed with its store or broker, at most once a minute."""
        self._failed.note(method, f"{type(error).__name__}: {error}")

    def refused_tls(self, peer: Any, error: BaseException) -> None:
        """Log a connection refused by TLS: individually the first sixty in a minute, then only their number."""
        now = time.monotonic()
        if now >= self._tls_minute + STRANGER_SECONDS:
            self._tell_untold_tls()
            self._tls_minute, self._tls_told = now, 0
        if self._tls_told >= TLS_REFUSALS:
            self._tls_untold += 1
            return
        self._tls_told += 1
        logger.warning("refused %s: %s", peer, error, extra={"event": "tls_refused", "peer": str(peer)})

    def _tell_untold_tls(self) -> None:
        count, self._tls_untold = self._tls_untold, 0
        if count:
            text = "further connections that TLS refused: %d"
            logger.warning(text, count, extra={"event": "tls_refused", "count": count})

    def close(self) -> None:
        """Log the connections counted so far."""
        self._tell_untold_tls()
        self._strangers.close()
        self._refused.close()
        self._failed.close()


def _tell_strangers(count: int, last: str) -> None:
    text = "connections that do not speak fastrpc: %d, the last of %s"
    logger.info(text, count, last, extra={"event": "strangers", "count": count})


def refused_at_edges(clock: Callable[[], float]) -> MinuteLog:
    """Return the log of refused addresses, for a process without a loop."""
    return MinuteLog(_tell_refused, clock)


def _tell_refused(count: int, last: str) -> None:
    text = "refused by Addresses or ConnectionRate: %d, the last of %s"
    logger.warning(text, count, last, extra={"event": "edge_refused", "count": count})


def _tell_failed(count: int, last: str) -> None:
    text = "calls that failed with their store or broker: %d, the last of %s"
    logger.warning(text, count, last, extra={"event": "backend_failed", "count": count})


def warn_of_collectors() -> None:
    """Warn that metric collectors of this process see no calls of its workers. This imports no metrics."""
    prometheus = sys.modules.get("fastrpc.metrics.prometheus")
    if prometheus is not None and prometheus.collectors:
        warnings.warn(
            "fastrpc.metrics.collector() shows no calls in this process: each of its workers counts its own. Set "
            "ServerConfig.admin_address: its page /metrics has the calls of all workers",
            RuntimeWarning,
            stacklevel=2,
        )
