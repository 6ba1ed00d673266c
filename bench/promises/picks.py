"""The cost of a pick for a client of many endpoints without a connection."""

import time

import fastrpc
from fastrpc_harness import hot_loops

__all__ = ["pick_nanoseconds"]

PICKS = 100_000


def pick_nanoseconds(selector: str, endpoints: int) -> float:
    """Return the time of one pick and of processing its result, with a new key each time, in a loop in C."""
    addresses = [f"tcp://10.0.{number // 250}.{number % 250}:8972" for number in range(endpoints)]
    # As `Client` sets it up, with breakers and outlier detection.
    endpoint_set = fastrpc.Client(addresses, selector=selector)._state.endpoint_set
    assert endpoint_set is not None
    keys = [f"customer:{number}" for number in range(PICKS)]
    times = []
    for _ in range(15):
        started = time.perf_counter()
        hot_loops.place(endpoint_set, PICKS, keys)
        times.append((time.perf_counter() - started) / PICKS * 1e9)
    # The other runs waited for memory that other processes used.
    return min(times)
