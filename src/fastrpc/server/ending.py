"""Drain a server, and close all its parts."""

import asyncio

from fastrpc._core.server.gate import Gate
from fastrpc._core.server.handler_runner import ServerTask
from fastrpc.config import ServerConfig
from fastrpc.handlers.services import ServiceTable, is_inside_handler
from fastrpc.server.accepting import Accepting
from fastrpc.server.access import ServerAccess
from fastrpc.server.admin.opening import Admin
from fastrpc.server.connections import abort_connections, close_connections, drain_connections, outlast
from fastrpc.server.listening import Listening
from fastrpc.server.offer import Offer

__all__ = ["Ending"]


class Ending:
    """Drains a server and closes its parts, in an order in which no call is lost.

    Methods take the gate of the calls, or None if the server has not started.
    """

    def __init__(
        self,
        config: ServerConfig,
        served: ServiceTable,
        offer: Offer,
        accepting: Accepting,
        listening: Listening,
        access: ServerAccess,
        admin: Admin,
    ) -> None:
        self._config = config
        self._served = served
        self._offer = offer
        self._accepting = accepting
        self._listening = listening
        self._access = access
        self._admin = admin
        self._life = served.life
        self._leaving: asyncio.Task[None] | None = None
        #: Set once the server is closed.
        self.quiet = asyncio.Event()

    async def drain(self, gate: Gate, timeout: float | None) -> bool:
        """Withdraw the records, stop accepting, and let running calls finish; return whether all calls finished."""
        self._offer.health.drain()
        self._life.draining(gate.running)
        await self._offer.background.stop_taking()
        if self._offer.advertising is not None:
            await self._offer.advertising.retire()
        if self._config.timeouts.announce:
            await asyncio.sleep(self._config.timeouts.announce)
        if self._offer.advertising is not None:
            await self._offer.advertising.withdraw()
        await self._listening.drain()
        limit = self._config.timeouts.drain if timeout is None else timeout
        drained = drain_connections(gate, self._accepting, self._life, limit)
        return await self._offer.background.stop_beside(drained, limit)

    async def close(self, gate: Gate | None) -> None:
        """Close listeners and connections immediately, cancel running calls, and end the sources of services."""
        self._offer.is_closed = True
        # Withdraw records and close connections concurrently, because the registry may be slow.
        if self._offer.advertising is not None:
            self._leaving = asyncio.ensure_future(self._offer.advertising.close())
        try:
            await outlast(asyncio.ensure_future(self._close_connections(gate)), lambda: _abort(gate))
            if self._leaving is not None:
                # The shield lets the withdrawal continue after a cancellation, while the loop runs. Otherwise the
                # records would stay in a registry that its owner keeps open.
                await asyncio.shield(self._leaving)
        finally:
            self._served.close()
            self._access.close()
            try:
                await self._served.leave()
            finally:
                try:
                    await self._admin.close()
                finally:
                    self._life.close()
                    self.quiet.set()

    async def _close_connections(self, gate: Gate | None) -> None:
        try:
            await self._listening.shut()
            self._accepting.shut()
            await self._accepting.taken()
            if gate is not None:
                await close_connections(gate, self._config.timeouts.linger)
        finally:
            # Connections may still be open after the time to linger, or because a step failed or was cancelled.
            self._accepting.shut()
            if gate is not None:
                abort_connections(gate)


def _abort(gate: Gate | None) -> None:
    if gate is None:
        return
    if isinstance(asyncio.current_task(), ServerTask) and is_inside_handler(gate):
        # A handler that closes its server is cancelled when its connection closes. Do not abort the other connections.
        return
    abort_connections(gate)
