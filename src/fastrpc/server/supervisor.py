"""The supervisor of several processes that serve at one address: it starts, feeds, restarts and ends them.

It has no event loop and no thread, so it can fork at any time. It accepts connections and hands them to the workers
(see `acceptor`, `spread`); the workers do everything else. A signal to the whole process group is harmless: workers
obey only the supervisor. With a registry there is one more process, see `announcer`; with admin pages another, see
`monitor`. How processes begin and end is in `crew`, how new workers replace others in `roll`.
"""

import contextlib
import logging
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from fastrpc.config import Backoff
from fastrpc.endpoint import Address
from fastrpc.server.acceptor import Acceptor
from fastrpc.server.admin.opening import check_admin
from fastrpc.server.control import Control, Successor
from fastrpc.server.crew import LATE_SECONDS, Crew
from fastrpc.server.plan import ExitCode, Plan, Started, values_to_failure
from fastrpc.server.process import STOP_SIGNALS, signals_handled
from fastrpc.server.roll import Rolling
from fastrpc.server.scoreboard import Role
from fastrpc.server.spread import Spread
from fastrpc.server.systemd import Systemd
from fastrpc.server.takeover import Takeover
from fastrpc.server.watch import Watch
from fastrpc.server.worker_channel import DRAIN, QUIT, WorkerEnd
from fastrpc.server.worker_process import run_worker
from fastrpc.server.worker_record import WorkerRecord, ending, start_failure
from fastrpc.serving.life import log_listening, warn_of_collectors
from fastrpc.serving.method_limits import shared_limiters

__all__ = ["Supervisor"]

logger = logging.getLogger("fastrpc.server")

#: Seconds that quitting workers get before they are killed; more than they need by themselves.
QUIT_SECONDS = 1.0

#: Seconds that the withdrawal from the registry may take; more than a registration waits for it.
WITHDRAW_SECONDS = 7.0

#: Seconds of life after which a worker's end counts as its first one again.
STABLE_SECONDS = 10.0


class Supervisor:
    """Keep `Plan.workers` processes serving until a stop request."""

    def __init__(self, plan: Plan, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._plan = replace(plan, shared_limits=shared_limiters(plan.limits))
        self._clock = clock
        #: The process that registers their services; it takes no connections.
        self._announcer = (
            None if plan.registry is None else WorkerRecord("announcer", self._run_announcer, Role.ANNOUNCER)
        )
        #: The process with the admin pages.
        self._monitor = (
            None if plan.config.admin_address is None else WorkerRecord("monitor", self._run_monitor)
        )
        self._backoff = Backoff()
        self._stops = 0
        self._is_serving = False
        self._services: Started
        self._acceptor: Acceptor
        self._admin_sockets: Acceptor | None = None
        #: The program whose place this one takes, and the socket at which another may take this one's.
        self._takeover: Takeover | None = None
        self._control: Control | None = None
        self._crew: Crew
        self._spread: Spread
        self._systemd: Systemd
        self._watch: Watch
        self._rolling: Rolling
        self._wakers: tuple[socket.socket, socket.socket]

    def run(self) -> ExitCode:
        """Serve until stopped.

        Raises:
            OSError: an address is not available.
            ConfigError: a source or a setting is invalid.
            RuntimeError: a worker could not start for another reason; a note has its traceback.
        """
        with contextlib.ExitStack() as ends:
            self._bind(ends)
            self._make_parts(ends)
            with signals_handled(self._note_signal, *STOP_SIGNALS, signal.SIGCHLD, signal.SIGHUP):
                return self._run()

    def _bind(self, ends: contextlib.ExitStack) -> None:
        """Bind all addresses, or take their sockets from the program whose place this one takes."""
        plan, config, taken = self._plan, self._plan.config, None
        if plan.takeover and plan.control is not None:
            taken = self._takeover = Takeover(plan.control)
            ends.callback(taken.close)
        self._check_admin(taken)
        self._acceptor = Acceptor(plan.addresses, config, taken)
        ends.callback(self._acceptor.close)
        if config.admin_address is not None:
            self._admin_sockets = Acceptor([Address.parse(config.admin_address)], config, taken)
            ends.callback(self._admin_sockets.close)
        if plan.control is not None:
            bound = None if taken is None else taken.control
            self._control = Control(plan.control, bound, self._offer, self._clock)
            ends.callback(self._control.close)
        if taken is not None:
            taken.let_go()

    def _check_admin(self, taken: Takeover | None) -> None:
        config = self._plan.config
        if taken is not None and config.admin_address is not None:
            real = taken.address_of(Address.parse(config.admin_address))
            if real is not None and Address.parse(config.admin_address).scheme == "fd":
                # This program has no such socket from its own parent.
                config = replace(config, admin_address=str(real))
        check_admin(config, has_registry=self._plan.registry is not None)

    def _make_parts(self, ends: contextlib.ExitStack) -> None:
        crew = self._crew = self._new_crew()
        ends.callback(crew.close)
        told: Mapping[str, str] = {} if self._takeover is None else self._takeover.environment
        self._systemd = Systemd({**told, **os.environ})
        self._watch = Watch(
            lambda: crew.workers,
            lambda: crew.processes,
            self._systemd,
            self._plan.worker_timeout,
            self._clock,
        )
        self._rolling = Rolling(crew, self._systemd, self._plan.config.timeouts)
        self._spread = Spread(self._acceptor, crew.selector, lambda: crew.workers, self._clock)
        self._wakers = socket.socketpair()
        for waker in self._wakers:
            waker.setblocking(False)
            ends.callback(waker.close)
        crew.selector.register(self._wakers[0], selectors.EVENT_READ, self._clear_waker)
        ends.callback(self._kill_all)

    def _kill_all(self) -> None:
        # Those that end now are not started again.
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
        self._start_all()
        if self._must_stop():
            self._quit()
            return ExitCode.INTERRUPTED
        self._acceptor.listen()
        if self._takeover is None:
            self._spread.accept()
        if self._monitor is not None and self._admin_sockets is not None and not self._must_stop():
            self._admin_sockets.listen()
            self._crew.start(self._monitor)
            self._await_started([self._monitor])
        # Behind everything else that may fail: it replaces the records of a program that is taken over.
        if not self._must_stop():
            self._announce()
        if self._must_stop():
            self._quit()
            return ExitCode.INTERRUPTED
        self._take_place()
        self._is_serving = True
        for address in self._acceptor.addresses:
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
        if self._successor is None:
            self._systemd.tell("STOPPING=1")
        else:
            self._give_way(self._successor)
        return self._drain()

    # Starting

    def _start_all(self) -> None:
        """Return once every worker serves, or a signal arrived; raise the error of a worker that cannot start."""
        for worker in self._crew.workers:
            self._crew.start(worker)
        self._await_started(self._crew.workers)

    def _announce(self) -> None:
        """Return once the registry took the records or is known to be unreachable; raise its refusal."""
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
        """Close, in a new process, what belongs to the supervisor alone."""
        for waker in self._wakers:
            waker.close()
        self._acceptor.abandon()
        if self._admin_sockets is not None and worker is not self._monitor:
            self._admin_sockets.abandon()
        if self._takeover is not None:
            self._takeover.close()
        if self._control is not None:
            self._control.abandon()

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
        # The real one: a socket that was passed on is taken already.
        address = str(self._admin_sockets.addresses[0])
        plan = replace(self._plan, config=replace(self._plan.config, admin_address=address))
        return run_monitor(plan, channel, self._crew.board, sockets)

    def _report(self) -> None:
        if self._plan.on_started is not None:
            first = Started(**(self._crew.workers[0].started or {}))
            self._plan.on_started(
                replace(
                    first,
                    addresses=tuple(map(str, self._acceptor.addresses)),
                    process_ids=tuple(worker.process_id for worker in self._crew.workers),
                )
            )

    # One program after the other

    @property
    def _successor(self) -> Successor | None:
        """The program that serves in this one's place; None while there is none."""
        return None if self._control is None else self._control.successor

    def _offer(self) -> tuple[dict[str, Any], list[socket.socket]]:
        """Return what a program needs that takes this one's place."""
        shares = self._acceptor.shares()
        if self._admin_sockets is not None:
            shares += self._admin_sockets.shares()
        sockets = [one for _, bound in shares for one in bound]
        told = {"listeners": [told for told, _ in shares], "environment": self._systemd.environment}
        return told, sockets

    def _take_place(self) -> None:
        """Have the old program drain, and own what belongs to its sockets."""
        if self._takeover is not None:
            self._takeover.conclude()
            # Not before: if this program failed until then, the calls of its connections would be lost.
            self._spread.accept()
            self._acceptor.own()
            if self._admin_sockets is not None:
                self._admin_sockets.own()
        if self._control is not None:
            self._control.open(self._crew.selector)

    def _give_way(self, successor: Successor) -> None:
        """Leave new connections, files of sockets and the service manager to the program that serves now."""
        self._spread.stop()
        self._acceptor.leave(successor.addresses)
        # At the rest this program still accepts connections until it has announced the drain.
        self._spread.accept()
        if self._admin_sockets is not None and self._admin_sockets.leave(successor.addresses):
            self._end_monitor()
        self._systemd.leave(successor.process)
        if self._control is not None:
            self._control.give_way()

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
        """Handle a round of events, waiting until `until` at most, and what the clock demands."""
        looks_at = self._watch.due if self._is_serving else None
        paused_until = None if self._control is None else self._control.resume_at
        instants = (until, looks_at, self._crew.kill_due, self._spread.resume_at, paused_until)
        self._crew.wait(min((one for one in instants if one is not None), default=None))
        self._spread.resume()
        if self._control is not None:
            self._control.resume()
        self._crew.kill_late()
        if self._is_serving:
            self._watch.look()

    def _hear(self, worker: WorkerRecord, report: dict[str, Any]) -> None:
        if "started" in report and self._is_serving and worker in self._crew.workers:
            self._spread.worker_started()
        worker.started = report.get("started", worker.started)
        worker.failed = report.get("failed", worker.failed)
        worker.wants_successor = report.get("wants_successor", worker.wants_successor)
        # In a drain of all workers, each takes connections until its announcement is long enough.
        worker.is_leaving = report.get("leaving", worker.is_leaving) and not self._must_stop()

    def _ended(self, worker: WorkerRecord) -> None:
        if self._rolling.starts(worker):
            return
        if worker not in (*self._crew.workers, self._announcer, self._monitor):
            self._crew.processes.remove(worker)
        elif self._is_serving and not self._must_stop():
            self._plan_restart(worker)

    # Restarting

    def _plan_restart(self, worker: WorkerRecord) -> None:
        reason = ending(worker.code) if worker.failed is None else str(values_to_failure(worker.failed))
        pause = self._put_off(worker)
        level = logging.ERROR if worker.code else logging.INFO
        logger.log(level, "%s ended: %s; another starts in %.1f s", worker.name, reason, pause)

    def _put_off(self, worker: WorkerRecord) -> float:
        """Set the instant of the next start; return the pause until then, longer after each failure."""
        now = self._clock()
        worker.failures = 0 if now - worker.began_at >= STABLE_SECONDS else worker.failures + 1
        pause = self._backoff.first * self._backoff.factor ** min(max(0, worker.failures - 1), 64)
        pause = min(pause, self._backoff.longest)
        worker.restart_at = now + pause
        return pause

    def _restart_due(self) -> None:
        now = self._clock()
        for worker in self._crew.processes:
            if worker.restart_at is not None and worker.restart_at <= now and not self._stops:
                try:
                    self._crew.start(worker)
                except OSError as error:
                    # The others serve on: the system may have room for it later.
                    pause = self._put_off(worker)
                    text = "%s cannot start: %s; another attempt follows in %.1f s"
                    logger.error(text, worker.name, error, pause, extra={"event": "not_started"})

    def _next_due(self) -> float | None:
        instants = [worker.restart_at for worker in self._crew.processes]
        return min((one for one in (*instants, self._spread.move_at) if one is not None), default=None)

    # Ending

    def _drain(self) -> ExitCode:
        """Drain the workers. They take connections while they announce the drain."""
        timeouts = self._plan.config.timeouts
        began_at = self._clock()
        if self._control is not None:
            self._control.close()
        logger.info("the drain began: workers: %d", len(self._crew.workers), extra={"event": "drain_began"})
        if self._monitor is not None and self._monitor.channel is not None:
            self._monitor.channel.tell(DRAIN)  # /readyz shows it from here on.
        self._withdraw()
        for worker in self._crew.workers:
            worker.code = 0  # The exit code of the previous process does not matter any more.
        self._crew.tell(DRAIN)
        # Where another program accepts connections, nobody has to learn that this one drains.
        told_at = self._clock()
        announced_at = told_at + (timeouts.announce if self._acceptor.listening_sockets else 0.0)
        while self._stops < 2 and self._crew.any_alive(self._monitor) and self._clock() < announced_at:
            self._wait(announced_at)
        self._spread.stop()
        self._acceptor.close()
        if timeouts.drain is None:
            ended = self._await_end(None, urgent=False)
        else:
            # The workers announce the drain to their connections in either case.
            grace = timeouts.announce + timeouts.drain + (timeouts.linger or 0.0) + LATE_SECONDS
            ended = self._await_end(told_at + grace, urgent=False)
        if self._stops > 1:
            self._quit()
            return ExitCode.INTERRUPTED
        self._end_monitor()
        seconds = self._clock() - began_at
        logger.info("the drain ended after %.1f s", seconds, extra={"event": "drain_ended"})
        is_clean = ended and not any(worker.code for worker in self._crew.workers)
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
            self._crew.kill(announcer)

    def _quit(self) -> None:
        """End the workers at once."""
        self._crew.tell(QUIT)
        for worker in self._crew.processes:
            if worker.is_alive and worker.started is None:
                # It is still starting, and does not read commands yet.
                os.kill(worker.process_id, signal.SIGTERM)
        self._await_end(self._clock() + QUIT_SECONDS, urgent=True)

    def _await_end(self, until: float | None, *, urgent: bool) -> bool:
        """Return whether every worker ended in time, and before a second signal unless that has arrived already."""
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
                # It would answer at sockets that another program has now.
                self._crew.kill(monitor)
