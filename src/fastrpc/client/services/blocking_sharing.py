"""The connections that the clients of several services share without a loop."""

import math
import threading
import time
from collections.abc import Callable

from fastrpc._core.client.blocking_session import BlockingSession
from fastrpc._core.client.blocking_wait import ReentryGuard
from fastrpc.client.blocking.subchannel import SyncSubchannel
from fastrpc.client.plan import FORK_LOOK_SECONDS
from fastrpc.client.services.places import SharedAddress, SharedAddresses, failure_of
from fastrpc.config import ClientConfig
from fastrpc.errors import ConnectError, FastRPCError

__all__ = ["SharedSessions"]


class SharedSessions:
    """The connections of several blocking clients in one process."""

    def __init__(self, config: ClientConfig) -> None:
        #: The threads that wait in any of the clients. Clients share connections, so they also share this guard.
        self.reentry = ReentryGuard()
        #: The addresses of all clients.
        self.places: SharedAddresses[BlockingSession] = SharedAddresses(config, threading.Lock)

    def session(
        self,
        subchannel: SyncSubchannel,
        make: Callable[[], BlockingSession],
        until: float | None,
        check_process: Callable[[], None],
        cut: float | None,
    ) -> BlockingSession:
        """Return a connection that a subchannel does not use yet, dialled if necessary.

        Args:
            make: a function that dials.
            until: the deadline of the call, an instant of `time.monotonic()`, or None.
            check_process: raises in the child of a fork.
            cut: the instant from which a failed dial no longer counts against the address; None: it always counts.

        Raises:
            FastRPCError: the dial failed, or an earlier dial failed and the next is not due.
        """
        place = self._acquired(subchannel, math.inf if until is None else until, check_process)
        try:
            for each in list(place.connections):
                if each.is_ready:
                    place.answered()
                if each.is_closed:
                    _end(place, each)
            session = place.take(subchannel, time.monotonic())
            if session is None:
                try:
                    session = make()
                except FastRPCError as error:
                    now = time.monotonic()
                    if cut is None or now < cut:
                        place.failed(error, now)
                    raise
                place.add(session, subchannel)
            return session
        finally:
            place.dialing.release()

    def leave_to_others(self, subchannel: SyncSubchannel, session: BlockingSession) -> bool:
        """Stop using a connection that other subchannels share; return whether there are such subchannels."""
        is_left = self.places.leave_to_others(subchannel, session)
        if not is_left and (place := self.places.find(session.endpoint)) is not None:
            _end(place, session)
            self.places.drop(place)
        return is_left

    def _acquired(
        self, subchannel: SyncSubchannel, until: float, check_process: Callable[[], None]
    ) -> SharedAddress[BlockingSession]:
        """Return the place of a subchannel, with its lock, once no other thread dials the place.

        `check_process` raises in the child of a fork, where the dialling thread does not exist.
        """
        while True:
            place = self.places.join(subchannel)
            if place.dialing.acquire(timeout=max(0.0, min(FORK_LOOK_SECONDS, until - time.monotonic()))):
                if self.places.join(subchannel) is place:
                    return place
                place.dialing.release()
            check_process()
            if time.monotonic() >= until:
                raise ConnectError(
                    f"{subchannel.endpoint}: another thread was still connecting when the time was over"
                )


def _end(place: SharedAddress[BlockingSession], session: BlockingSession) -> None:
    place.connections.pop(session, None)
    if session.is_closed:
        endpoint, engine, reason = session.endpoint, session.engine, session.lost_because
        place.failed(failure_of(endpoint, engine, reason, was_ready=session.is_ready), time.monotonic())
