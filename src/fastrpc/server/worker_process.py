"""A worker: one of several processes that serve at one address, with connections from the supervisor."""

import asyncio
import logging
import signal
import socket
from dataclasses import asdict, replace
from typing import Any

from fastrpc.endpoint import Address
from fastrpc.server.admin.state import ServerState
from fastrpc.server.plan import ExitCode, Plan, Started
from fastrpc.server.process import ServingProcess, signals_handled
from fastrpc.server.reporter import Reporter
from fastrpc.server.scoreboard import Place
from fastrpc.server.server import Server
from fastrpc.server.worker_channel import DRAIN, QUIT, WorkerEnd

__all__ = ["Worker", "run_worker"]

logger = logging.getLogger("fastrpc.server")


def run_worker(
    plan: Plan, channel: WorkerEnd, addresses: list[Address], place: tuple[str, Place]
) -> ExitCode:
    """Serve until the supervisor orders the end, or is gone.

    Args:
        place: the worker's name, and its place on the scoreboard.
    """
    worker = Worker(plan, channel, addresses, place)
    # A terminal sends SIGINT to the whole group, a service manager SIGTERM. A worker must not count either twice.
    with signals_handled(worker.note_signal, signal.SIGINT, signal.SIGTERM):
        return worker.run()


class Worker:
    """Connect a channel with a serving process."""

    def __init__(
        self, plan: Plan, channel: WorkerEnd, addresses: list[Address], place: tuple[str, Place]
    ) -> None:
        self._has_pages = plan.config.admin_address is not None
        self._state: ServerState | None = None
        name, where = place
        self._reporter = Reporter(
            where, name.removeprefix("worker "), self._is_ready, self._answer if self._has_pages else None
        )
        self._config = plan.config
        # The monitor has the pages of all workers.
        config = replace(plan.config, admin_address=None, admin_token=None, ready_needs_registry=False)
        self._channel = channel
        self._addresses = addresses
        self._server: Server | None = None
        self._taken = 0
        self._taking: set[asyncio.Task[None]] = set()
        self._process = ServingProcess(
            # The supervisor's announcer registers the services.
            replace(plan, config=config, on_started=self._report, registry=None, registers=False),
            self._open_listener,
            lambda: channel.report(leaving=True),
        )

    def run(self) -> ExitCode:
        try:
            return self._process.run()
        finally:
            self._reporter.close()

    def note_signal(self, number: int) -> None:
        """Drain on a SIGTERM sent to this process alone; leave other signals to the supervisor."""
        if number == signal.SIGTERM:
            self._process.drain()

    async def _open_listener(self, server: Server) -> list[str]:
        self._server = server
        self._state = ServerState(self._config, server, takes_connections=True)
        assert server._gate is not None
        self._reporter.count_connections(self._connections)
        server._gate.dispatcher.on_lost = self._reporter.connections_changed
        self._reporter.start()
        # The supervisor logs it once for all workers.
        server.log_drain(logging.DEBUG)
        asyncio.get_running_loop().add_reader(self._channel.fileno(), self._receive)
        return [str(address) for address in self._addresses]

    def _is_ready(self) -> bool:
        return self._state is not None and self._state.is_ready

    def _answer(self, page: str) -> dict[str, Any]:
        assert self._state is not None
        return self._state.table(page)

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
            elif command == QUIT:
                self._process.quit()
            elif command == DRAIN:
                self._process.drain()
                asyncio.get_running_loop().call_soon(self._reporter.beat)
                if not self._channel.is_open:
                    asyncio.get_running_loop().remove_reader(self._channel.fileno())
                    return

    def _took(self, task: "asyncio.Task[None]") -> None:
        self._taking.discard(task)
        self._reporter.connections_changed()

    def _connections(self) -> tuple[int, int]:
        """Return the connections taken so far, and those open now."""
        gate = None if self._server is None else self._server._gate
        return self._taken, len(self._taking) + (0 if gate is None else len(gate.sessions))

    async def _take(self, connection: socket.socket, address: Address) -> None:
        assert self._server is not None
        try:
            await self._server.take(connection, address)
        except OSError as error:
            logger.debug("a connection at %s was gone before it was served: %s", address, error)
