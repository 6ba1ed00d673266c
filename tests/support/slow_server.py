"""A server process of which a few answers are slow."""

import asyncio
import sys
import time
from pathlib import Path

import fastrpc
from tests.support.kept_process import KeptProcess, accepts
from tests.support.ports import free_ports

__all__ = ["SLOW_SECONDS", "Slow", "SlowServer"]

#: Every so manieth answer is slow. A little more than one in a hundred, so that the 99th percentile is one of them.
SLOW_EVERY = 90

SLOW_SECONDS = 0.2


@fastrpc.service("slow")
class Slow:
    """Counts its started calls, and notes the callers of slow ones.

    Instants are of the monotonic clock, which all processes share.
    """

    def __init__(self, slow_every: int) -> None:
        self._slow_every = slow_every
        self._started = 0
        self._slow: list[int] = []
        self._given_up: list[tuple[int, float]] = []

    @fastrpc.method(idempotent=True)
    async def again(self, number: int) -> float:
        """Return when it answers."""
        return await self._answer(number)

    @fastrpc.method
    async def once(self, number: int) -> float:
        return await self._answer(number)

    @fastrpc.method
    async def started(self) -> int:
        """Return the number of started calls of the other methods."""
        return self._started

    @fastrpc.method
    async def slow(self) -> list[int]:
        """Return the numbers of those that were slow, or would have been."""
        return self._slow

    @fastrpc.method
    async def given_up(self) -> list[tuple[int, float]]:
        """Return which of the slow calls were cancelled, and when."""
        return self._given_up

    async def _answer(self, number: int) -> float:
        self._started += 1
        if self._started % self._slow_every == 0:
            self._slow.append(number)
            try:
                await asyncio.sleep(SLOW_SECONDS)
            except asyncio.CancelledError:
                self._given_up.append((number, time.monotonic()))
                raise
        return time.monotonic()


class SlowServer(KeptProcess):
    """The server, at a separate port."""

    def __init__(self, folder: Path, *, slow_every: int = SLOW_EVERY) -> None:
        (self._port,) = free_ports(1)
        super().__init__(folder / f"slow-{self._port}.log")
        self._slow_every = slow_every

    @property
    def address(self) -> str:
        return f"tcp://127.0.0.1:{self._port}"

    def command(self) -> list[str]:
        return [sys.executable, "-m", "tests.support.slow_server", self.address, str(self._slow_every)]

    def is_ready(self) -> bool:
        return accepts("127.0.0.1", self._port)


if __name__ == "__main__":
    fastrpc.serve(Slow(int(sys.argv[2])), address=sys.argv[1])
