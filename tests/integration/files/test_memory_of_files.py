"""The memory of a server whose callers ask for files and take nothing, in figures."""

import asyncio
import contextlib
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fastrpc import Client, OverloadedError
from fastrpc.files import FileService
from tests.support.file_server import HeldMemory

pytestmark = pytest.mark.one_loop

MIB = 1024 * 1024
PROCESS_BYTES = 256 * MIB
DOWNLOADS = 1_000

#: How often the good client calls, and the longest that it may wait for an answer or a refusal.
CALLS_PER_SECOND = 500
PATIENCE_SECONDS = 1.5


class Process:
    """The server, and what it says of itself."""

    def __init__(self, folder: Path, loop: str) -> None:
        arguments = ["-m", "tests.support.file_server", str(folder), str(PROCESS_BYTES), loop]
        self._process = subprocess.Popen(
            [sys.executable, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.address = self._line()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def look(self) -> tuple[int, int]:
        """Return the bytes that are counted, and those that are resident."""
        assert self._process.stdin is not None
        self._process.stdin.write("look\n")
        self._process.stdin.flush()
        held, resident = self._line().split()
        return int(held), int(resident)

    def end(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


async def longest_wait(client: Client, seconds: float) -> float:
    """Call at a steady rate, and return the longest wait for an answer or a refusal."""
    longest, begins = 0.0, time.monotonic()
    for number in range(int(seconds * CALLS_PER_SECOND)):
        await asyncio.sleep(begins + number / CALLS_PER_SECOND - time.monotonic())
        asked = time.monotonic()
        with contextlib.suppress(OverloadedError):
            assert await client.call(HeldMemory.echo, number) == number
        longest = max(longest, time.monotonic() - asked)
    return longest


@pytest.mark.measures
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_a_thousand_unread_downloads_hold_what_a_server_may(loop: str, tmp_path: Path) -> None:
    with (tmp_path / "big").open("wb") as big:
        big.truncate(1024 * MIB)
    server = Process(tmp_path, loop)
    try:
        async with Client(server.address) as hostile, Client(server.address) as good:
            await good.ready()
            _, idle = server.look()

            async def ask_and_take_nothing() -> None:
                async with hostile.stream(FileService.read, "big"):
                    await asyncio.Event().wait()

            asked = [asyncio.ensure_future(ask_and_take_nothing()) for _ in range(DOWNLOADS)]
            longest = await longest_wait(good, 5)
            held, resident = server.look()
            for task in asked:
                task.cancel()
            await asyncio.wait(asked)
        grown = resident - idle
        print(f"held {held / MIB:.0f} MiB, resident +{grown / MIB:.0f} MiB, longest wait {longest:.3f} s")
        assert grown <= 384 * MIB
        assert held >= grown * 4 // 5
        assert longest <= PATIENCE_SECONDS
    finally:
        server.end()
