"""Distribution of a server's connections over its worker processes."""

import contextlib
import logging
import math
import selectors
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

from fastrpc.transports.base import BACKLOG
from fastrpc.transports.edge import accept_judged
from fastrpc.workers.acceptor import Acceptor, ListeningSocket
from fastrpc.workers.worker_channel import MOVE
from fastrpc.workers.worker_record import WorkerRecord

__all__ = ["Spread"]

logger = logging.getLogger("fastrpc.server")

#: The most connections accepted in one round of events. Between rounds other events are handled. This delays no call,
#: because the supervisor serves no calls.
MOST_AT_ONCE = 32

#: FIRST_MOVE_SECONDS: seconds between the start of a worker and the first move of connections to it. MOVE_SECONDS:
#: seconds between further moves.
FIRST_MOVE_SECONDS = 0.2
MOVE_SECONDS = 0.5

#: The most moves after the start of a worker, because connections with endless streams never move.
MOST_MOVES = 20

#: The most connections that one worker moves at the same time, because their clients then reconnect.
MOVED_AT_ONCE = 64

#: A worker with fewer connections than this share of the mean gets connections of other workers.
FAIR = 0.8

#: Seconds without accepting after all workers refused a connection, or when no descriptor is left.
PAUSE_SECONDS = 0.05

#: Seconds without accepting after connections were refused and no further connection waits. In a flood each pause then
#: costs one round of events and one futile attempt; without pauses almost every connection would cost both.
REST_SECONDS = 0.001

#: Seconds between two records about connections that cannot be accepted.
RECORD_SECONDS = 60.0


class Spread:
    """Accepts connections and passes each to the worker with the fewest. Workers with equal numbers take turns.

    Turns alone are not enough: a worker that started later would have fewer connections than the others until these
    close, and RPC clients keep connections for long. For the same reason a worker that replaces a dead worker gets
    connections of the others: these ask some clients to reconnect, as at a connection's maximum age, which fails no
    call.

    Args:
        admits: called with a peer's socket address; returns whether its connection is served. None: all are served.
    """

    def __init__(
        self,
        acceptor: Acceptor,
        selector: selectors.BaseSelector,
        workers: Callable[[], list[WorkerRecord]],
        clock: Callable[[], float],
        admits: Callable[[Any], bool] | None = None,
    ) -> None:
        self._acceptor = acceptor
        self._selector = selector
        self._workers = workers
        self._clock = clock
        self._admits = admits
        # Whether a connection was refused or lost since the last time that no connection waited.
        self._has_refused = False
        self._turn = 0
        #: The instant at which to accept again after a pause; None: no pause.
        self.resume_at: float | None = None
        #: The instant of the next move, if the numbers of connections differ too much between workers.
        self.move_at: float | None = None
        self._moves_left = 0
        # `_failures`: failed attempts to accept since the last log record about such failures. `_told_at`: the time of
        # that record.
        self._failures = 0
        self._told_at = -math.inf

    def accept(self) -> None:
        """Accept connections from now on."""
        self.resume_at = None
        for listening_socket in self._acceptor.listening_sockets:
            take = partial(self._take_up_to, listening_socket, MOST_AT_ONCE)
            self._selector.register(listening_socket, selectors.EVENT_READ, take)

    def stop(self) -> None:
        """Stop accepting connections."""
        self.resume_at = None
        for listening_socket in self._acceptor.listening_sockets:
            with contextlib.suppress(KeyError):
                self._selector.unregister(listening_socket)

    def take_last(self) -> None:
        """Accept the connections that wait. When the sockets close, the system would reset them."""
        for listening_socket in self._acceptor.listening_sockets:
            self._take_up_to(listening_socket, BACKLOG)

    def worker_started(self) -> None:
        """Allow connections to move to a new worker."""
        self._moves_left = MOST_MOVES
        self.move_at = self._clock() + FIRST_MOVE_SECONDS

    def balance(self) -> None:
        """If a move is due and a worker has far too few connections, move some from workers with too many."""
        if self.move_at is None or self._clock() < self.move_at:
            return
        workers = [worker for worker in self._workers() if worker.takes_connections]
        counts = [worker.connections for worker in workers]
        share = sum(counts) / max(1, len(counts))
        self._moves_left -= 1
        if not counts or min(counts) >= share * FAIR or share - min(counts) < 1 or self._moves_left <= 0:
            self.move_at = None
            return
        self.move_at = self._clock() + MOVE_SECONDS
        for worker, count in zip(workers, counts, strict=True):
            if worker.channel is not None:
                for _ in range(min(MOVED_AT_ONCE, count - math.ceil(share))):
                    worker.channel.tell(MOVE)

    def resume(self) -> None:
        """Accept again once a pause is over."""
        if self.resume_at is not None and self._clock() >= self.resume_at:
            self.accept()

    def _take_up_to(self, listening_socket: ListeningSocket, most: int) -> None:
        for _ in range(most):
            if not self.take(listening_socket):
                return

    def take(self, listening_socket: ListeningSocket) -> bool:
        """Accept a waiting connection for a worker. Return False if none waits or no worker can receive it."""
        try:
            connection = accept_judged(listening_socket.socket, self._admits)
        except BlockingIOError:
            if self._has_refused:
                self._has_refused = False
                self._pause(REST_SECONDS)
            return False
        except OSError as error:
            self._tell_failure(error)
            self._pause(PAUSE_SECONDS)
            return False
        if connection is None:
            self._has_refused = True
            return True
        with connection:
            if self._hand_over(listening_socket.index, connection):
                return True
        self._pause(PAUSE_SECONDS)
        return False

    def _hand_over(self, index: int, connection: socket.socket) -> bool:
        workers = self._workers()
        self._turn += 1
        in_turn = [workers[(self._turn + offset) % len(workers)] for offset in range(len(workers))]
        # `sorted` keeps the order of workers with equal numbers.
        return any(
            worker.takes(index, connection) for worker in sorted(in_turn, key=lambda one: one.connections)
        )

    def _tell_failure(self, error: OSError) -> None:
        """Log that connections cannot be accepted, once a minute: without descriptors each attempt fails."""
        self._failures += 1
        if self._clock() >= self._told_at + RECORD_SECONDS:
            text = f"cannot accept connections: {error} (attempts that failed: {self._failures:,})"
            logger.error(text, extra={"event": "accept_failed", "count": self._failures})
            self._failures, self._told_at = 0, self._clock()

    def _pause(self, seconds: float) -> None:
        # If a round has two reasons to pause, the longer pause applies.
        resume_at = max(self.resume_at or 0.0, self._clock() + seconds)
        self.stop()
        self.resume_at = resume_at
