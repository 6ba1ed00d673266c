"""A worker: one of several processes that serve at one address, with connections from the supervisor."""

import asyncio
import logging
import signal
import socket
from dataclasses import asdict, replace

from fastrpc.endpoint import Address
from fastrpc.server.plan import ExitCode, Plan, Started
from fastrpc.server.process import ServingProcess, signals_handled
from fastrpc.server.server import Server
from fastrpc.server.worker_channel import DRAIN, QUIT, WorkerEnd

__all__ = ["Worker", "run_worker"]

logger = logging.getLogger("fastrpc.server")


def run_worker(plan: Plan, channel: WorkerEnd, addresses: list[Address]) -> ExitCode:
    """Serve until the supervisor orders the end, or is gone."""
    worker = Worker(plan, channel, addresses)
    # A terminal sends SIGINT to the whole group, a service manager SIGTERM. A worker must not count either twice.
    with signals_handled(worker.note_signal, signal.SIGINT, signal.SIGTERM):
        return worker.run()


class Worker:
    """Connect a channel with a serving process."""

    def __init__(self, plan: Plan, channel: WorkerEnd, addresses: list[Address]) -> None:
        self._channel = channel
        self._addresses = addresses
        self._server: Server | None = None
        self._taking: set[asyncio.Task[None]] = set()
        self._process = ServingProcess(
            # The supervisor's announcer registers the services.
            replace(plan, on_started=self._report, registry=None, registers=False),
            self._open_listener,
            lambda: channel.report(leaving=True),
        )

    def run(self) -> ExitCode:
        return self._process.run()

    def note_signal(self, number: int) -> None:
        """Drain on a SIGTERM sent to this process alone; leave other signals to the supervisor."""
        if number == signal.SIGTERM:
            self._process.drain()

    async def _open_listener(self, server: Server) -> list[str]:
        self._server = server
        # The supervisor logs it once for all workers.
        server.log_drain(logging.DEBUG)
        asyncio.get_running_loop().add_reader(self._channel.fileno(), self._receive)
        return [str(address) for address in self._addresses]

    def _report(self, started: Started) -> None:
        self._channel.report(started=asdict(started))

    def _receive(self) -> None:
        """Carry out the supervisor's command."""
        while (received := self._channel.receive()) is not None:
            command, connection = received
            if connection is not None and command < len(self._addresses):
                task = asyncio.ensure_future(self._take(connection, self._addresses[command]))
                self._taking.add(task)
                task.add_done_callback(self._taking.discard)
            elif command == QUIT:
                self._process.quit()
            elif command == DRAIN:
                self._process.drain()
                if not self._channel.is_open:
                    asyncio.get_running_loop().remove_reader(self._channel.fileno())
                    return

    async def _take(self, connection: socket.socket, address: Address) -> None:
        assert self._server is not None
        try:
            await self._server.take(connection, address)
        except OSError as error:
            logger.debug("a connection at %s was gone before it was served: %s", address, error)
