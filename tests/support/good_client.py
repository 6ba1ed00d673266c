"""A good client as a process: `python -m tests.support.good_client PORT SECONDS` makes 500 calls a second, one by one.

It prints as JSON which share of its calls it could make, and the 99th percentile of their times in seconds.
"""

import asyncio
import json
import sys
import time

import uvloop

import fastrpc

RATE = 500

__all__ = ["RATE"]


async def _call(port: int, seconds: float) -> dict[str, float]:
    times: list[float] = []
    async with fastrpc.Client(f"tcp://127.0.0.1:{port}") as client:
        await client.ready()
        began = time.perf_counter()
        while (now := time.perf_counter()) < began + seconds:
            due = began + len(times) / RATE
            if due > now:
                await asyncio.sleep(due - now)
            sent = time.perf_counter()
            await client.call("held.echo", 1)
            times.append(time.perf_counter() - sent)
    times.sort()
    return {"kept": len(times) / (RATE * seconds), "p99": times[int(len(times) * 0.99)]}


if __name__ == "__main__":
    print(json.dumps(uvloop.run(_call(int(sys.argv[1]), float(sys.argv[2])))))
