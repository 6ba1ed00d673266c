"""Our client, in a separate process; prints the seconds of one operation as JSON, like the Go program.

python -m bench.agreement.load KIND URL SECONDS PROCESS
    echo      echoes, 64 in flight: the time by their number
    gateway   the four requests of a lock at the JSON gateway of etcd, by `http.client` alone: the time by the locks
    get, put  items read or written, 64 in flight: the time by their number
    lock      a lock held and released, one after the other: the time by their number
    waiters   64 wait for one lock, and each releases it at once: from a release to the next hold, the median
    watch     1,000 watches of one prefix: the processor time of the server PROCESS by the changes that they delivered
"""

import asyncio
import contextlib
import http.client
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import uvloop

import fastrpc
from bench.beside import in_flight
from bench.beside.in_flight import together
from bench.compare.measurement import ProcessorClocks
from bench.promises.server import Promised
from fastrpc.coordination import Store, open_store

__all__ = ["KINDS", "run"]

#: The same numbers as in the Go program.
VALUE = b"x" * 256
WAITERS = 64
WATCHERS = 1_000

#: For a lock with many waiters; no waiter ends meanwhile.
LONG_TTL = 60


async def get(store: Store, seconds: float, process: int) -> float:
    await store.put("bench/get", VALUE)
    return await together(lambda number: store.get("bench/get"), seconds)


async def put(store: Store, seconds: float, process: int) -> float:
    return await together(lambda number: store.put(f"bench/{number}", VALUE), seconds)


async def lock(store: Store, seconds: float, process: int) -> float:
    async def hold(number: int) -> None:
        async with store.lock("bench"):
            pass

    return await together(hold, seconds, tasks=1)


async def waiters(store: Store, seconds: float, process: int) -> float:
    found: list[float] = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        found += await hand_over(store)
    return statistics.median(found)


async def hand_over(store: Store) -> list[float]:
    """Let all wait for a lock; return the seconds from each release to the next hold."""
    found = []
    released = 0.0

    async def hold() -> None:
        nonlocal released
        async with store.lock("waiters", ttl=LONG_TTL):
            found.append(time.perf_counter() - released)
            released = time.perf_counter()

    async with asyncio.TaskGroup() as group, store.lock("waiters", ttl=LONG_TTL):
        async with store.watch("locks/waiters/") as queued:
            for _ in range(WAITERS):
                group.create_task(hold())
            for _ in range(WAITERS):
                await anext(queued)
        released = time.perf_counter()
    return found


async def watch(store: Store, seconds: float, process: int) -> float:
    clocks = ProcessorClocks([process])
    revision = await store.put("watched/key", VALUE)
    delivered = 0
    all_delivered = asyncio.Event()

    async def look() -> None:
        nonlocal delivered
        async with store.watch("watched/", after=revision) as changes:
            async for _ in changes:
                delivered += 1
                if delivered % WATCHERS == 0:
                    all_delivered.set()

    async def change() -> None:
        await store.put("watched/key", VALUE)
        await all_delivered.wait()
        all_delivered.clear()

    async with asyncio.TaskGroup() as group:
        looks = [group.create_task(look()) for _ in range(WATCHERS)]
        # From here on all watch.
        await change()
        first = last = clocks.read(delivered)
        while last.now - first.now < seconds:
            await change()
            last = clocks.read(delivered)
        for one in looks:
            one.cancel()
    return (last.server_cpu - first.server_cpu) / (last.completed - first.completed)


#: The operations of a store, by their names on the command line.
KINDS: dict[str, Callable[[Store, float, int], Awaitable[float]]] = {
    one.__name__: one for one in (get, put, lock, waiters, watch)
}


def gateway(url: str, seconds: float) -> float:
    """Return the time of the requests of our recipe, each as soon as the one before is answered."""
    connection = http.client.HTTPConnection(url.removeprefix("etcd://"), timeout=10)
    folder = b"locks/gateway/"

    def ask(path: str, **request: Any) -> Any:
        connection.request("POST", f"/v3/{path}", msgspec.json.encode(request))
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"etcd answers {answer.status} to {path}: {body[:200]!r}")
        return msgspec.json.decode(body)

    def hold() -> None:
        lease = ask("lease/grant", TTL=LONG_TTL)["ID"]
        item = {"key": folder + lease.encode()}
        made = ask(
            "kv/txn",
            compare=[item | {"target": "MOD", "mod_revision": "0"}],
            success=[{"request_put": item | {"value": b"", "lease": lease}}],
            failure=[{"request_range": item}],
        )
        if not made.get("succeeded"):
            raise RuntimeError(f"the item was not made: {made}")
        ask("kv/range", key=folder, range_end=folder[:-1] + b"0", limit=40, serializable=False)
        ask("lease/revoke", ID=lease)

    with contextlib.closing(connection):
        until = time.perf_counter() + in_flight.WARM_SECONDS
        while time.perf_counter() < until:
            hold()
        done, started = 0, time.perf_counter()
        while not done or time.perf_counter() < started + seconds:
            hold()
            done += 1
        return (time.perf_counter() - started) / done


async def run(kind: str, url: str, seconds: float, process: int) -> float:
    """Return the seconds of one operation."""
    if kind == "gateway":
        return gateway(url, seconds)
    if kind == "echo":
        async with fastrpc.Client(url) as client:
            return await together(lambda number: client.call(Promised.echo, VALUE), seconds)
    async with open_store(url) as store:
        return await KINDS[kind](store, seconds, process)


if __name__ == "__main__":
    found = uvloop.run(run(sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])))
    print(json.dumps({"seconds": found}), flush=True)
