"""The log of calls that were refused because of their caller's identity: logger `fastrpc.audit`."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable

from fastrpc.peers.peer import Peer, limit_name_of
from fastrpc.rpc.identity import Identity

__all__ = ["Audit", "place_of"]

logger = logging.getLogger("fastrpc.audit")

#: Most records per second of one peer. Further refusals are counted in its next record.
MOST_RECORDS = 10

#: Seconds until the number of omitted records is logged separately, if no other refusal of the peer is logged by then.
UNTOLD_SECONDS = 1.0

#: Seconds between two records of a caller who may not use reflection.
REFLECTION_SECONDS = 60.0

#: Most peers that are counted.
MOST_PEERS = 10_000


class Audit:
    """Logs refusals, at most ten per second and peer, and later the number of omitted refusals."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # Key of a peer -> a second, the records in it, and the records omitted since the last record.
        self._counts: dict[bytes, tuple[int, int, int]] = {}
        # The timer logs the numbers of omitted records if no other record does. `_untold` has the last peer of each
        # such key.
        self._timer: asyncio.TimerHandle | None = None
        self._untold: dict[bytes, str] = {}
        # Key of a peer and caller's name -> the instant at which a refusal of reflection was last logged, oldest first.
        self._reflections: dict[tuple[bytes, str], float] = {}

    def refused(
        self, step: str, method: str, identity: Identity | None, peer: Peer | None, reason: str
    ) -> None:
        """Log a refusal.

        Args:
            step: "authentication" or "authorisation".
        """
        place = place_of(peer)
        now = int(self._clock())
        second, records, left_out = self._counts.pop(place, (now, 0, 0))
        if second != now:
            second, records = now, 0
        if records >= MOST_RECORDS:
            self._counts[place] = (second, records, left_out + 1)
            self._untold[place] = str(peer)
            self._tell_later()
            return
        if len(self._counts) >= MOST_PEERS:
            oldest = next(iter(self._counts))
            del self._counts[oldest]
            self._untold.pop(oldest, None)
        self._untold.pop(place, None)
        self._counts[place] = (second, records + 1, 0)
        more = f" ({left_out} more were not logged)" if left_out else ""
        _log(logging.WARNING, step, method, identity, peer, reason, more)

    def refused_reflection(
        self, step: str, method: str, identity: Identity | None, peer: Peer | None, reason: str
    ) -> None:
        """Log that a caller may not list methods, at most once a minute: tools request the list on their own."""
        caller = place_of(peer), _name_of(identity)
        now = self._clock()
        told = self._reflections.get(caller)
        if told is not None and now - told < REFLECTION_SECONDS:
            return
        self._reflections.pop(caller, None)
        self._reflections[caller] = now
        if len(self._reflections) > MOST_PEERS:
            del self._reflections[next(iter(self._reflections))]
        _log(logging.INFO, step, method, identity, peer, reason, "")

    def _tell_later(self) -> None:
        if self._timer is None:
            with contextlib.suppress(
                RuntimeError
            ):  # There is no running loop: the next record reports the count.
                self._timer = asyncio.get_running_loop().call_later(UNTOLD_SECONDS, self._tell_untold)

    def _tell_untold(self) -> None:
        self._timer = None
        untold, self._untold = self._untold, {}
        for place, peer in untold.items():
            second, records, left_out = self._counts[place]
            self._counts[place] = (second, records, 0)
            logger.warning(
                "further refusals of %s that were not logged: %d",
                peer,
                left_out,
                extra={"peer": peer, "count": left_out},
            )

    def close(self) -> None:
        """Log the numbers of omitted records."""
        if self._timer is not None:
            self._timer.cancel()
            self._tell_untold()


def _name_of(identity: Identity | None) -> str:
    return "anonymous" if identity is None else identity.name


def _log(
    level: int, step: str, method: str, identity: Identity | None, peer: Peer | None, reason: str, more: str
) -> None:
    name = _name_of(identity)
    logger.log(
        level,
        "%s refused: %s of %s called %s: %s%s",
        step,
        name,
        peer,
        method or "nothing yet",
        reason,
        more,
        extra={"identity": name, "method": method, "peer": str(peer), "reason": reason},
    )


def place_of(peer: Peer | None) -> bytes:
    """Return the key of a peer, as limits do: an IPv4 address, the /64 of an IPv6 address, or a local user."""
    return limit_name_of(peer)
