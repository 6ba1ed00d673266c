"""The hosts whose callers present wrong credentials repeatedly."""

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final

from fastrpc.auth.verdict import Refusal
from fastrpc.handlers.auth.audit import place_of
from fastrpc.peers.peer import Peer
from fastrpc.status import Status

__all__ = ["FailedLogins"]

#: If a host presents MOST_FAILURES wrong credentials within FAILURE_SECONDS, each further verdict is delayed by
#: PAUSE_SECONDS.
MOST_FAILURES: Final = 10
FAILURE_SECONDS: Final = 60.0
PAUSE_SECONDS: Final = 1.0

#: Most hosts that are counted.
MOST_HOSTS: Final = 10_000


class FailedLogins:
    """Counts wrong credentials by host, and delays further verdicts."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._instants: OrderedDict[bytes, deque[float]] = OrderedDict()

    def pause_of(self, peer: Peer) -> float:
        """Return the seconds by which the next verdict on a credential of this host is delayed."""
        instants = self._instants.get(place_of(peer))
        if instants is None:
            return 0.0
        since = self._clock() - FAILURE_SECONDS
        while instants and instants[0] < since:
            instants.popleft()
        return PAUSE_SECONDS if len(instants) >= MOST_FAILURES else 0.0

    def note(self, peer: Peer, refusal: Refusal) -> None:
        """Count a refused credential. A credential that could not be verified is not counted."""
        if refusal.status is not Status.UNAUTHENTICATED:
            return
        place = place_of(peer)
        instants = self._instants.setdefault(place, deque(maxlen=MOST_FAILURES))
        self._instants.move_to_end(place)
        instants.append(self._clock())
        if len(self._instants) > MOST_HOSTS:
            self._instants.popitem(last=False)
