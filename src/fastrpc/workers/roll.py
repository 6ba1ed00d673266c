"""A roll: the replacement of running workers by new ones, without failed calls.

::

    SIGHUP ──► as many new workers start ──► all serve ──► they get the connections, the old ones drain
                        │
                        └─► one cannot start: the new ones end, the old ones stay

A worker that has served `--max-calls` is replaced alone, in the same way. After a SIGHUP all workers are replaced
together, as in nginx, so the connections of the old workers spread evenly over the new ones. If workers were replaced
one by one, the first new worker would get most connections.
"""

import logging
from collections.abc import Callable

from fastrpc.config import Timeouts
from fastrpc.errors import ConfigError
from fastrpc.workers.crew import LATE_SECONDS, Crew
from fastrpc.workers.plan import failure_to_values
from fastrpc.workers.systemd import Systemd
from fastrpc.workers.worker_channel import DRAIN
from fastrpc.workers.worker_record import WorkerRecord, start_failure

__all__ = ["Rolling"]

logger = logging.getLogger("fastrpc.server")


class _Roll:
    """The workers to replace, and their replacements, until all replacements serve."""

    def __init__(self, old: list[WorkerRecord], *, is_reload: bool) -> None:
        self.old = old
        self.fresh = [WorkerRecord(worker.name, worker.work, worker.role) for worker in old]
        #: Whether a signal requested the roll. Otherwise the workers have served `--max-calls`.
        self.is_reload = is_reload

    @property
    def is_over(self) -> bool:
        """Whether every new worker serves."""
        return all(worker.started is not None and worker.is_alive for worker in self.fresh)

    @property
    def failed(self) -> WorkerRecord | None:
        """A worker that could not start, or None."""
        return next((worker for worker in self.fresh if not worker.is_alive), None)


class Rolling:
    """Replaces workers of a crew, in one roll after the other."""

    def __init__(
        self, crew: Crew, systemd: Systemd, timeouts: Timeouts, check_files: Callable[[], None]
    ) -> None:
        self._crew = crew
        self._check_files = check_files
        self._systemd = systemd
        self._timeouts = timeouts
        self._roll: _Roll | None = None
        # `_asked`: the number of requests so far. `_taken_up`: the number when the last roll began. A flag is not
        # enough: a signal may set it between any two instructions, so that a roll would replace only half of the
        # workers, or a request would be lost.
        self._asked = 0
        self._taken_up = 0

    def ask(self) -> None:
        """Request the replacement of all workers. A signal handler may call this."""
        self._asked += 1

    def starts(self, worker: WorkerRecord) -> bool:
        """Return whether this is a new worker of the current roll, which is given up if the worker ends."""
        return self._roll is not None and worker in self._roll.fresh

    def go_on(self) -> None:
        """Start a requested roll, and end a roll whose new workers serve."""
        if self._roll is None:
            workers, processes = self._crew.workers, self._crew.processes
            # A roll waits until the workers replaced by the last roll have ended, because the scoreboard has places for
            # two sets of workers and one more process.
            is_free = sum(one.role is not None for one in processes) <= len(workers) + 1
            asked = self._asked
            is_reload = asked != self._taken_up
            old = [one for one in workers if one.wants_successor or is_reload]
            if old and is_free:
                self._taken_up = asked
                self._begin(_Roll(old, is_reload=is_reload))
        elif self._roll.failed is not None:
            self._give_up(self._roll, self._roll.failed)
        elif self._roll.is_over:
            self._end(self._roll)

    def _begin(self, roll: _Roll) -> None:
        self._roll = roll
        if roll.is_reload:
            self._systemd.tell_reloading()
        names = ", ".join(worker.name for worker in roll.old)
        logger.info("replaced by new ones: %s", names, extra={"event": "roll_began"})
        self._crew.processes += roll.fresh
        for worker in roll.fresh:
            try:
                self._check_files()
                self._crew.start(worker)
            except (ConfigError, OSError) as error:
                # For example, the system allows no more processes. The roll is given up, as after any failure.
                worker.failed = failure_to_values(error)
                return

    def _give_up(self, roll: _Roll, failed: WorkerRecord) -> None:
        logger.error(
            "the new %s cannot start, the old workers stay: %s",
            failed.name,
            start_failure(failed),
            extra={"event": "roll_failed"},
        )
        self._conclude(roll)
        for worker in roll.old:
            worker.wants_successor = False
        for worker in roll.fresh:
            # A worker that still runs is removed from the list when it is reaped.
            if worker.is_alive:
                self._crew.kill(worker)
            else:
                self._crew.processes.remove(worker)

    def _end(self, roll: _Roll) -> None:
        """Pass all new connections to the new workers, and let the old workers drain."""
        successors = dict(zip(roll.old, roll.fresh, strict=True))
        self._crew.workers = [successors.get(worker, worker) for worker in self._crew.workers]
        for worker in roll.old:
            worker.restart_at = None
            worker.is_leaving = True
            if worker.channel is None:
                self._crew.processes.remove(worker)
                continue
            worker.channel.tell(DRAIN)
            timeouts = self._timeouts
            if timeouts.drain is not None:
                grace = timeouts.announce + timeouts.drain + (timeouts.linger or 0.0) + LATE_SECONDS
                worker.kill_at = self._crew.clock() + grace
        self._conclude(roll)
        logger.info("new workers serve, the old ones drain", extra={"event": "rolled"})

    def _conclude(self, roll: _Roll) -> None:
        self._roll = None
        if roll.is_reload:
            self._systemd.tell_ready()
