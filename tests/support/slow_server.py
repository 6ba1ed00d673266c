"""A server of which a few answers are slow, as a process."""

import asyncio
import sys
from pathlib import Path

import fastrpc
from tests.support.kept_process import KeptProcess, accepts, free_ports

__all__ = ["SLOW_SECONDS", "Slow", "SlowServer"]

#: Every so manieth answer is slow. A little more than one in a hundred, so that the 99th percentile is one of them.
SLOW_EVERY = 90

SLOW_SECONDS = 0.2


@fastrpc.service("slow")
class Slow:
    """Counts what it starts."""

    def __init__(self) -> None:
        self._started = 0

    @fastrpc.method(idempotent=True)
    async def again(self) -> None:
        await self._answer()

    @fastrpc.method
    async def once(self) -> None:
        await self._answer()

    @fastrpc.method
    async def started(self) -> int:
        """Return how many calls of the others were started."""
        return self._started

    async def _answer(self) -> None:
        self._started += 1
        if self._started % SLOW_EVERY == 0:
            await asyncio.sleep(SLOW_SECONDS)


class SlowServer(KeptProcess):
    """The server, at a port of its own."""

    def __init__(self, folder: Path) -> None:
        (self._port,) = free_ports(1)
        super().__init__(folder / f"slow-{self._port}.log")

    @property
    def address(self) -> str:
        return f"tcp://127.0.0.1:{self._port}"

    def command(self) -> list[str]:
        return [sys.executable, "-m", "tests.support.slow_server", self.address]

    def is_ready(self) -> bool:
        return accepts("127.0.0.1", self._port)


if __name__ == "__main__":
    fastrpc.serve(Slow, address=sys.argv[1])
