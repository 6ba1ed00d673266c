"""A loop that is closed around its connections closes their sockets: nothing may be sent there any more."""

import subprocess
import sys

import pytest

# A separate process: nobody closes the client and the server here, and uvloop's `close` waits for ever for a
# transport whose ResourceWarning is made an error, as it is in these tests.
PROGRAM = """
import asyncio, importlib, socket, sys

import fastrpc

@fastrpc.service("desk")
class Desk:
    @fastrpc.method
    async def echo(self, number: int) -> int:
        return number

async def connect():
    server = fastrpc.Server(Desk())
    client = fastrpc.Client(str(await server.listen("tcp://127.0.0.1:0")))
    await client.call(Desk.echo, 1)
    return server, client

loop = importlib.import_module(sys.argv[1]).new_event_loop()
server, client = loop.run_until_complete(connect())
(session,) = client._pool.connections
loop.close()
# They get the lowest free descriptors, also the descriptors of the connection.
pairs = [socket.socketpair() for _ in range(16)]
try:
    session.close()
except RuntimeError as error:
    print(error)
for pair in pairs:
    for end in pair:
        end.setblocking(False)
        try:
            print("received", end.recv(100))
        except BlockingIOError:
            pass
"""


CALLING = """
import asyncio, gc, importlib, sys

import fastrpc
from fastrpc.testing import serving

@fastrpc.service("desk")
class Desk:
    @fastrpc.method
    async def wait(self, number: int) -> int:
        await asyncio.sleep(60)
        return number

async def begin(address, verb):
    client = fastrpc.Client(address)
    await client.ready()
    calls = {"call": lambda: client.call(Desk.wait, 1), "call_many": lambda: client.call_many(Desk.wait, [(1,)])}
    task = asyncio.ensure_future(calls[verb]())
    await asyncio.sleep(0)
    assert not task.done()

with serving(Desk) as address:
    for verb in ("call", "call_many"):
        loop = importlib.import_module(sys.argv[1]).new_event_loop()
        loop.set_exception_handler(lambda loop, context: None)
        loop.run_until_complete(begin(address, verb))
        loop.close()
        del loop
        gc.collect()
print("done")
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_call_that_waits_when_its_loop_closes_is_dropped_without_a_word(loop: str) -> None:
    pytest.importorskip(loop)
    command = [sys.executable, "-W", "ignore::ResourceWarning", "-c", CALLING, loop]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_closing_after_the_loop_writes_to_no_other_socket(loop: str) -> None:
    pytest.importorskip(loop)
    command = [sys.executable, "-W", "ignore::ResourceWarning", "-c", PROGRAM, loop]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")
    assert "closed" in done.stdout
    assert "received" not in done.stdout
