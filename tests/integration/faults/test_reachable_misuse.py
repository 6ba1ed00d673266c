"""Every compiled object that a program can get hold of, used in every wrong way: exceptions, never a crash.

The objects are found by a walk along every attribute, underscored ones too, from clients, calls, batches, servers, and
from the arguments of interceptors, handlers and selectors. Each sweep has a separate process.
"""

import subprocess
import sys
from pathlib import Path

import pytest

COMMON = '''
import asyncio, faulthandler, gc, inspect, sys, threading, warnings
faulthandler.enable()
warnings.simplefilter("ignore")
import logging; logging.disable(logging.CRITICAL)
import fastrpc
from fastrpc.testing import connected, serving

class Odd:
    """Of no use anywhere, and truthy."""

ODD = Odd()
WRONG = [
    (), (None,), (ODD,), (-1,), (99,), (2**70,), ("",), (b"x" * 40,), ([ODD],), ([[ODD]],), ({ODD: ODD},), (True, None),
    (None, None), (ODD, ODD), (0, b""), ([ODD], None), (None, None, None), (ODD, ODD, ODD), (0, 0, 0, 0), (ODD,) * 5,
]
# What ends the process or waits by design, belongs to every object, or replaces what the walk stands on.
SKIPPED = {"__class__", "__init_subclass__", "__subclasshook__", "__reduce__", "__reduce_ex__", "__del__", "__new__",
           "__getattribute__", "__delattr__", "__setattr__", "__dir__", "__doc__", "__sizeof__", "__module__", "sleep"}
seen = {}

def is_ours(thing):
    return any(base.__module__.startswith("fastrpc._core") for base in type(thing).__mro__)

def walk(thing, depth=6):
    """Collect every compiled object that is to be reached from here."""
    if id(thing) in seen or depth == 0:
        return
    if is_ours(thing):
        seen[id(thing)] = thing
    elif isinstance(thing, (list, tuple, set, frozenset)):
        for one in list(thing)[:4]:
            walk(one, depth - 1)
        return
    elif isinstance(thing, dict):
        for one in list(thing.values())[:4]:
            walk(one, depth - 1)
        return
    elif type(thing).__module__.split(".")[0] not in ("fastrpc", "__main__"):
        return
    else:
        seen[id(thing)] = thing
    names = set(dir(type(thing))) | set(getattr(thing, "__dict__", ()))
    for name in sorted(names - SKIPPED):
        if name.startswith("__"):
            continue
        try:
            value = getattr(thing, name)
        except Exception:
            continue
        if not callable(value) or is_ours(value):
            walk(value, depth - 1)

def misuse(things):
    for thing in things:
        if not is_ours(thing):
            continue
        kind = type(thing)
        for name in sorted(set(dir(kind)) - SKIPPED):
            try:
                member = getattr(thing, name)
            except Exception:
                continue
            print(kind.__name__, name, flush=True)
            if callable(member):
                for arguments in WRONG:
                    attempt(member, arguments)
                attempt(member, (), {"nonsense": ODD})
            for value in (None, ODD, -1, 2**70, [ODD], {}):
                try:
                    setattr(thing, name, value)
                except Exception:
                    continue

def attempt(member, arguments, options={}):
    try:
        given = member(*arguments, **options)
    except Exception:
        return
    if inspect.iscoroutine(given) or hasattr(given, "cr_frame"):
        try:
            given.send(None)
        except BaseException:
            pass
        try:
            given.close()
        except BaseException:
            pass
'''

SERVICE = """
caught = []

@fastrpc.service("desk")
class Desk:
    @fastrpc.method(idempotent=True)
    async def mul(self, a: int, b: int = 2) -> int:
        caught.append(fastrpc.current_call())
        return a * b

    @fastrpc.method
    async def fail(self) -> None:
        raise fastrpc.CallError(fastrpc.Status.NOT_FOUND, "none")

class Picky:
    def update(self, endpoints):
        self.endpoints = endpoints
    def pick(self, call):
        caught.append(call)
        return self.endpoints[0]
    def observe(self, endpoint, seconds, error):
        pass

async def noting(call, proceed):
    caught.append(call)
    caught.append(proceed)
    return await proceed(call)
"""

ASYNC = (
    COMMON
    + SERVICE
    + """
async def main():
    server = fastrpc.Server(Desk)
    async with server:
        address = str(await server.listen("tcp://127.0.0.1:0"))
        other = str(await server.listen("tcp://127.0.0.1:0"))
        for target, options in (
            (address, {}),
            ([address, other], {}),
            ([address, other], {"selector": "consistent_hash", "interceptors": [noting]}),
            ([address, other], {"selector": Picky()}),
            (f"static://{address[6:]},{other[6:]}/desk", {"selector": "least_loaded"}),
        ):
            client = fastrpc.Client(target, **options)
            await client.call(Desk.mul, 6, 7)
            await client.with_options(hash_key="a").request(Desk.mul, 6)
            await client.call_many(Desk.mul, [(1,), (2,)])
            call, batch = client.call(Desk.mul, 1), client.call_many(Desk.mul, [(1,)])
            ended = client.call(Desk.mul, 1)
            await ended
            running = client.call("desk.mul", 1)
            task = asyncio.ensure_future(running)
            view = client.with_options(timeout=1, hash_key=b"k")
            for thing in (client, view, call, batch, ended, running, server, list(caught), client.stats()):
                walk(thing)
            caught.clear()
        if sys.argv[1] == "after":
            await client.close()
        misuse(list(seen.values()))
        print("swept", len(seen), flush=True)
        import os; os._exit(0)

asyncio.run(main())
"""
)

SYNC = (
    COMMON
    + SERVICE
    + """
with serving(Desk) as address, serving(Desk) as other:
    for target, options in (
        (address, {}),
        ([address, other], {}),
        ([address, other], {"selector": "weighted", "interceptors": [noting]}),
        ([address, other], {"selector": Picky()}),
        (f"static://{address[6:]},{other[6:]}/desk", {"selector": "random"}),
    ):
        client = fastrpc.SyncClient(target, **options)
        client.call(Desk.mul, 6, 7)
        client.with_options(hash_key="a").request(Desk.mul, 6)
        client.call_many(Desk.mul, [(1,), (2,)])
        view = client.with_options(timeout=1, hash_key=b"k")
        for thing in (client, view, list(caught), client.stats()):
            walk(thing)
        caught.clear()
    if sys.argv[1] == "after":
        client.close()
    # Threads that wait for ever hold nothing up: the sweep is in one of its own.
    sweep = threading.Thread(target=misuse, args=(list(seen.values()),), daemon=True)
    sweep.start()
    sweep.join(100)
    print("swept", len(seen), flush=True)
    import os; os._exit(0 if not sweep.is_alive() else 3)
"""
)


@pytest.mark.parametrize("when", ["during", "after"])
@pytest.mark.parametrize("program", [ASYNC, SYNC], ids=["async", "sync"])
def test_no_object_that_a_program_reaches_crashes_it(program: str, when: str, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", program, when], capture_output=True, text=True, timeout=120, cwd=tmp_path
    )
    last = ended.stdout.splitlines()[-1:]
    assert ended.returncode == 0, f"{last} {ended.stderr[-3000:]}"
    assert last[0].startswith("swept")


BATCHES = """
import asyncio
import fastrpc

def refused(action, kinds=Exception):
    try:
        action()
    except kinds:
        return
    raise SystemExit(f"not refused: {action}")

client = fastrpc.Client("tcp://127.0.0.1:9")
batch = client.call_many("a.b", [(1,)])
for index in (-2**62, -2, -1, 1, 99, 2**62):
    refused(lambda: batch._batch.single(batch, index), IndexError)
    refused(lambda: batch._batch.attempted(batch, index), IndexError)
refused(lambda: batch._batch.single(batch, 2**70), OverflowError)
other = client.call("a.b", 1)
for action in (
    lambda: batch._batch.single(other, 0),
    lambda: batch._batch.attempted(other, 0),
    lambda: batch._batch.is_long(other),
    lambda: batch._batch.collect(other),
):
    refused(action, ValueError)
other.close()
for name in ("single", "attempted", "members", "argument_tuples", "attempt_on"):
    assert not hasattr(batch, name), name
batch.close()
for kind in (fastrpc.Client, fastrpc.SyncClient):
    one = kind("tcp://127.0.0.1:9")
    for wrong in ([object()], [[object()]], [None], [[None]], object(), None):
        try:
            one._state.set_connections(wrong) if kind is fastrpc.Client else one._state.set_connections(wrong, None)
        except TypeError:
            pass
        one = kind("tcp://127.0.0.1:9") if wrong is None else one
    for name in ("state", "share", "shared", "set_options", "is_view", "options", "sent_metadata"):
        assert not hasattr(one, name), name

async def main():
    client = fastrpc.Client("tcp://127.0.0.1:9")
    for wrong in ([object()], [None], [[]]):
        refused(lambda: client._state.set_connections(wrong), TypeError)
    try:
        await client.with_options(timeout=0.1).call("a.b")
    except fastrpc.FastRPCError:
        print("survived")

asyncio.run(main())
"""


def test_batches_and_states_check_what_they_are_given() -> None:
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BATCHES], capture_output=True, text=True, timeout=60
    )
    assert (ended.returncode, ended.stdout) == (0, "survived\n"), ended.stderr[-3000:]
