"""The server under test, in a separate process; it ends with its input: `python -m bench.promises.server [WHAT]`.

With `usual` it has the default configuration; with `access_log` or `open_telemetry` it has that interceptor, whose
records are discarded, with `open_telemetry_sdk` the SDK as well; with `every_protocol` it serves all protocols. With a
number it holds that many servers, and an embedded registry that lists them; it announces the registry's URL and their
addresses.
"""

import asyncio
import gc
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace

import uvloop

import fastrpc
from bench.compare.peers.base import announce
from fastrpc import interceptors
from fastrpc.coordination import RegistryServer

#: More than any of the promises opens, or holds under way.
CONFIG = fastrpc.ServerConfig(limits=fastrpc.Limits(connections=20_000, concurrent_calls=200_000))


@fastrpc.service("bench")
class Promised:
    """The called methods."""

    @fastrpc.method(codec="raw")
    async def echo(self, payload: bytes) -> bytes:
        return payload

    @fastrpc.method(codec="raw")
    async def give(self, size: bytes) -> bytes:
        return bytes(int(size))

    @fastrpc.method
    async def freeze(self) -> None:
        """Let the garbage collector ignore all present objects."""
        gc.collect()
        gc.freeze()

    @fastrpc.method
    async def wait(self) -> None:
        await asyncio.Event().wait()


async def serve(config: fastrpc.ServerConfig, around: Sequence[fastrpc.Interceptor] = ()) -> None:
    """Serve until standard input closes."""
    async with fastrpc.Server(Promised(), config=config, interceptors=around) as server:
        announce(str(await server.listen("tcp://127.0.0.1:0")))
        await asyncio.to_thread(read_all_input)
        # Nobody waits for an answer any more.
        await server.drain(timeout=0.1)


async def serve_several(count: int) -> None:
    """Serve at several addresses until standard input closes."""
    async with AsyncExitStack() as stack:
        registry = await stack.enter_async_context(RegistryServer("tcp://127.0.0.1:0"))
        places = [registry.url]
        for _ in range(count):
            server = fastrpc.Server(Promised(), config=CONFIG, registry=registry.url)
            await stack.enter_async_context(server)
            places.append(str(await server.listen("tcp://127.0.0.1:0")))
        announce(" ".join(places))
        await asyncio.to_thread(read_all_input)


def read_all_input() -> None:
    """Return once standard input is closed."""
    while os.read(sys.stdin.fileno(), 4096):
        pass


if __name__ == "__main__":
    kind = sys.argv[1] if len(sys.argv) > 1 else ""
    if kind.isdecimal():
        uvloop.run(serve_several(int(kind)))
    elif kind == "access_log":
        logging.basicConfig(level=logging.INFO, filename=os.devnull)
        uvloop.run(serve(CONFIG, [interceptors.AccessLog(sample=0.01)]))
    elif kind in ("open_telemetry", "open_telemetry_sdk"):
        if kind == "open_telemetry_sdk":
            # Imported on use: it takes memory.
            from bench.promises.tracing import start_sdk

            start_sdk()
        uvloop.run(serve(CONFIG, [interceptors.OpenTelemetry()]))
    elif kind == "every_protocol":
        protocols = ("native", "http", "rpcx", "phobos")
        http = fastrpc.HTTP(jsonrpc=True, websocket=True, mcp=True, rpcx=True)
        uvloop.run(serve(replace(CONFIG, protocols=protocols, http=http)))
    else:
        uvloop.run(serve(fastrpc.ServerConfig() if kind == "usual" else CONFIG))
