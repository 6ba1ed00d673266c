"""A worker: one of several processes that serve at one address, and get their connections from the supervisor."""

import asyncio
import contextlib
import faulthandler
import logging
import os
import random
import signal
import socket
import time
from dataclasses import asdict, replace
from typing import Any, Final

from fastrpc._core.base.histogram import default_registry
from fastrpc._core.server.gate import Gate
from fastrpc.endpoint import Address
from fastrpc.server.admin.acts import Parts
from fastrpc.server.admin.state import ServerState
from fastrpc.server.connections import move_connection
from fastrpc.server.server import Server
from fastrpc.workers.monitoring.kept_settings import KeptSettings
from fastrpc.workers.monitoring.reporter import Reporter
from fastrpc.workers.monitoring.scoreboard import ProcessPlace
from fastrpc.workers.plan import ExitCode, Plan, Started
from fastrpc.workers.process import ServingProcess, signals_handled
from fastrpc.workers.worker_channel import DRAIN, MOVE, QUIT, WorkerEnd

__all__ = ["Worker", "run_worker"]

logger = logging.getLogger("fastrpc.server")


#: Settings of a worker that differ from the plan, because the monitor serves the admin pages.
_WITHOUT_PAGES: Final[dict[str, Any]] = {
    "admin_address": None,
    "admin_token": None,
    "admin_operators": None,
    "admin_advertise": None,
    "ready_needs_registry": False,
}

#: The spread of the workers' limits of calls: up to this share above and below the setting.
MAX_CALLS_SPREAD = 0.1

#: Seconds between two requests for a successor.
AGE_SECONDS = 60.0

#: Seconds between two log records about lost connections.
RECORD_SECONDS = 60.0


def run_worker(
    plan: Plan, channel: WorkerEnd, addresses: list[Address], place: tuple[str, ProcessPlace]
) -> ExitCode:
    """Serve until the supervisor orders the end or has ended.

    Args:
        place: the worker's name, and its place on the scoreboard.
    """
    worker = Worker(plan, channel, addresses, place)
    if not faulthandler.is_enabled():
        # The supervisor kills a hung worker by SIGABRT, which writes the stacks that show where the worker hangs.
        with contextlib.suppress(OSError, ValueError, AttributeError, RuntimeError):  # No standard error.
            faulthandler.enable(all_threads=True)
    # A terminal sends SIGINT to the whole process group, and a service manager sends SIGTERM to it. The supervisor
    # handles these signals, so the workers do not.
    with signals_handled(worker.note_signal, signal.SIGINT, signal.SIGTERM):
        return worker.run()


class Worker:
    """Connects a serving process with the supervisor's channel."""

    #: The gate of the server; None before the server has started.
    _gate: Gate | None = None

    def __init__(
        self, plan: Plan, channel: WorkerEnd, addresses: list[Address], place: tuple[str, ProcessPlace]
    ) -> None:
        self._has_pages = plan.config.admin_address is not None
        self._state: ServerState | None = None
        self._place = place[1]
        self._kept: KeptSettings | None = None
        name, where = place
        self._reporter = Reporter(
            where,
            name.removeprefix("worker "),
            self._is_ready,
            self._answer if self._has_pages else None,
            self._beat,
        )
        self._config = plan.config
        config = replace(plan.config, **_WITHOUT_PAGES)
        self._channel = channel
        self._addresses = addresses
        self._wanted = plan.wanted
        self._server: Server | None = None
        # Spread, so that workers that serve equal numbers of calls are replaced one after another.
        spread = random.uniform(1 - MAX_CALLS_SPREAD, 1 + MAX_CALLS_SPREAD)
        self._most_calls = None if plan.max_calls is None else plan.max_calls * spread
        self._calls_before = _served_calls()
        self._told_age_at = float("-inf")
        self._taken = 0
        # The number of connections that were closed because the system had no descriptor for them.
        self._lost = 0
        self._told_loss_at = float("-inf")
        self._moved: set[Any] = set()
        self._taking: set[asyncio.Task[None]] = set()
        self._process = ServingProcess(
            # The supervisor's announcer registers the services.
            replace(plan, config=config, on_started=self._report, registry=None, registers=False),
            self._open_listener,
            lambda: channel.report(leaving=True),
            # A KeyboardInterrupt of user code has the effect of Ctrl-C, so the supervisor drains all workers.
            lambda: channel.report(interrupted=True),
        )

    def run(self) -> ExitCode:
        try:
            return self._process.run()
        finally:
            self._reporter.close()

    def note_signal(self, number: int) -> None:
        """Drain on a SIGTERM sent only to this process. The supervisor handles other signals."""
        if number == signal.SIGTERM:
            self._process.drain()

    async def _open_listener(self, server: Server) -> list[str]:
        opened = server.opened_parts()
        self._server, self._gate = server, opened.gate
        # Done before the first connection, because a worker that cannot serve must not replace another worker.
        wanted = dict(zip(self._addresses, self._wanted, strict=True))
        certificates = {address: one.tls for address, one in wanted.items()}
        opened.accepting.prepare(certificates, are_judged=True)
        for address, one in wanted.items():
            opened.accepting.advertise(address, one.advertise)
        self._state = server.admin_state(self._config, takes_connections=True, keeps_recent=self._has_pages)
        self._kept = KeptSettings(self._place, Parts(self._state.acted))
        # Apply the settings of acts before the first call.
        self._kept.catch_up()
        self._reporter.count_connections(self._connections)
        for address in self._addresses:
            opened.gate.dispatcher.listens(address)
        opened.gate.dispatcher.on_lost = self._reporter.connections_changed
        self._reporter.start()
        # The supervisor logs the drain once for all workers.
        server.log_drain(logging.DEBUG)
        asyncio.get_running_loop().add_reader(self._channel.fileno(), self._receive)
        return [str(address) for address in self._addresses]

    def _is_ready(self) -> bool:
        return self._state is not None and self._state.is_ready

    async def _answer(self, question: str) -> dict[str, Any]:
        assert self._state is not None
        assert self._kept is not None
        page, _, of_act = question.partition(" ")
        if not of_act:
            return self._state.table(page)
        answer = await self._kept.answer(of_act)
        # Write the new state immediately for readiness probes.
        self._reporter.beat()
        return answer

    def _report(self, started: Started) -> None:
        self._channel.report(started=asdict(started))

    def _receive(self) -> None:
        """Carry out the supervisor's command."""
        while (received := self._channel.receive()) is not None:
            command, connection = received
            if connection is not None and command < len(self._addresses):
                self._taken += 1
                task = asyncio.ensure_future(self._take(connection, self._addresses[command]))
                self._taking.add(task)
                task.add_done_callback(self._took)
            elif command < len(self._addresses):
                self._note_loss()
            elif command == MOVE:
                self._move()
            elif command == QUIT:
                self._process.quit()
            elif command == DRAIN:
                self._process.drain()
                asyncio.get_running_loop().call_soon(self._reporter.beat)
                if not self._channel.is_open:
                    asyncio.get_running_loop().remove_reader(self._channel.fileno())
                    return

    def _note_loss(self) -> None:
        """Count a connection that the system closed because it had no descriptor for it."""
        self._lost += 1
        if time.monotonic() >= self._told_loss_at + RECORD_SECONDS:
            self._told_loss_at = time.monotonic()
            text = "connections to this worker are lost: it has too many open files (ulimit -n)"
            logger.error(text, extra={"event": "connections_lost"})

    def _beat(self) -> None:
        self._look_at_age()
        if self._kept is not None:
            self._kept.catch_up()
        if self._lost:
            try:
                os.close(os.dup(self._channel.fileno()))
            except OSError:
                # No descriptor is free yet. Until then the lost connections count as open, so that other workers get
                # the next ones.
                return
            self._taken, self._lost = self._taken + self._lost, 0
            self._reporter.connections_changed()

    def _took(self, task: "asyncio.Task[None]") -> None:
        self._taking.discard(task)
        self._reporter.connections_changed()

    def _connections(self) -> tuple[int, int]:
        """Return the numbers of connections received so far and open now."""
        # Connections that move to another worker do not count, because they will close soon.
        engines = set() if self._gate is None else self._gate.engines
        self._moved &= engines
        return self._taken, len(self._taking) + len(engines) - len(self._moved)

    def _look_at_age(self) -> None:
        """Request a successor after `_most_calls` calls, and again if the successor could not start."""
        if self._most_calls is None or time.monotonic() < self._told_age_at + AGE_SECONDS:
            return
        served = _served_calls() - self._calls_before
        if served >= self._most_calls:
            self._told_age_at = time.monotonic()
            logger.info("this worker is replaced: calls served: %d", served, extra={"event": "aged"})
            self._channel.report(wants_successor=True)

    def _move(self) -> None:
        if self._gate is not None:
            move_connection(self._gate, self._moved)
            self._reporter.connections_changed()

    async def _take(self, connection: socket.socket, address: Address) -> None:
        assert self._server is not None
        try:
            await self._server.take(connection, address)
        except OSError as error:
            logger.debug("a connection at %s was gone before it was served: %s", address, error)


def _served_calls() -> int:
    """Return the number of calls served by this process, including calls counted by its parent before the fork."""
    return sum(one.ended_calls for one in default_registry if one.side == "server")
