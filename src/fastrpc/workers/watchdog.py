"""The watchdog of workers, which kills hung workers and notifies systemd while the server is alive."""

import logging
import math
import os
import signal
from collections.abc import Callable, Mapping

from fastrpc.workers.monitoring.scoreboard import Role
from fastrpc.workers.systemd import Systemd
from fastrpc.workers.worker_record import WorkerRecord

__all__ = ["Watchdog"]

logger = logging.getLogger("fastrpc.server")

#: Seconds between two checks.
LOOK_SECONDS = 1.0

#: Seconds that a hung worker has to write its stacks before it is killed.
STACKS_SECONDS = 0.5


class Watchdog:
    """Checks the workers' heartbeats.

    Args:
        workers: the serving workers. If all of them hang, the server counts as hung.
        processes: all processes, because workers that drain after a roll may hang, too.
        timeout: seconds without a heartbeat after which a worker is killed; None: never.
    """

    def __init__(
        self,
        workers: Callable[[], list[WorkerRecord]],
        processes: Callable[[], list[WorkerRecord]],
        systemd: Systemd,
        timeout: float | None,
        clock: Callable[[], float],
    ) -> None:
        self._workers = workers
        self._processes = processes
        self._systemd = systemd
        self._timeout = timeout
        self._clock = clock
        # The processes that were overdue at the last check, with the seconds since their heartbeat at that time.
        self._suspects: dict[int, float] = {}
        # Processes whose slow start was logged, and that were still starting at the last check.
        self._slow: set[int] = set()
        self._is_needed = timeout is not None or systemd.interval is not None
        self._step = min(LOOK_SECONDS, systemd.interval or LOOK_SECONDS, timeout or LOOK_SECONDS)
        #: The instant of the next check; None: there is nothing to check.
        self.due: float | None = clock() + self._step if self._is_needed else None

    def look(self) -> None:
        """If a check is due, check all workers. Make a hung worker dump its stacks, and plan its kill."""
        if self.due is None or self._clock() < self.due:
            return
        self.due = self._clock() + self._step
        started = [
            one
            for one in self._processes()
            if one.is_alive and one.started is not None and one.role is Role.WORKER
        ]
        silent = {one.process_id: one.place.silent_seconds for one in started if one.place is not None}
        if self._timeout is not None:
            self._find_hung(started, silent, self._timeout)
            self._find_slow(self._timeout)
        interval = self._systemd.interval
        if interval is not None:
            late = 2 * interval + LOOK_SECONDS
            if any(silent.get(one.process_id, late) < late for one in self._workers()):
                self._systemd.feed()

    def _find_hung(self, started: list[WorkerRecord], silent: Mapping[int, float], timeout: float) -> None:
        overdue = [one for one in started if silent[one.process_id] >= timeout and one.kill_at is None]
        for worker in overdue:
            # A worker is killed at the second check if there was no heartbeat since the first. One check proves
            # nothing: all workers are overdue after the machine was suspended, and a worker is overdue for a moment if
            # the timeout is not longer than the time between two heartbeats.
            before = self._suspects.get(worker.process_id, math.inf)
            if silent[worker.process_id] >= before + self._step / 2:
                logger.error(
                    "%s (process %d) hangs: its event loop has not run for %.0f s; it is killed, its stacks are on "
                    "standard error",
                    *(worker.name, worker.process_id, silent[worker.process_id]),
                    extra={"event": "hung"},
                )
                os.kill(worker.process_id, signal.SIGABRT)
                worker.kill_at = self._clock() + STACKS_SECONDS
                worker.is_leaving = True
        self._suspects = {worker.process_id: silent[worker.process_id] for worker in overdue}

    def _find_slow(self, timeout: float) -> None:
        """Log each worker once that takes long to start. It is not killed, because it may have much to load."""
        slow = [
            one
            for one in self._processes()
            if one.is_alive
            and one.started is None
            and one.role is Role.WORKER
            and self._clock() >= one.began_at + timeout
        ]
        for worker in slow:
            if worker.process_id not in self._slow:
                logger.warning(
                    "%s (process %d) has not started after %.0f s: some of its sources (services, "
                    "context managers around them) are not entered yet; `py-spy dump --pid %d` shows where it waits",
                    *(worker.name, worker.process_id, self._clock() - worker.began_at, worker.process_id),
                    extra={"event": "slow_start"},
                )
        self._slow = {worker.process_id for worker in slow}
