"""The processes under a supervisor: their start by fork, their reports, their end."""

import contextlib
import logging
import os
import selectors
import signal
import socket
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from fastrpc.first_use import import_parts
from fastrpc.workers.monitoring.scoreboard import Role, Scoreboard
from fastrpc.workers.plan import ExitCode, failure_to_values
from fastrpc.workers.process import flush_output, leave, reap_adopted
from fastrpc.workers.worker_channel import SupervisorEnd, WorkerEnd
from fastrpc.workers.worker_record import WorkerRecord

__all__ = ["LATE_SECONDS", "Crew"]

logger = logging.getLogger("fastrpc.server")

#: Seconds after the drain's limit at which a worker that has not ended is killed.
LATE_SECONDS = 2.0


class Crew:
    """All processes of one server, and the events that its supervisor waits for.

    Each file in the selector is registered with a function without arguments, which is called when the file is
    readable.

    Args:
        others: the processes other than the workers.
        on_report: called with a process and its report.
        on_end: called with a process that has ended.
        let_go: called in a new process; closes the resources that only the supervisor needs.
    """

    def __init__(
        self,
        workers: list[WorkerRecord],
        others: Sequence[WorkerRecord],
        clock: Callable[[], float],
        *,
        on_report: Callable[[WorkerRecord, dict[str, Any]], None],
        on_end: Callable[[WorkerRecord], None],
        let_go: Callable[[WorkerRecord], None],
    ) -> None:
        #: The workers that serve or will serve. A roll replaces them.
        self.workers = workers
        #: All processes, including workers that a roll is starting, and replaced workers that drain.
        self.processes = [*workers, *others]
        self.clock = clock
        self.selector: selectors.BaseSelector = selectors.DefaultSelector()
        # A place for each process: during a roll there are twice as many workers, and an announcer.
        self.board = Scoreboard(2 * len(workers) + 1)
        self._on_report = on_report
        self._on_end = on_end
        self._let_go = let_go

    def close(self) -> None:
        """Release the resources shared by all processes, after these have ended."""
        self.board.close()
        self.selector.close()

    # Start

    def start(self, worker: WorkerRecord) -> None:
        """Start a process.

        Raises:
            OSError: the system cannot make another process, or its channel.
        """
        worker.started = worker.failed = worker.restart_at = worker.kill_at = None
        worker.is_leaving = worker.wants_successor = worker.has_retired = False
        worker.handed = 0
        worker.began_at = self.clock()
        ours, theirs = socket.socketpair()
        try:
            if worker.role is not None:
                worker.place = self.board.free_place()
                worker.place.prepare(worker.role)
            import_parts()
            flush_output()
            worker.process_id = os.fork()
        except BaseException:
            ours.close()
            theirs.close()
            raise
        if worker.place is not None:
            # Parent and child both record the process id, because each needs it immediately.
            worker.place.give(worker.process_id or os.getpid())
        if worker.process_id == 0:
            self._become(worker, ours, theirs)
        theirs.close()
        worker.channel = SupervisorEnd(ours)
        logger.info("%s is process %d", worker.name, worker.process_id, extra={"event": "worker"})
        self.selector.register(worker.channel, selectors.EVENT_READ, partial(self._hear, worker))

    def _become(self, worker: WorkerRecord, ours: socket.socket, theirs: socket.socket) -> None:
        """Run the worker in the child, and end the child's process in every case."""
        code: int = ExitCode.NOT_STARTED
        try:
            signal.set_wakeup_fd(-1)
            # If a child kept copies of these sockets, no process would notice that the other end is closed.
            ours.close()
            for other in self.processes:
                if other.channel is not None:
                    other.channel.close()
            self.selector.close()
            self._let_go(worker)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            # Only the supervisor handles SIGHUP, even when a terminal sends it to all processes.
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            channel = WorkerEnd(theirs)
            try:
                code = worker.work(worker, channel)
            except BaseException as error:
                channel.report(failed=failure_to_values(error))
        finally:
            leave(code)

    # Life

    def wait(self, until: float | None) -> None:
        """Wait for events until an instant, or without limit, and handle at most one round of events."""
        timeout = None if until is None else max(0.0, until - self.clock())
        for key, _ in self.selector.select(timeout):
            key.data()
        for process in list(self.processes):
            if process.is_alive:
                self._reap(process, os.WNOHANG)
        reap_adopted({process.process_id for process in self.processes})

    def tell(self, command: int) -> None:
        """Send a command to all these processes."""
        for worker in self.processes:
            if worker.channel is not None:
                worker.channel.tell(command)

    def end(self, command: int, seconds: float) -> None:
        """Send a command to end. Starting processes read no commands: they get SIGTERM, and workers are killed later.

        Args:
            seconds: the time after which a worker that is still starting is killed.
        """
        self.tell(command)
        for worker in self.processes:
            if worker.is_alive and worker.started is None:
                os.kill(worker.process_id, signal.SIGTERM)
                if worker.role is Role.WORKER:
                    worker.kill_at = self.clock() + seconds

    def any_alive(self, besides: WorkerRecord | None = None) -> bool:
        """Return whether any process other than the given one runs."""
        return any(worker.is_alive for worker in self.processes if worker is not besides)

    def _hear(self, worker: WorkerRecord) -> None:
        if worker.channel is not None:
            for report in worker.channel.reports():
                self._on_report(worker, report)

    # End

    @property
    def kill_due(self) -> float | None:
        """The instant of the next kill; None if none is planned."""
        return min((one.kill_at for one in self.processes if one.kill_at is not None), default=None)

    def kill_late(self) -> None:
        """Kill the processes that had to end before now."""
        now = self.clock()
        for worker in list(self.processes):
            if worker.kill_at is not None and worker.kill_at <= now:
                self.kill(worker)

    def kill(self, worker: WorkerRecord) -> None:
        """Kill a process if it still runs."""
        worker.kill_at = None
        if worker.is_alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.process_id, signal.SIGKILL)
            self._reap(worker, 0)

    def kill_all(self) -> None:
        """Kill the remaining processes, which did not obey the order to end."""
        for worker in list(self.processes):
            self.kill(worker)

    def _reap(self, worker: WorkerRecord, options: int) -> None:
        process_id, status = os.waitpid(worker.process_id, options)
        if process_id == 0:
            return
        worker.code = os.waitstatus_to_exitcode(status)
        self._hear(worker)
        worker.process_id = 0
        worker.kill_at = None
        if worker.place is not None:
            worker.place.take_back()
        if worker.channel is not None:
            self.selector.unregister(worker.channel)
            worker.channel.close()
            worker.channel = None
        self._on_end(worker)
