"""The log of what was refused for who the caller is: logger `fastrpc.audit`."""

import logging
import time
from collections.abc import Callable

from fastrpc.calling.peer import Peer
from fastrpc.rpc.identity import Identity

__all__ = ["Audit", "place_of"]

logger = logging.getLogger("fastrpc.audit")

#: Records a second of one peer; further ones are counted in its next record.
MOST_RECORDS = 10

#: Most peers that are counted.
MOST_PEERS = 10_000


class Audit:
    """Logs refusals, at most ten a second for each peer."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # By place: the second, its records, and how many were left out since the last record.
        self._counts: dict[bytes, tuple[int, int, int]] = {}

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
            return
        if len(self._counts) >= MOST_PEERS:
            del self._counts[next(iter(self._counts))]
        self._counts[place] = (second, records + 1, 0)
        name = "anonymous" if identity is None else identity.name
        logger.warning(
            "%s refused: %s of %s called %s: %s%s",
            step,
            name,
            peer,
            method or "nothing yet",
            reason,
            f" ({left_out} more were not logged)" if left_out else "",
            extra={"identity": name, "method": method, "peer": str(peer), "reason": reason},
        )


def place_of(peer: Peer | None) -> bytes:
    """Return what tells peers apart, as limits do: an IP address, the /64 of an IPv6 one, a user of this machine."""
    return b"" if peer is None else peer._limit_name()
