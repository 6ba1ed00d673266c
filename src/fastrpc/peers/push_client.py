"""Notifications to a peer that speaks rpcx, by `Peer.client`.

A notification to such a peer is an rpcx message from the server, which the peer does not answer. The server cannot know
whether the peer handles it.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from fastrpc._core.client.awaited_call import AwaitedCall
from fastrpc._core.client.caller_state import CallerState
from fastrpc._core.client.client_call import made_by
from fastrpc._core.server.link import Link
from fastrpc.endpoint import Address
from fastrpc.errors import CallError, FastRPCError
from fastrpc.peers.outcomes import count_unsent
from fastrpc.peers.peer_client import PeerCalling, PeerClient, PeerRunner
from fastrpc.status import Status

__all__ = ["PushClient"]


class PushClient(PeerClient):
    """The PeerClient of an rpcx peer: its `notify` pushes, its other verbs raise UNIMPLEMENTED."""

    @staticmethod
    def _runner_of(calling: PeerCalling, address: Address, peer_at: Callable[[Address], Any]) -> PeerRunner:
        return _PushRunner(calling, address, peer_at)


class _PushRunner(PeerRunner):
    """Pushes on one connection."""

    def __init__(self, calling: PeerCalling, address: Address, peer_at: Callable[[Address], Any]) -> None:
        super().__init__(calling, address, peer_at)
        self.routes = calling.value_routes
        self._engine: Link | None = None

    def attend(self, connection: Any, state: CallerState) -> None:
        """Push on this connection until it closes."""
        if connection is not None and not connection.is_closed:
            self.is_closed = False
            self._engine = connection
            connection.pusher = self

    # Events of the connection

    def on_room(self) -> None:
        """Wake the tasks that wait for room: there is room for further pushes."""
        self.wake()

    def on_end(self) -> None:
        """Record that the connection has ended."""
        self._engine = None
        self._end()

    # Hooks of calls

    def lost(self, method: str | None) -> FastRPCError:
        if self.is_closed:
            return super().lost(method)
        return CallError(
            Status.UNIMPLEMENTED,
            f"{method}: {self.address} speaks rpcx, whose clients answer no calls",
            processed="no",
            hint="write client.notify(…), which pushes",
        )

    async def run(self, call: AwaitedCall) -> Any:
        """Push a notification after earlier ones were sent. Other calls to such a peer fail."""
        if made_by(call) != "notify" or self.is_closed:
            return await super().run(call)
        await self._begin_with_room(call)
        if self._engine is None:
            lost = self.lost(call.method)
            count_unsent(call, lost)
            raise lost
        self._engine.push(call)
        return None

    def _room_for(self, call: AwaitedCall) -> asyncio.Future[None] | None:
        if self._engine is None or self._engine.takes_pushes:
            return None
        return asyncio.get_running_loop().create_future()
