"""The life of a server on the logger `fastrpc.server`: where it listens, how it drains, who comes and does not belong.

INFO tells what happens a few times in a life, DEBUG what happens for each connection. A stranger is a connection whose
first bytes are not those of the protocol: the first for a minute is logged at once, further ones once a minute by their
number.
"""

import asyncio
import logging
import time
from typing import Any

from fastrpc.endpoint import Address

__all__ = ["Life", "log_listening"]

logger = logging.getLogger("fastrpc.server")

#: Seconds between two records about strangers.
STRANGER_SECONDS = 60.0


def log_listening(address: Address, workers: int = 1) -> None:
    """Say where connections are taken. `event` tells those who say it themselves: `fastrpc run` prints it."""
    suffix = f" with {workers} workers" if workers > 1 else ""
    logger.info("listening at %s%s", address, suffix, extra={"event": "listening", "address": str(address)})


class Life:
    """Writes what becomes of one server."""

    def __init__(self) -> None:
        #: INFO, but of one of several workers, whose supervisor tells it once for all of them.
        self.level = logging.INFO
        self._drain_began = 0.0
        self._strangers = 0
        self._told_at = float("-inf")
        self._last = ""
        self._timer: asyncio.TimerHandle | None = None

    def listening(self, address: Address) -> None:
        """Tell of one more address."""
        log_listening(address)

    def draining(self, calls: int) -> None:
        """Tell that a drain begins."""
        self._drain_began = time.monotonic()
        logger.log(self.level, "the drain began: calls under way: %d", calls, extra={"event": "drain_began"})

    def cut_off(self, calls: int, seconds: float | None) -> None:
        """Tell that calls did not end in time."""
        text = "calls cut off after %s s of drain (Timeouts.drain): %d"
        logger.warning(text, seconds, calls, extra={"event": "cut_off"})

    def drained(self) -> None:
        """Tell that a drain ended."""
        seconds = time.monotonic() - self._drain_began
        logger.log(self.level, "the drain ended after %.1f s", seconds, extra={"event": "drain_ended"})

    def connection_lost(self, peer: Any, error: BaseException | None) -> None:
        """Tell that a connection is gone."""
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("the connection of %s ended%s", peer, "" if error is None else f": {error!r}")

    def stranger(self, peer: Any, reason: str) -> None:
        """Tell of a connection that does not speak the protocol, at most once a minute."""
        self._strangers += 1
        self._last = f"{peer}: {reason}"
        rest = self._told_at + STRANGER_SECONDS - time.monotonic()
        if rest <= 0:
            self._tell_strangers()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(rest, self._tell_strangers)

    def close(self) -> None:
        """Tell what is left to be told."""
        if self._timer is not None:
            self._timer.cancel()
            self._tell_strangers()

    def _tell_strangers(self) -> None:
        count, self._strangers, self._timer = self._strangers, 0, None
        self._told_at = time.monotonic()
        text = "connections that do not speak fastrpc: %d, the last of %s"
        logger.info(text, count, self._last, extra={"event": "strangers", "count": count})
