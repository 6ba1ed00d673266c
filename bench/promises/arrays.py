"""The cost of an echo of 1 MiB in a numpy array compared with 1 MiB of bytes, both in msgpack.

python -m bench.promises.arrays
    Prints the seconds of one echo of each over TCP, server and client in one process, as JSON.
"""

import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable

import numpy as np
import numpy.typing as npt
import uvloop

import fastrpc
from bench.compare.processes import choose_cores, run_client

__all__ = ["array_seconds"]

SIZE = 2**20
ECHOES = 10
ROUNDS = 41

Floats = npt.NDArray[np.float64]


@fastrpc.service("values")
class Values:
    """The called methods."""

    @fastrpc.method
    async def data(self, data: bytes) -> bytes:
        return data

    @fastrpc.method
    async def array(self, array: Floats) -> Floats:
        return array


async def seconds_of(echo: Callable[[], Awaitable[object]]) -> float:
    """Return the time of one echo."""
    started = time.perf_counter()
    for _ in range(ECHOES):
        await echo()
    return (time.perf_counter() - started) / ECHOES


async def measure() -> dict[str, float]:
    """Echo both by turns; the order alternates."""
    data, array = bytes(SIZE), np.zeros(SIZE // 8)
    async with fastrpc.Server(Values()) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        async with fastrpc.Client(str(address)) as client:
            echoes = {
                "bytes": lambda: client.call(Values.data, data),
                "array": lambda: client.call(Values.array, array),
            }
            times: dict[str, list[float]] = {name: [] for name in echoes}
            for number in range(ROUNDS):
                for name in sorted(echoes, reverse=bool(number % 2)):
                    times[name].append(await seconds_of(echoes[name]))
    return {name: statistics.median(found) for name, found in times.items()}


def array_seconds() -> dict[str, float]:
    """Return the same from a process of its own."""
    return run_client([sys.executable, "-m", "bench.promises.arrays"], choose_cores().client, 60)


if __name__ == "__main__":
    print(json.dumps(uvloop.run(measure())))
