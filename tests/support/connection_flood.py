"""A flood of connections from one address of this machine, and the rate that an honest client keeps beside it."""

import contextlib
import multiprocessing
import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

__all__ = ["Flood", "flooding", "honest_share"]

#: The connections that a flood makes a second, as far as the machine does.
FLOOD_RATE = 20_000

#: The calls of an honest client in a second, and how long it calls.
HONEST_RATE = 500
HONEST_SECONDS = 3.0

_LINGER = struct.pack("ii", 1, 0)


@dataclass
class Flood:
    """A flood, and the number of its connections once it is over."""

    connections: int = 0


def _flood(port: int, source: str, count: "multiprocessing.sharedctypes.Synchronized[int]") -> None:
    began, made = time.monotonic(), 0
    while True:
        if made > (time.monotonic() - began) * FLOOD_RATE:
            continue
        with contextlib.suppress(OSError), socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
            connection.bind((source, 0))
            connection.connect(("127.0.0.1", port))
        made += 1
        count.value = made


@contextlib.contextmanager
def flooding(port: int, source: str) -> Iterator[Flood]:
    """Connect and leave from one address, in a process of its own."""
    context = multiprocessing.get_context("spawn")
    count = context.Value("q", 0)
    process = context.Process(target=_flood, args=(port, source, count), daemon=True)
    process.start()
    flood = Flood()
    try:
        while count.value < 100:
            time.sleep(0.01)
        yield flood
    finally:
        process.kill()
        process.join()
        flood.connections = count.value


def honest_share(
    call: Callable[[], object], *, rate: int = HONEST_RATE, seconds: float = HONEST_SECONDS
) -> float:
    """Return the share of its calls that a client makes which calls at a steady rate."""
    call()
    began, calls = time.monotonic(), 0
    while (now := time.monotonic()) < began + seconds:
        if calls > (now - began) * rate:
            time.sleep(0.0005)
            continue
        call()
        calls += 1
    return calls / (rate * seconds)
