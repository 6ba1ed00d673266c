"""A thousand servers in one process, for `fastrpc console`: each has a port with figures, and a record.

`python -m bench.promises.simulated_fleet [REGISTRY]` runs until its input ends; without a registry it hosts one.
Services have the same number of servers each, and call the next two services. Every method is called all the time. Some
servers start again, and some take requests and never answer.
"""

import asyncio
import contextlib
import json
import os
import random
import sys
import time
from collections.abc import Iterator
from typing import Any, Final, cast

from bench.promises.server import read_all_input
from fastrpc.coordination import RegistryServer
from fastrpc.endpoint import Endpoint
from fastrpc.registries import open_registry

__all__ = ["HANGING", "METHODS", "SERVERS", "SERVICES", "service_name"]

SERVERS: Final = 1_000
SERVICES: Final = 200
METHODS: Final = 20
#: Servers that hang.
HANGING: Final = 20
#: The share of servers that start again in a minute.
RESTARTED_SHARE: Final = 0.05
#: Calls of a method in a second on one server, and their durations by the bounds of servers.
RATE: Final = 5.0
BUCKETS: Final = ((0.0005, 0.6), (0.001, 0.3), (0.008, 0.09), (0.064, 0.01))


def service_name(number: int) -> str:
    return f"service-{number % SERVICES:03}"


class SimulatedServer:
    """The admin pages of one server."""

    def __init__(self, number: int, *, hangs: bool) -> None:
        self.number, self.hangs = number, hangs
        self.connections: set[asyncio.Transport] = set()
        self.start()

    def start(self) -> None:
        """Start, or start again: with counts from zero, under another identity."""
        self._identity, self._began, self._revision = os.urandom(8).hex(), time.time(), 0
        for connection in list(self.connections):
            connection.abort()

    def page(self, path: str) -> bytes:
        """Return the body of a page."""
        if path.startswith("/endpoints"):
            return json.dumps({"total": 2, "endpoints": list(self._endpoints())}).encode()
        self._revision += 1
        own = service_name(self.number)
        page = {
            "fastrpc": "0.0",
            "python": "3.11.0",
            "server": self._identity,
            "revision": self._revision,
            "started": self._began,
            "ready": True,
            "draining": False,
            "state": "SERVING",
            "log_levels": {"": "info", "fastrpc": "info"},
            "services": [{"name": own, "version": "1", "state": "SERVING"}],
            "records": [{"service": own, "weight": 1, "configured_weight": 1, "is_out": False}],
            "processes": [{"process_id": self.number, "role": "server", "resident_bytes": 50_000_000}],
            "methods": list(self._methods(own)),
        }
        return json.dumps(page).encode()

    def _methods(self, own: str) -> Iterator[dict[str, Any]]:
        calls = int((time.time() - self._began) * RATE)
        for number in range(METHODS):
            yield self._row(own, f"method_{number:02}", "server", calls)
        for step in (1, 2):
            yield self._row(service_name(self.number + step), "method_00", "client", calls)

    def _row(self, service: str, method: str, side: str, calls: int) -> dict[str, Any]:
        failed = calls // 100
        return {
            "service": service,
            "method": method,
            "side": side,
            "protocol": "native",
            "in_flight": 1,
            "calls": {"OK": calls - failed, "NOT_FOUND": failed},
            "received_bytes": 100 * calls,
            "sent_bytes": 200 * calls,
            "sum_seconds": 0.001 * calls,
            "buckets": [[bound, int(share * calls)] for bound, share in BUCKETS],
        }

    def _endpoints(self) -> Iterator[dict[str, Any]]:
        for step in (1, 2):
            target = service_name(self.number + step)
            yield {
                "target": target,
                "address": "tcp://127.0.0.1:1",
                "state": "connected",
                "breaker": "closed",
            }


class SimulatedConnection(asyncio.Protocol):
    """A connection to the pages of a server."""

    def __init__(self, server: SimulatedServer) -> None:
        self._server, self._received = server, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of this one.
        self._transport = cast(asyncio.Transport, transport)
        self._server.connections.add(self._transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._server.connections.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._server.hangs or not self._received.endswith(b"\r\n\r\n"):
            return
        path = self._received.split(b" ", 2)[1].decode()
        self._received = b""
        body = self._server.page(path)
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)


async def simulate(url: str | None = None) -> None:
    """Run the servers, and their registry unless another one has them, until the input ends."""
    loop = asyncio.get_running_loop()
    servers = [SimulatedServer(number, hangs=number < HANGING) for number in range(SERVERS)]
    async with contextlib.AsyncExitStack() as stack:
        if url is None:
            url = (await stack.enter_async_context(RegistryServer("tcp://127.0.0.1:0"))).url
        registry = await stack.enter_async_context(contextlib.aclosing(open_registry(url)))
        records = []
        for server in servers:

            def connection(server: SimulatedServer = server) -> SimulatedConnection:
                return SimulatedConnection(server)

            listening = await loop.create_server(connection, "127.0.0.1", 0)
            stack.callback(listening.close)
            admin = f"tcp://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
            # No call is made to it.
            record = Endpoint(
                f"tcp://127.0.0.1:{10_000 + server.number}", labels={"admin": admin}, version="1"
            )
            records.append(registry.register(service_name(server.number), record))
        # Together: one after the other each waits for an answer.
        await asyncio.gather(*map(stack.enter_async_context, records))
        restarting = asyncio.create_task(_restart(servers))
        print(json.dumps({"address": url, "processes": [os.getpid()]}), flush=True)
        await asyncio.to_thread(read_all_input)
        restarting.cancel()
        await asyncio.gather(restarting, return_exceptions=True)


async def _restart(servers: list[SimulatedServer]) -> None:
    while True:
        await asyncio.sleep(60.0 / (len(servers) * RESTARTED_SHARE))
        random.choice(servers).start()


if __name__ == "__main__":
    import uvloop

    uvloop.run(simulate(*sys.argv[1:2]))
