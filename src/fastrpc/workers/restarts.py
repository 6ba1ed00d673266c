"""The times at which ended processes of a supervisor start again."""

import logging

from fastrpc.config import Backoff
from fastrpc.workers.crew import Crew
from fastrpc.workers.plan import values_to_failure
from fastrpc.workers.worker_record import WorkerRecord, ending

__all__ = ["Restarts"]

logger = logging.getLogger("fastrpc.server")

#: If a worker has run for this number of seconds, its end counts as the first failure again.
STABLE_SECONDS = 10.0


class Restarts:
    """Restarts processes of a crew, after a pause that grows with each failure."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._backoff = Backoff()

    def plan(self, worker: WorkerRecord) -> None:
        """Plan the next start of a process that has ended."""
        reason = ending(worker.code) if worker.failed is None else str(values_to_failure(worker.failed))
        pause = self._put_off(worker)
        level = logging.ERROR if worker.code else logging.INFO
        logger.log(level, "%s ended: %s; another starts in %.1f s", worker.name, reason, pause)

    def _put_off(self, worker: WorkerRecord) -> float:
        """Set the instant of the next start; return the pause until then."""
        now = self._crew.clock()
        worker.failures = 0 if now - worker.began_at >= STABLE_SECONDS else worker.failures + 1
        pause = self._backoff.first * self._backoff.factor ** min(max(0, worker.failures - 1), 64)
        pause = min(pause, self._backoff.longest)
        worker.restart_at = now + pause
        return pause

    @property
    def due(self) -> float | None:
        """The instant of the next start; None if none is planned."""
        return min(
            (one.restart_at for one in self._crew.processes if one.restart_at is not None), default=None
        )

    def start_due(self) -> None:
        """Start the processes whose pause is over."""
        now = self._crew.clock()
        for worker in self._crew.processes:
            if worker.restart_at is not None and worker.restart_at <= now:
                try:
                    self._crew.start(worker)
                except OSError as error:
                    # The other processes continue to serve, and the start of this process may succeed later.
                    pause = self._put_off(worker)
                    text = "%s cannot start: %s; another attempt follows in %.1f s"
                    logger.error(text, worker.name, error, pause, extra={"event": "not_started"})
