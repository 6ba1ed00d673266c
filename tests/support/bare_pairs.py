"""Pairs of connections at a relay with bare sockets at both ends: a test chooses the bytes after one ClientHello."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager

from fastrpc.relay.wire import GREETING, ClaimTicket, opened_header
from tests.support.client_hellos import hello_of_openssl
from tests.support.relayed import Reached, claiming

__all__ = ["BarePairs", "Ends", "pairing"]

#: The sockets of a caller and of its server, which do not block.
Ends = tuple[socket.socket, socket.socket]


class BarePairs:
    """Opens pairs of a claimed name."""

    def __init__(self, port: int, name: str, stack: ExitStack) -> None:
        self._port = port
        self._hello = hello_of_openssl(f"{name}.localhost")
        self._stack = stack
        self._loop = asyncio.get_running_loop()
        # The data connections of callers, by the address in their PROXY headers.
        self._servers: dict[tuple[str, int], asyncio.Future[socket.socket]] = {}

    async def open(self, host: str = "127.0.0.1") -> Ends:
        """Return the ends of one more pair, for a caller at an address of loopback."""
        caller = await self._dial(host)
        server = self._servers[caller.getsockname()] = self._loop.create_future()
        await self._loop.sock_sendall(caller, self._hello)
        return caller, await server

    async def take(self, tickets: AsyncIterator[ClaimTicket]) -> None:
        """Open a data connection for each ticket."""
        async with asyncio.TaskGroup() as group:
            async for ticket in tickets:
                group.create_task(self._wait(ClaimTicket(*ticket)))

    async def _wait(self, ticket: ClaimTicket) -> None:
        """Wait at the relay for a caller, and read its first bytes."""
        opened = await self._dial("127.0.0.1")
        await self._loop.sock_sendall(opened, GREETING + ticket.token)
        received = b""
        while (header := opened_header(received, ticket.key)) is None or len(received) < header[0] + len(
            self._hello
        ):
            piece = await self._loop.sock_recv(opened, 65_536)
            if not piece:
                # Another data connection has taken its place.
                opened.close()
                return
            received += piece
        size, caller = header
        assert received[size:] == self._hello
        self._servers.pop(caller).set_result(opened)

    async def _dial(self, host: str) -> socket.socket:
        opened = self._stack.enter_context(socket.socket())
        opened.setblocking(False)
        opened.bind((host, 0))
        await self._loop.sock_connect(opened, ("127.0.0.1", self._port))
        return opened


@asynccontextmanager
async def pairing(relay: Reached, name: str = "edge-7") -> AsyncIterator[BarePairs]:
    """Claim a name, and open its pairs until the end of the block; their sockets are closed then."""
    with ExitStack() as stack:
        async with claiming(relay, name=name) as tickets:
            pairs = BarePairs(relay.port, name, stack)
            async with asyncio.TaskGroup() as group:
                taking = group.create_task(pairs.take(tickets))
                yield pairs
                taking.cancel()
