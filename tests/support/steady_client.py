"""A good client as a process: `python -m tests.support.steady_client ADDRESS METHOD ARGUMENTS SECONDS`.

It makes 200 calls a second on its own connection, each at its instant. `ARGUMENTS` is JSON. A line marks the begin. At
the end it prints JSON: the share of calls that had an answer in time, the texts of the refusals, the 99th percentile
and the longest of the times in seconds.
"""

import asyncio
import json
import sys
import time
from typing import Any

import uvloop

import fastrpc

__all__ = ["RATE"]

RATE = 200


async def _call(address: str, method: str, arguments: list[Any], seconds: float) -> dict[str, Any]:
    times: list[float] = []
    refusals: list[str] = []

    async def call(due: float) -> None:
        try:
            await client.call(method, *arguments)
        except fastrpc.FastRPCError as error:
            refusals.append(str(error))
        times.append(time.perf_counter() - due)

    async with fastrpc.Client(address) as client:
        await client.call(method, *arguments)
        print("begins", flush=True)
        calls = []
        began = time.perf_counter()
        for number in range(int(seconds * RATE)):
            due = began + number / RATE
            await asyncio.sleep(max(due - time.perf_counter(), 0.0))
            calls.append(asyncio.create_task(call(due)))
        in_time = sum(task.done() for task in calls)
        await asyncio.gather(*calls)
    times.sort()
    return {
        "kept": (in_time - len(refusals)) / len(times),
        "refused": refusals,
        "p99": times[int(len(times) * 0.99)],
        "longest": times[-1],
    }


if __name__ == "__main__":
    target, name, given, length = sys.argv[1:]
    print(json.dumps(uvloop.run(_call(target, name, json.loads(given), float(length)))))
