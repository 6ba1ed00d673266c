"""Certificates that change under calls, as processes: `python -m bench.promises.rotated serve FOLDER`, and
`… ADDRESS FOLDER ROTATIONS`.

The folder holds `authority.pem` and the certificates 0, 1, 2, …; the server presents the files `tls.crt` and `tls.key`.
"""

import asyncio
import json
import os
import shutil
import ssl
import statistics
import sys
import time
from pathlib import Path

import uvloop

import fastrpc
from bench.compare.peers.base import announce
from bench.promises.server import Promised, read_all_input

CALLS_PER_SECOND = 1_000
CALLS_PER_TURN = 10

#: How long a connection of the caller lasts, so that many see each certificate.
AGE_SECONDS = 0.5


def put(folder: Path, number: int) -> None:
    """Replace both files, one after the other: for a moment they do not match."""
    for name, kind in (("tls.crt", "pem"), ("tls.key", "key")):
        shutil.copy(folder / f"{number}.{kind}", folder / "new")
        os.replace(folder / "new", folder / name)


async def serve(folder: Path) -> None:
    """Serve until standard input closes."""
    put(folder, 0)
    tls = fastrpc.TLS(cert_file=folder / "tls.crt", key_file=folder / "tls.key")
    async with fastrpc.Server(Promised(), config=fastrpc.ServerConfig(tls=tls)) as server:
        announce(str(await server.listen("tls://127.0.0.1:0")))
        await asyncio.to_thread(read_all_input)
        await server.drain(timeout=0.1)


class Load:
    """Calls at a fixed rate, until it is stopped."""

    def __init__(self, client: fastrpc.Client) -> None:
        self._client = client
        self._running: set[asyncio.Task[None]] = set()
        self.calls = self.failed = 0
        self.is_over = False

    async def run(self) -> None:
        began = time.perf_counter()
        while not self.is_over:
            while self.calls < (time.perf_counter() - began) * CALLS_PER_SECOND:
                self._start(CALLS_PER_TURN)
            await asyncio.sleep(CALLS_PER_TURN / CALLS_PER_SECOND)
        await asyncio.gather(*self._running)

    def _start(self, count: int) -> None:
        self.calls += count
        for _ in range(count):
            task = asyncio.ensure_future(self._call())
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _call(self) -> None:
        try:
            await self._client.call(Promised.echo, b"x" * 32)
        except fastrpc.FastRPCError:
            self.failed += 1


async def shown(port: int, authority: Path) -> bytes:
    """Return the certificate that a new connection sees."""
    context = ssl.create_default_context(cafile=str(authority))
    context.set_alpn_protocols(["fastrpc/1"])
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        found: bytes = writer.get_extra_info("ssl_object").getpeercert(True)
        return found
    finally:
        writer.transport.abort()


async def rotate(address: str, folder: Path, rotations: int) -> dict[str, float]:
    """Install one certificate after another, each once the last one is in use."""
    authority, port = folder / "authority.pem", int(address.rpartition(":")[2])
    keepalive = fastrpc.Keepalive(max_age=AGE_SECONDS)
    config = fastrpc.ClientConfig(tls=fastrpc.TLS(ca_file=authority), keepalive=keepalive)
    delays = []
    async with fastrpc.Client(address, config=config) as client:
        await client.ready(timeout=10)
        load, began = Load(client), time.perf_counter()
        running = asyncio.ensure_future(load.run())
        for number in range(1, rotations + 1):
            expected = ssl.PEM_cert_to_DER_cert((folder / f"{number}.pem").read_text())
            put(folder, number)
            changed = time.perf_counter()
            # There is no notification: each look is a new connection.
            while await shown(port, authority) != expected:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            delays.append(time.perf_counter() - changed)
        seconds = time.perf_counter() - began
        load.is_over = True
        await running
        connections = client.stats()["totals"]["connections"]
    return {
        "calls": load.calls,
        "missing": max(0.0, 1 - load.calls / (seconds * CALLS_PER_SECOND)) * 100,
        "failed": load.failed,
        "connections": connections,
        "seconds": seconds,
        "slowest": max(delays),
        "median": statistics.median(delays),
    }


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        uvloop.run(serve(Path(sys.argv[2])))
    else:
        address, folder, count = sys.argv[1:]
        print(json.dumps(uvloop.run(rotate(address, Path(folder), int(count)))))
