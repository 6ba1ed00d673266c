"""A single worker, restarted whenever a source file changes: for development."""

import logging
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from fastrpc.endpoint import names_scopes
from fastrpc.errors import ConfigError
from fastrpc.workers.crew import LATE_SECONDS
from fastrpc.workers.plan import Plan, Started, values_to_failure
from fastrpc.workers.supervisor import Supervisor
from fastrpc.workers.worker_channel import DRAIN
from fastrpc.workers.worker_record import WorkerRecord

__all__ = ["Reloader", "SourceFiles"]

logger = logging.getLogger("fastrpc.server")

#: Seconds between two scans of the files.
LOOK_SECONDS = 0.25


class SourceFiles:
    """The Python files below a folder, without virtual environments and hidden folders."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen = dict(self._look())

    def changed(self) -> Path | None:
        """Return a file that was added, removed or changed since the last scan, or None."""
        now = dict(self._look())
        before, self._seen = self._seen, now
        for path in now.keys() | before.keys():
            if now.get(path) != before.get(path):
                return Path(path).relative_to(self._folder)
        return None

    def _look(self) -> Iterator[tuple[str, tuple[int, int]]]:
        for place, folders, files in os.walk(self._folder):
            if "pyvenv.cfg" in files:
                folders.clear()
                continue
            folders[:] = [name for name in folders if not name.startswith((".", "__pycache__"))]
            for name in files:
                if name.endswith(".py"):
                    path = os.path.join(place, name)
                    try:
                        status = os.stat(path)
                    except OSError:
                        continue
                    yield path, (status.st_mtime_ns, status.st_size)


class Reloader(Supervisor):
    """Serves with one worker process, which alone imports the app. After a failed import it waits for the next change.

    Args:
        on_failure: called with the error when the app cannot be served.

    Raises:
        ConfigError: an address is `any://`, whose clients need registry records; this server registers none.
    """

    def __init__(self, plan: Plan, files: SourceFiles, on_failure: Callable[[Exception], None]) -> None:
        if any(map(names_scopes, plan.addresses)):
            raise ConfigError(
                "a server for development registers nothing, so no client finds it at any://",
                hint="give another address, such as unix:///path, or use `fastrpc run`",
            )
        # Without a timeout, because a developer may halt the worker in a debugger.
        super().__init__(replace(plan, workers=1, worker_timeout=None))
        self._files = files
        self._on_failure = on_failure
        self._is_reported = False
        self._kill_at: float | None = None

    @property
    def _worker(self) -> WorkerRecord:
        return self._crew.workers[0]

    def _start_all(self) -> None:
        self._crew.start(self._worker)

    def _report(self) -> None:
        """Do nothing: `_hear` reports each start of the worker."""

    def _hear(self, worker: WorkerRecord, report: dict[str, Any]) -> None:
        super()._hear(worker, report)
        if worker is not self._worker or worker.started is None:
            return
        if not self._is_reported and self._plan.on_started is not None:
            self._is_reported = True
            addresses = tuple(map(str, self._listeners.services.addresses))
            self._plan.on_started(replace(Started(**worker.started), addresses=addresses))

    def _plan_restart(self, worker: WorkerRecord) -> None:
        was_asked, self._kill_at = self._kill_at is not None, None
        self._is_reported = False
        if worker.failed is not None:
            self._on_failure(values_to_failure(worker.failed))
        elif was_asked:
            worker.restart_at = self._clock()
        else:
            super()._plan_restart(worker)

    def _next_look(self) -> float:
        return self._clock() + LOOK_SECONDS

    def _look(self) -> None:
        changed = self._files.changed()
        if changed is not None:
            logger.info("%s changed, loading again", changed)
            self._reload()
        if self._kill_at is not None and self._clock() >= self._kill_at and self._worker.is_alive:
            os.kill(self._worker.process_id, signal.SIGKILL)

    def _reload(self) -> None:
        if not self._worker.is_alive:
            self._worker.restart_at = self._clock()
        elif self._kill_at is None:
            self._worker.is_leaving = True
            self._crew.tell(DRAIN)
            self._kill_at = self._clock() + (self._plan.config.timeouts.drain or 0.0) + LATE_SECONDS
