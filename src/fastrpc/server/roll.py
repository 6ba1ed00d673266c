"""A roll: workers that serve are replaced by new ones, and no call fails.

::

    SIGHUP ──► as many new workers start ──► all serve ──► they get the connections, the old ones drain
                        │
                        └─► one cannot start: the new ones end, the old ones stay

A worker that has served `--max-calls` is replaced in the same way, alone. After a SIGHUP all are replaced at once, as
nginx does it: the connections of the old ones spread evenly over the new ones. One by one, the first new worker would
get what the others leave.
"""

from fastrpc.server.worker_record import WorkerRecord

__all__ = ["Roll"]


class Roll:
    """Some workers, and the new ones for them until all of these serve."""

    def __init__(self, old: list[WorkerRecord]) -> None:
        self.old = old
        self.fresh = [WorkerRecord(worker.name, worker.work, worker.role) for worker in old]

    @property
    def is_over(self) -> bool:
        """Whether every new worker serves."""
        return all(worker.started is not None and worker.is_alive for worker in self.fresh)

    @property
    def failed(self) -> WorkerRecord | None:
        """A worker that could not start, or None."""
        return next((worker for worker in self.fresh if not worker.is_alive), None)
