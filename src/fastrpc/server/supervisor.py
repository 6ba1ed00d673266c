"""The supervisor of several processes that serve at one address: it starts, feeds, restarts and ends them.

It has no event loop and no thread, so it can fork at any time. It accepts connections and hands them to the workers
(see `acceptor`); the workers do everything else. A signal to the whole process group is harmless: workers obey only
the supervisor. With a registry there is one more process, see `announcer`; with admin pages another, see `monitor`.
"""

import contextlib
import logging
import os
import selectors
import signal
import socket
import time
import traceback
from collections.abc import Callable
from dataclasses import replace

from fastrpc.config import Backoff
from fastrpc.server.acceptor import Acceptor, ListeningSocket
from fastrpc.server.admin.opening import check_admin
from fastrpc.server.plan import ExitCode, Plan, Started, failure_to_values, values_to_failure
from fastrpc.server.process import STOP_SIGNALS, leave, reap_adopted, signals_handled
from fastrpc.server.roll import Roll
from fastrpc.server.scoreboard import Role, Scoreboard
from fastrpc.server.spread import Spread
from fastrpc.server.systemd import Systemd
from fastrpc.server.watch import Watch
from fastrpc.server.worker_channel import DRAIN, QUIT, SupervisorEnd, WorkerEnd
from fastrpc.server.worker_process import run_worker
from fastrpc.server.worker_record import WorkerRecord, ending, start_failure
from fastrpc.serving.life import log_listening, warn_of_collectors
from fastrpc.serving.method_limits import shared_limiters

__all__ = ["Supervisor"]

logger = logging.getLogger("fastrpc.server")

#: Seconds that quitting workers get before they are killed; more than they need by themselves.
QUIT_SECONDS = 1.0

#: Seconds beyond the limit of the drain before a late worker is killed.
LATE_SECONDS = 2.0

#: Seconds that the withdrawal from the registry may take; more than a registration waits for it.
WITHDRAW_SECONDS = 7.0

#: Seconds of life after which a worker's end counts as its first one again.
STABLE_SECONDS = 10.0


class Supervisor:
    """Keep `Plan.workers` processes serving until a stop request."""

    def __init__(self, plan: Plan, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._plan = replace(plan, shared_limits=shared_limiters(plan.limits))
        self._clock = clock
        self._workers = self._new_workers()
        #: The process that registers their services; it takes no connections.
        self._announcer = (
            None if plan.registry is None else WorkerRecord("announcer", self._run_announcer, Role.ANNOUNCER)
        )
        #: The process with the admin pages.
        self._admin_address = check_admin(plan.config, has_registry=plan.registry is not None)
        self._monitor = None if self._admin_address is None else WorkerRecord("monitor", self._run_monitor)
        self._processes = [one for one in (*self._workers, self._announcer, self._monitor) if one is not None]
        self._roll: Roll | None = None
        self._rolls_again = False
        self._backoff = Backoff()
        self._stops = 0
        self._is_serving = False
        self._services: Started
        self._acceptor: Acceptor
        self._admin_sockets: Acceptor | None = None
        self._board: Scoreboard
        self._selector: selectors.BaseSelector
        self._spread: Spread
        self._systemd: Systemd
        self._watch: Watch
        self._wakers: tuple[socket.socket, socket.socket]

    def _new_workers(self) -> list[WorkerRecord]:
        numbers = range(1, self._plan.workers + 1)
        return [WorkerRecord(f"worker {number}", self._run_worker, Role.WORKER) for number in numbers]

    def run(self) -> ExitCode:
        """Serve until stopped.

        Raises:
            OSError: an address is not available.
            ConfigError: a source or a setting is invalid.
            RuntimeError: a worker could not start for another reason; a note has its traceback.
        """
        self._acceptor = Acceptor(self._plan.addresses, self._plan.config)
        # During a roll there are twice as many workers, beside them the announcer.
        self._board = Scoreboard(2 * self._plan.workers + 1)
        self._wakers = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._systemd = Systemd()
        self._watch = Watch(lambda: self._workers, self._systemd, self._plan.worker_timeout, self._clock)
        self._spread = Spread(self._acceptor, self._selector, lambda: self._workers, self._clock)
        for waker in self._wakers:
            waker.setblocking(False)
        self._selector.register(self._wakers[0], selectors.EVENT_READ)
        try:
            with signals_handled(self._note_signal, *STOP_SIGNALS, signal.SIGCHLD, signal.SIGHUP):
                return self._run()
        finally:
            self._kill_all()
            self._acceptor.close()
            if self._admin_sockets is not None:
                self._admin_sockets.close()
            self._board.close()
            self._selector.close()
            for waker in self._wakers:
                waker.close()

    def _run(self) -> ExitCode:
        if len(self._workers) > 1:
            warn_of_collectors()
        if self._admin_address is not None:
            self._admin_sockets = Acceptor([self._admin_address], self._plan.config)
        self._start_all()
        if self._must_stop():
            self._quit()
            return ExitCode.INTERRUPTED
        self._acceptor.listen()
        self._spread.accept()
        self._announce()
        if self._monitor is not None and self._admin_sockets is not None and not self._must_stop():
            self._admin_sockets.listen()
            self._start(self._monitor)
            self._await_started([self._monitor])
        if self._must_stop():
            self._quit()
            return ExitCode.INTERRUPTED
        self._is_serving = True
        for address in self._acceptor.addresses:
            log_listening(address, len(self._workers))
        for process in self._processes:
            if not process.is_alive:
                self._plan_restart(process)
        self._report()
        self._systemd.tell_ready()
        while not self._must_stop():
            self._wait(self._next_due())
            self._restart_due()
            self._go_on_rolling()
            self._spread.balance()
            self._watch.look()
        self._systemd.tell("STOPPING=1")
        return self._drain()

    # Starting

    def _start_all(self) -> None:
        """Return once every worker serves, or a signal arrived; raise the error of a worker that cannot start."""
        for worker in self._workers:
            self._start(worker)
        self._await_started(self._workers)

    def _announce(self) -> None:
        """Return once the registry took the records or is known to be unreachable; raise its refusal."""
        if self._announcer is not None:
            self._services = Started(**(self._workers[0].started or {}))
            self._start(self._announcer)
            self._await_started([self._announcer])

    def _await_started(self, processes: list[WorkerRecord]) -> None:
        while not self._must_stop() and not all(process.started for process in processes):
            self._wait(None)
            for process in processes:
                if not process.is_alive and not process.started:
                    raise start_failure(process)

    def _start(self, worker: WorkerRecord) -> None:
        ours, theirs = socket.socketpair()
        worker.started = worker.failed = worker.restart_at = worker.kill_at = None
        worker.is_leaving = worker.wants_successor = False
        worker.handed = 0
        worker.began_at = self._clock()
        if worker.role is not None:
            worker.place = self._board.free_place()
            worker.place.prepare(worker.role)
        worker.process_id = os.fork()
        if worker.place is not None:
            # In both processes: each needs it at once.
            worker.place.give(worker.process_id or os.getpid())
        if worker.process_id == 0:
            self._become_worker(worker, ours, theirs)
        theirs.close()
        worker.channel = SupervisorEnd(ours)
        logger.info("%s is process %d", worker.name, worker.process_id, extra={"event": "worker"})
        self._selector.register(worker.channel, selectors.EVENT_READ, worker)

    def _become_worker(self, worker: WorkerRecord, ours: socket.socket, theirs: socket.socket) -> None:
        """Run the worker in the child, and end the process in every case."""
        code: int = ExitCode.NOT_STARTED
        try:
            signal.set_wakeup_fd(-1)
            # While a sibling held these open, no process would see the other end close.
            ours.close()
            for other in self._processes:
                if other.channel is not None:
                    other.channel.close()
            for waker in self._wakers:
                waker.close()
            self._selector.close()
            self._acceptor.abandon()
            if self._admin_sockets is not None and worker is not self._monitor:
                self._admin_sockets.abandon()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            # It is for the supervisor, even when a terminal sends it to all.
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            channel = WorkerEnd(theirs)
            try:
                code = worker.work(worker, channel)
            except BaseException as error:
                channel.report(failed=failure_to_values(error, traceback.format_exc()))
        finally:
            leave(code)

    def _run_worker(self, worker: WorkerRecord, channel: WorkerEnd) -> ExitCode:
        assert worker.place is not None
        return run_worker(self._plan, channel, self._acceptor.addresses, (worker.name, worker.place))

    def _run_announcer(self, worker: WorkerRecord, channel: WorkerEnd) -> ExitCode:
        # Imported on first use: most servers have no registry.
        from fastrpc.server.announcer import run_announcer

        assert worker.place is not None
        addresses = self._acceptor.addresses
        return run_announcer(self._plan, channel, addresses, self._services, worker.place)

    def _run_monitor(self, worker: WorkerRecord, channel: WorkerEnd) -> ExitCode:
        # Imported on first use: most servers have no admin pages.
        from fastrpc.server.monitor import run_monitor

        assert self._admin_sockets is not None
        sockets = [one.socket for one in self._admin_sockets.listening_sockets]
        return run_monitor(self._plan, channel, self._board, sockets)

    def _report(self) -> None:
        if self._plan.on_started is not None:
            first = Started(**(self._workers[0].started or {}))
            self._plan.on_started(
                replace(
                    first,
                    addresses=tuple(map(str, self._acceptor.addresses)),
                    process_ids=tuple(worker.process_id for worker in self._workers),
                )
            )

    # Waiting

    def _must_stop(self) -> bool:
        return self._stops > 0

    def _note_signal(self, number: int) -> None:
        if number == signal.SIGHUP:
            self._rolls_again = True
        elif number != signal.SIGCHLD:
            self._stops += 1
        with contextlib.suppress(OSError):  # Full: the reader wakes anyway.
            self._wakers[1].send(b"\0")

    def _wait(self, until: float | None) -> None:
        """Wait for events until `until`, and handle at most one round of them."""
        timeout = None if until is None else max(0.0, until - self._clock())
        for key, _ in self._selector.select(timeout):
            if isinstance(key.fileobj, ListeningSocket):
                self._spread.take(key.fileobj)
            elif isinstance(key.data, WorkerRecord):
                self._hear(key.data)
            else:
                with contextlib.suppress(BlockingIOError):
                    self._wakers[0].recv(4096)
        for process in list(self._processes):
            if process.is_alive:
                self._reap(process, os.WNOHANG)
        reap_adopted({process.process_id for process in self._processes})
        self._spread.resume()

    def _hear(self, worker: WorkerRecord) -> None:
        if worker.channel is None:
            return
        for report in worker.channel.reports():
            if "started" in report and self._is_serving and worker in self._workers:
                self._spread.worker_started()
            worker.started = report.get("started", worker.started)
            worker.failed = report.get("failed", worker.failed)
            worker.wants_successor = report.get("wants_successor", worker.wants_successor)
            # In a drain of all workers, each takes connections until its announcement is long enough.
            worker.is_leaving = report.get("leaving", worker.is_leaving) and not self._must_stop()

    def _reap(self, worker: WorkerRecord, options: int) -> None:
        process_id, status = os.waitpid(worker.process_id, options)
        if process_id == 0:
            return
        worker.code = os.waitstatus_to_exitcode(status)
        self._hear(worker)
        worker.process_id = 0
        if worker.place is not None:
            worker.place.take_back()
        if worker.channel is not None:
            self._selector.unregister(worker.channel)
            worker.channel.close()
            worker.channel = None
        if self._roll is not None and worker in self._roll.fresh:
            return
        if worker not in (*self._workers, self._announcer, self._monitor):
            self._processes.remove(worker)
        elif self._is_serving and not self._stops:
            self._plan_restart(worker)

    # Restarting

    def _plan_restart(self, worker: WorkerRecord) -> None:
        now = self._clock()
        worker.failures = 0 if now - worker.began_at >= STABLE_SECONDS else worker.failures + 1
        pause = self._backoff.first * self._backoff.factor ** max(0, worker.failures - 1)
        worker.restart_at = now + min(pause, self._backoff.longest)
        reason = ending(worker.code) if worker.failed is None else str(values_to_failure(worker.failed))
        level = logging.ERROR if worker.code else logging.INFO
        pause = worker.restart_at - now
        logger.log(level, "%s ended: %s; another starts in %.1f s", worker.name, reason, pause)

    def _restart_due(self) -> None:
        now = self._clock()
        for worker in list(self._processes):
            if worker.kill_at is not None and worker.kill_at <= now and worker.is_alive:
                self._kill(worker)
        for worker in self._processes:
            if worker.restart_at is not None and worker.restart_at <= now and not self._stops:
                self._start(worker)

    def _next_due(self) -> float | None:
        instants = [(worker.restart_at, worker.kill_at) for worker in self._processes]
        due = [instant for pair in instants for instant in pair if instant is not None]
        due += [
            instant
            for instant in (self._spread.resume_at, self._spread.move_at, self._watch.due)
            if instant is not None
        ]
        return min(due, default=None)

    # Rolling

    def _go_on_rolling(self) -> None:
        """Start a roll that was asked for, and end one whose workers serve."""
        if self._roll is None:
            # What the last roll replaced ends first: a third set has no place, and one that restarts will need its own.
            is_free = sum(one.role is not None for one in self._processes) <= len(self._workers) + 1
            old = [one for one in self._workers if one.wants_successor or self._rolls_again]
            if old and is_free and not self._stops:
                self._begin_roll(old)
        elif self._roll.failed is not None:
            self._give_up_roll(self._roll, self._roll.failed)
        elif self._roll.is_over:
            self._end_roll(self._roll)

    def _begin_roll(self, old: list[WorkerRecord]) -> None:
        self._rolls_again = False
        self._systemd.tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        names = ", ".join(worker.name for worker in old)
        logger.info("replaced by new ones: %s", names, extra={"event": "roll_began"})
        self._roll = Roll(old)
        for worker in self._roll.fresh:
            self._processes.append(worker)
            self._start(worker)

    def _give_up_roll(self, roll: Roll, failed: WorkerRecord) -> None:
        logger.error(
            "the new %s cannot start, the old workers stay: %s",
            failed.name,
            start_failure(failed),
            extra={"event": "roll_failed"},
        )
        self._roll = None
        self._systemd.tell_ready()
        for worker in roll.old:
            worker.wants_successor = False
        for worker in roll.fresh:
            if worker.is_alive:
                self._kill(worker)
            elif worker in self._processes:
                self._processes.remove(worker)

    def _end_roll(self, roll: Roll) -> None:
        """Let the new workers have every new connection, and the old ones drain."""
        self._roll = None
        successors = dict(zip(roll.old, roll.fresh, strict=True))
        self._workers = [successors.get(worker, worker) for worker in self._workers]
        for worker in roll.old:
            worker.restart_at = None
            worker.is_leaving = True
            if worker.channel is None:
                self._processes.remove(worker)
                continue
            worker.channel.tell(DRAIN)
            timeouts = self._plan.config.timeouts
            if timeouts.drain is not None:
                grace = timeouts.announce + timeouts.drain + (timeouts.linger or 0.0) + LATE_SECONDS
                worker.kill_at = self._clock() + grace
        self._systemd.tell_ready()
        logger.info("new workers serve, the old ones drain", extra={"event": "rolled"})

    # Ending

    def _drain(self) -> ExitCode:
        """Drain the workers. They take connections while they announce the drain."""
        timeouts = self._plan.config.timeouts
        began_at = self._clock()
        logger.info("the drain began: workers: %d", len(self._workers), extra={"event": "drain_began"})
        if self._monitor is not None and self._monitor.channel is not None:
            self._monitor.channel.tell(DRAIN)  # /readyz shows it from here on.
        self._withdraw()
        for worker in self._workers:
            worker.code = 0  # The exit code of the previous process does not matter any more.
        self._tell(DRAIN)
        announced_at = self._clock() + timeouts.announce
        while self._stops < 2 and self._any_alive() and self._clock() < announced_at:
            self._wait(announced_at)
        self._spread.stop()
        self._acceptor.close()
        if timeouts.drain is None:
            ended = self._await_end(None, urgent=False)
        else:
            grace = timeouts.drain + (timeouts.linger or 0.0) + LATE_SECONDS
            ended = self._await_end(self._clock() + grace, urgent=False)
        if self._stops > 1:
            self._quit()
            return ExitCode.INTERRUPTED
        self._end_monitor()
        seconds = self._clock() - began_at
        logger.info("the drain ended after %.1f s", seconds, extra={"event": "drain_ended"})
        is_clean = ended and not any(worker.code for worker in self._workers)
        return ExitCode.DONE if is_clean else ExitCode.DRAIN_TIMED_OUT

    def _withdraw(self) -> None:
        """Withdraw from the registry; the workers serve until that is done."""
        announcer = self._announcer
        if announcer is None or announcer.channel is None:
            return
        announcer.channel.tell(DRAIN)
        until = self._clock() + WITHDRAW_SECONDS
        while self._stops < 2 and announcer.is_alive and self._clock() < until:
            self._wait(until)
        if announcer.is_alive:
            self._kill(announcer)

    def _quit(self) -> None:
        """End the workers at once."""
        self._tell(QUIT)
        for worker in self._processes:
            if worker.is_alive and worker.started is None:
                # It is still starting, and does not read commands yet.
                os.kill(worker.process_id, signal.SIGTERM)
        self._await_end(self._clock() + QUIT_SECONDS, urgent=True)

    def _tell(self, command: int) -> None:
        for worker in self._processes:
            if worker.channel is not None:
                worker.channel.tell(command)

    def _await_end(self, until: float | None, *, urgent: bool) -> bool:
        """Return whether every worker ended in time, and before a second signal unless that has arrived already."""
        while self._any_alive():
            if until is not None and self._clock() >= until:
                return False
            if self._stops > 1 and not urgent:
                return False
            self._wait(until)
        return True

    def _any_alive(self) -> bool:
        """Return whether any process but the monitor lives, which shows how they end."""
        return any(worker.is_alive for worker in self._processes if worker is not self._monitor)

    def _end_monitor(self) -> None:
        monitor = self._monitor
        if monitor is not None and monitor.channel is not None:
            monitor.channel.tell(QUIT)
            until = self._clock() + QUIT_SECONDS
            while monitor.is_alive and self._clock() < until:
                self._wait(until)

    def _kill_all(self) -> None:
        """Kill the remaining workers: those that ignored the order to end."""
        self._stops = max(1, self._stops)
        for worker in list(self._processes):
            if worker.is_alive:
                self._kill(worker)

    def _kill(self, worker: WorkerRecord) -> None:
        worker.kill_at = None
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker.process_id, signal.SIGKILL)
        self._reap(worker, 0)
