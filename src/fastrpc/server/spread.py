"""How the connections of a server with several processes spread over its workers."""

import contextlib
import logging
import selectors
import socket
from collections.abc import Callable

from fastrpc.server.acceptor import Acceptor, ListeningSocket
from fastrpc.server.worker_record import WorkerRecord

__all__ = ["Spread"]

logger = logging.getLogger("fastrpc.server")

#: Seconds without accepting after every worker refused a connection, or the descriptors ran out.
PAUSE_SECONDS = 0.05


class Spread:
    """Accepts connections, and hands each to the worker that has the fewest; of several to the next in turn.

    By the number of connections, not in turn alone: a worker that started later than the others would stay behind them
    for as long as connections live, and those of RPC clients live long.
    """

    def __init__(
        self,
        acceptor: Acceptor,
        selector: selectors.BaseSelector,
        workers: Callable[[], list[WorkerRecord]],
        clock: Callable[[], float],
    ) -> None:
        self._acceptor = acceptor
        self._selector = selector
        self._workers = workers
        self._clock = clock
        self._turn = 0
        #: When to accept again, after a pause.
        self.resume_at: float | None = None

    def accept(self) -> None:
        """Accept connections from now on."""
        self.resume_at = None
        for listening_socket in self._acceptor.listening_sockets:
            self._selector.register(listening_socket, selectors.EVENT_READ)

    def stop(self) -> None:
        """Accept no more connections."""
        self.resume_at = None
        for listening_socket in self._acceptor.listening_sockets:
            with contextlib.suppress(KeyError):
                self._selector.unregister(listening_socket)

    def resume(self) -> None:
        """Accept again once a pause is over."""
        if self.resume_at is not None and self._clock() >= self.resume_at:
            self.accept()

    def take(self, listening_socket: ListeningSocket) -> None:
        """Take a waiting connection."""
        try:
            connection = listening_socket.accept()
        except OSError as error:
            logger.error("cannot accept connections: %s", error)
            self._pause()
            return
        if connection is not None:
            with connection:
                if not self._hand_over(listening_socket.index, connection):
                    self._pause()

    def _hand_over(self, index: int, connection: socket.socket) -> bool:
        workers = self._workers()
        self._turn += 1
        in_turn = [workers[(self._turn + offset) % len(workers)] for offset in range(len(workers))]
        # `sorted` keeps the order of those with as many.
        return any(
            worker.takes(index, connection) for worker in sorted(in_turn, key=lambda one: one.connections)
        )

    def _pause(self) -> None:
        self.stop()
        self.resume_at = self._clock() + PAUSE_SECONDS
