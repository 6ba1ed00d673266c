"""Streams that another thread drops while their loop stops."""

import subprocess
import sys

import pytest

PROGRAM = """
import asyncio, gc, os, sys, threading
from collections.abc import AsyncIterator
import fastrpc
from fastrpc import Client, Server

@fastrpc.service("echo")
class Echo:
    @fastrpc.method
    async def back(self, numbers: AsyncIterator[int]) -> AsyncIterator[int]:
        async for number in numbers:
            yield number

    @fastrpc.method
    async def count(self, most: int) -> AsyncIterator[int]:
        for number in range(most):
            yield number
            await asyncio.sleep(0)

async def around(call, proceed):
    return await proceed(call)

async def numbers():
    yield 1
    await asyncio.Event().wait()

async def main():
    server = Server(Echo())
    address = await server.listen("tcp://127.0.0.1:0")
    client = Client(str(address), interceptors=[around] if sys.argv[1] == "intercepted" else [])
    await client.ready(timeout=10)
    fed = sys.argv[1] == "fed"
    stream = client.stream("echo.back", numbers()) if fed else client.stream("echo.count", 1000)
    await stream.begin()
    await stream.receive()
    kept = [server, client, stream]
    del stream
    def drop():
        # The last reference: the stream asks its loop to end it, which stops before.
        thread = threading.Thread(target=kept.pop)
        thread.start()
        thread.join()
        loop.stop()
    loop.call_soon(drop)
    await asyncio.Event().wait()

loop = asyncio.new_event_loop()
task = loop.create_task(main())
loop.run_forever()
loop.close()
rest = [bytearray(os.urandom(400)) for _ in range(20_000)]
del task
gc.collect()
print("alive")
"""


@pytest.mark.parametrize("kind", ["fed", "intercepted", "plain"])
def test_a_stream_that_is_dropped_while_its_loop_stops_leaves_no_pointer(kind: str) -> None:
    command = [sys.executable, "-X", "faulthandler", "-c", PROGRAM, kind]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout) == (0, "alive\n"), ended.stderr[-2000:]
