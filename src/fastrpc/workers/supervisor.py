"""The supervisor of several processes that serve at one address: it starts, restarts and ends them.

It has no event loop and no thread, so it can fork at any time. It accepts connections, closes those refused by
`Addresses` or `ConnectionRate`, and passes the others to the workers (see `acceptor`, `spread`). Workers do everything
else. A signal to the whole process group does no harm, because workers obey only the supervisor. With a registry there
is one more process (`announcer`), and another with admin pages (`monitor`). `crew` starts and ends processes,
`restarts` starts them again, `roll` replaces workers by new ones. `listeners` has all sockets; another program may take
them over.
"""

import contextlib
import logging
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from fastrpc.handlers.life import MinuteLog, log_listening, refused_at_edges, warn_of_collectors
from fastrpc.handlers.method_limits import limits_connections, shared_limiters
from fastrpc.workers.crew import LATE_SECONDS, Crew
from fastrpc.workers.listeners import Listeners
from fastrpc.workers.monitoring.scoreboard import Role
from fastrpc.workers.plan import ExitCode, Plan, Started
from fastrpc.workers.process import STOP_SIGNALS, signals_handled
from fastrpc.workers.restarts import Restarts
from fastrpc.workers.roll import Rolling
from fastrpc.workers.scopes import scopes_of, with_scopes
from fastrpc.workers.spread import Spread
from fastrpc.workers.systemd import Systemd
from fastrpc.workers.takeover.control import Successor
from fastrpc.workers.watchdog import Watchdog
from fastrpc.workers.worker_channel import DRAIN, QUIT, WorkerEnd
from fastrpc.workers.worker_process import run_worker
from fastrpc.workers.worker_record import WorkerRecord, start_failure

__all__ = ["Supervisor"]

logger = logging.getLogger("fastrpc.server")

#: Seconds after which quitting workers are killed. Normally they need less.
QUIT_SECONDS = 1.0

#: Seconds for the end of a worker that is still starting, and for the shutdown of applications if another process could
#: not start.
SHUTDOWN_SECONDS = 5.0

#: Seconds that the withdrawal from the registry may take. They exceed the time that a registration waits for its
#: withdrawal.
WITHDRAW_SECONDS = 7.0


class Supervisor:
    """Keep `Plan.workers` processes serving until a stop request."""

    def __init__(self, plan: Plan, *, clock: Callable[[], float] = time.monotonic) -> None:
        plan = with_scopes(plan)
        self._plan = replace(plan, shared_limits=shared_limiters(plan.limits))
        self._clock = clock
        #: The process that registers the workers' services. It gets no connections.
        self._announcer = (
            None if plan.registry is None else WorkerRecord("announcer", self._run_announcer, Role.ANNOUNCER)
        )
        #: The process with the admin pages.
        self._monitor = (
            None if plan.config.admin_address is None else WorkerRecord("monitor", self._run_monitor)
        )
        self._stops = 0
        self._is_serving = False
        self._services: Started
        self._listeners: Listeners
        self._crew: Crew
        self._spread: Spread
        self._refused: MinuteLog
        self._systemd: Systemd
        self._watchdog: Watchdog
        self._rolling: Rolling
        self._restarts: Restarts
        self._wakers: tuple[socket.socket, socket.socket]

    def run(self) -> ExitCode:
        """Serve until stopped.

        Raises:
            OSError: an address is not available.
            ConfigError: a source or a setting is invalid.
            RuntimeError: a worker could not start for another reason. A note has the worker's traceback.
        """
        with contextlib.ExitStack() as ends:
            self._listeners = Listeners(self._plan, self._clock, lambda: self._systemd.environment)
            ends.callback(self._listeners.close)
            self._listeners.bind()
            self._make_parts(ends)
            with signals_handled(self._note_signal, *STOP_SIGNALS, signal.SIGCHLD, signal.SIGHUP):
                return self._run()

    def _make_parts(self, ends: contextlib.ExitStack) -> None:
        crew = self._crew = self._new_crew()
        ends.callback(crew.close)
        self._systemd = Systemd({**self._listeners.taken_environment, **os.environ})
        self._watchdog = Watchdog(
            lambda: crew.workers,
            lambda: crew.processes,
            self._systemd,
            self._plan.worker_timeout,
            self._clock,
        )
        check_files = self._listeners.services.check_certificates
        self._rolling = Rolling(crew, self._systemd, self._plan.config.timeouts, check_files)
        self._restarts = Restarts(crew)
        self._refused = refused_at_edges(self._clock)
        ends.callback(self._refused.close)
        self._spread = Spread(
            self._listeners.services, crew.selector, lambda: crew.workers, self._clock, self._edge()
        )
        self._wakers = socket.socketpair()
        for waker in self._wakers:
            waker.setblocking(False)
            ends.callback(waker.close)
        crew.selector.register(self._wakers[0], selectors.EVENT_READ, self._clear_waker)
        ends.callback(self._kill_all)

    def _edge(self) -> Callable[[Any], bool] | None:
        """Return the function that decides by a peer's address whether to serve its connection; None: serve all."""
        if not limits_connections(self._plan.limits):
            return None
        # Imported on first use: most servers take every address.
        from fastrpc.server.edges import edges_of

        plan, count = self._plan, self._crew.board.count_refused
        edges = edges_of(plan.limits, plan.shared_limits, plan.config, self._refused.note, count)
        return edges.admits_connection

    def _kill_all(self) -> None:
        # Counts as a stop request, so that workers that end now are not restarted.
        self._stops = max(1, self._stops)
        self._crew.kill_all()

    def _new_crew(self) -> Crew:
        numbers = range(1, self._plan.workers + 1)
        workers = [WorkerRecord(f"worker {number}", self._run_worker, Role.WORKER) for number in numbers]
        others = [one for one in (self._announcer, self._monitor) if one is not None]
        return Crew(
            workers, others, self._clock, on_report=self._hear, on_end=self._ended, let_go=self._let_go
        )

    def _run(self) -> ExitCode:
        if self._plan.workers > 1:
            warn_of_collectors()
        try:
            is_started = self._start()
            if is_started and not self._must_stop():
                self._take_place()
        except BaseException:
            self._end_others()
            raise
        if not is_started:
            self._quit()
            return ExitCode.INTERRUPTED
        if not self._must_stop():
            self._serve()
        if self._successor is None:
            self._systemd.tell("STOPPING=1")
        else:
            self._give_way(self._successor)
        return self._drain()

    def _start(self) -> bool:
        """Start all processes. Return False if a signal arrived before this program accepted connections."""
        self._start_all()
        if self._must_stop():
            return False
        self._listeners.services.listen()
        if not self._listeners.are_taken:
            self._spread.accept()
        if not self._must_stop():
            self._start_monitor()
        # The announcement is last, after all steps that may fail, because it replaces the records of the previous
        # program.
        if not self._must_stop():
            self._announce()
        # Clients may have called this program already. If it replaces another program, they still call that program.
        return not self._must_stop() or not self._listeners.are_taken

    def _serve(self) -> None:
        """Serve until a signal arrives or another program takes over."""
        self._is_serving = True
        for address in self._listeners.services.addresses:
            log_listening(address, len(self._crew.workers))
        for process in self._crew.processes:
            if not process.is_alive:
                self._plan_restart(process)
        self._report()
        self._systemd.tell_ready()
        while not self._must_stop():
            self._wait(self._next_due())
            self._restart_due()
            self._rolling.go_on()
            self._spread.balance()

    # Starting

    def _start_all(self) -> None:
        """Return when every worker serves or a signal arrived. Raise the error of a worker that cannot start."""
        for worker in self._crew.workers:
            self._crew.start(worker)
        self._await_started(self._crew.workers)

    def _start_monitor(self) -> None:
        """Return when the admin pages are served, if there are any."""
        if self._monitor is not None and self._listeners.admin is not None:
            self._listeners.admin.listen()
            self._crew.start(self._monitor)
            self._await_started([self._monitor])

    def _announce(self) -> None:
        """Return when the registry has stored the records or is known to be unreachable. Raise its refusal."""
        if self._announcer is not None:
            self._services = Started(**(self._crew.workers[0].started or {}))
            self._crew.start(self._announcer)
            self._await_started([self._announcer])

    def _await_started(self, processes: list[WorkerRecord]) -> None:
        while not self._must_stop() and not all(process.started for process in processes):
            self._wait(None)
            for process in processes:
                if not process.is_alive and not process.started:
                    raise start_failure(process)

    def _let_go(self, worker: WorkerRecord) -> None:
        """Close, in a new process, the resources that only the supervisor needs."""
        for waker in self._wakers:
            waker.close()
        self._listeners.abandon(keeps_admin=worker is self._monitor)

    def _run_worker(self, worker: WorkerRecord, channel: WorkerEnd) -> ExitCode:
        assert worker.place is not None
        return run_worker(
            self._plan, channel, self._listeners.services.addresses, (worker.name, worker.place)
        )

    def _run_announcer(self, worker: WorkerRecord, channel: WorkerEnd) -> ExitCode:
        # Imported on first use: most servers have no registry.
        from fastrpc.workers.announcer import run_announcer

        assert worker.place is not None
        addresses = self._listeners.services.addresses
        return run_announcer(self._plan_with_pages(), channel, addresses, self._services, worker.place)

    def _run_monitor(self, worker: WorkerRecord, channel: WorkerEnd) -> ExitCode:
        # Imported on first use: most servers have no admin pages.
        from fastrpc.workers.monitoring.monitor import run_monitor

        admin = self._listeners.admin
        assert admin is not None
        sockets = [one.socket for one in admin.listening_sockets]
        return run_monitor(self._plan_with_pages(), channel, self._crew.board, sockets)

    def _plan_with_pages(self) -> Plan:
        """Return the plan with the real address of the admin pages: a passed socket (`fd://`) is in use already."""
        admin = self._listeners.admin
        if admin is None or not admin.addresses:
            return self._plan
        address = str(admin.addresses[0])
        return replace(self._plan, config=replace(self._plan.config, admin_address=address))

    def _report(self) -> None:
        if self._plan.on_started is not None:
            first = Started(**(self._crew.workers[0].started or {}))
            addresses = self._listeners.services.addresses
            self._plan.on_started(
                replace(
                    first,
                    addresses=tuple(map(str, addresses)),
                    scopes=scopes_of(self._plan, addresses),
                    process_ids=tuple(worker.process_id for worker in self._crew.workers),
                )
            )

    # Replacing another program, and being replaced

    @property
    def _successor(self) -> Successor | None:
        """The program that has replaced this program; None before a takeover."""
        control = self._listeners.control
        return None if control is None else control.successor

    def _take_place(self) -> None:
        """Make the old program drain. From now on this program removes the files of the sockets."""
        if self._listeners.are_taken:
            self._listeners.conclude_takeover()
            # Not before: a failed start would lose the calls of accepted connections.
            self._spread.accept()
            self._listeners.own()
        if self._listeners.control is not None:
            self._listeners.control.open(self._crew.selector)

    def _give_way(self, successor: Successor) -> None:
        """Leave new connections, the sockets' files and the service manager to the program's successor."""
        self._spread.stop()
        self._listeners.services.leave(successor.addresses)
        # At addresses that the other program does not serve, this program accepts until it has announced the drain.
        self._spread.accept()
        admin = self._listeners.admin
        if admin is not None and admin.leave(successor.addresses):
            self._end_monitor()
        self._systemd.leave(successor.process)
        if self._listeners.control is not None:
            self._listeners.control.give_way()

    # Waiting

    def _must_stop(self) -> bool:
        return self._stops > 0 or self._successor is not None

    def _note_signal(self, number: int) -> None:
        if number == signal.SIGHUP:
            self._rolling.ask()
        elif number != signal.SIGCHLD:
            self._stops += 1
        with contextlib.suppress(OSError):  # Full: the reader wakes anyway.
            self._wakers[1].send(b"\0")

    def _clear_waker(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wakers[0].recv(4096)

    def _wait(self, until: float | None) -> None:
        """Wait for a round of events, at most until `until`, handle it, and do all that is due."""
        control = self._listeners.control
        instants = [until, self._crew.kill_due, self._spread.resume_at, self._refused.due]
        instants += [
            self._watchdog.due if self._is_serving else None,
            None if control is None else control.resume_at,
        ]
        self._crew.wait(min((one for one in instants if one is not None), default=None))
        self._spread.resume()
        self._refused.tell_due()
        if control is not None:
            control.resume()
        self._crew.kill_late()
        if self._is_serving:
            self._watchdog.look()

    def _plan_restart(self, worker: WorkerRecord) -> None:
        self._restarts.plan(worker)

    def _look(self) -> None:
        """Hook: check for changes that require a restart."""

    def _next_look(self) -> float | None:
        """Hook: return the instant of the next check; None: no check."""

    def _restart_due(self) -> None:
        self._look()
        if not self._stops:
            self._restarts.start_due()

    def _next_due(self) -> float | None:
        instants = (self._restarts.due, self._spread.move_at, self._next_look())
        return min((one for one in instants if one is not None), default=None)

    def _hear(self, worker: WorkerRecord, report: dict[str, Any]) -> None:
        if report.get("interrupted"):
            # Several workers may report an interrupt, even during a drain. They count as one stop request, because only
            # a signal may end a drain early.
            self._stops = max(1, self._stops)
        if "started" in report and self._is_serving and worker in self._crew.workers:
            self._spread.worker_started()
        if "started" in report:
            worker.started, worker.kill_at = report["started"], None
        worker.failed = report.get("failed", worker.failed)
        worker.wants_successor = report.get("wants_successor", worker.wants_successor)
        worker.has_retired = report.get("retired", worker.has_retired)
        # When all workers drain, each still gets connections until it has announced the drain for long enough.
        worker.is_leaving = report.get("leaving", worker.is_leaving) and not self._must_stop()

    def _ended(self, worker: WorkerRecord) -> None:
        if self._rolling.starts(worker):
            return
        if worker not in (*self._crew.workers, self._announcer, self._monitor):
            self._crew.processes.remove(worker)
        elif self._is_serving and not self._must_stop():
            self._plan_restart(worker)

    # Ending

    def _drain(self) -> ExitCode:
        """Drain the workers. They still get connections while they announce the drain."""
        timeouts = self._plan.config.timeouts
        began_at = self._clock()
        if self._listeners.control is not None:
            self._listeners.control.close()
        logger.info("the drain began: workers: %d", len(self._crew.workers), extra={"event": "drain_began"})
        if self._monitor is not None and self._monitor.channel is not None:
            self._monitor.channel.tell(DRAIN)  # /readyz shows it from here on.
        self._withdraw()
        for worker in self._crew.workers:
            worker.code = 0  # The exit code of the previous process no longer matters.
        if not timeouts.announce:
            self._stop_accepting()
        self._crew.end(DRAIN, SHUTDOWN_SECONDS)
        # If another program accepts connections, the drain need not be announced to clients before.
        told_at = self._clock()
        announced_at = told_at + (timeouts.announce if self._listeners.services.listening_sockets else 0.0)
        while self._stops < 2 and self._crew.any_alive(self._monitor) and self._clock() < announced_at:
            self._wait(announced_at)
        self._stop_accepting()
        if timeouts.drain is None:
            ended = self._await_end(None, urgent=False)
        else:
            # The workers announce the drain to their connections in any case.
            grace = timeouts.announce + timeouts.drain + (timeouts.linger or 0.0) + LATE_SECONDS
            ended = self._await_end(told_at + grace, urgent=False)
        if self._stops > 1:
            self._quit()
            return ExitCode.INTERRUPTED
        self._end_monitor()
        seconds = self._clock() - began_at
        logger.info("the drain ended after %.1f s", seconds, extra={"event": "drain_ended"})
        # A worker that was still starting has cancelled no call.
        codes = {one.code or ExitCode.DONE for one in self._crew.workers if one.started is not None}
        if not ended or codes - {ExitCode.DONE, ExitCode.INTERRUPTED}:
            return ExitCode.DRAIN_TIMED_OUT
        return ExitCode.INTERRUPTED if ExitCode.INTERRUPTED in codes else ExitCode.DONE

    def _stop_accepting(self) -> None:
        """Pass the connections that wait to the workers, and close the listening sockets."""
        self._spread.take_last()
        self._spread.stop()
        self._listeners.services.close()

    def _withdraw(self) -> None:
        """Withdraw from the registry. The workers serve until this is done."""
        announcer = self._announcer
        if announcer is None or announcer.channel is None:
            return
        announcer.channel.tell(DRAIN)
        until = self._clock() + WITHDRAW_SECONDS
        while self._stops < 2 and announcer.is_alive and not announcer.has_retired and self._clock() < until:
            self._wait(until)
        if announcer.is_alive and not announcer.has_retired:
            self._crew.kill(announcer)

    def _quit(self) -> None:
        """End the workers immediately."""
        self._crew.end(QUIT, SHUTDOWN_SECONDS)
        self._await_end(self._clock() + QUIT_SECONDS, urgent=True)

    def _end_others(self) -> None:
        """End the workers of a program that cannot start, so that applications started in them shut down."""
        self._spread.stop()
        self._crew.end(DRAIN, SHUTDOWN_SECONDS)
        until = self._clock() + SHUTDOWN_SECONDS
        while not self._must_stop() and self._crew.any_alive(self._monitor) and self._clock() < until:
            self._wait(until)
        self._quit()

    def _await_end(self, until: float | None, *, urgent: bool) -> bool:
        """Return whether every worker ended in time and, unless `urgent`, before another signal."""
        while self._crew.any_alive(self._monitor):
            if until is not None and self._clock() >= until:
                return False
            if self._stops > 1 and not urgent:
                return False
            self._wait(until)
        return True

    def _end_monitor(self) -> None:
        monitor = self._monitor
        if monitor is not None and monitor.channel is not None:
            monitor.channel.tell(QUIT)
            until = self._clock() + QUIT_SECONDS
            while monitor.is_alive and self._clock() < until:
                self._wait(until)
            if monitor.is_alive:
                # Otherwise the monitor would answer at sockets that now belong to another program.
                self._crew.kill(monitor)
