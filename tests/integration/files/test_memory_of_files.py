"""The memory of a server whose callers ask for files and take nothing, in figures."""

import asyncio
import contextlib
import time
from pathlib import Path

import pytest

from fastrpc import Client, OverloadedError
from fastrpc.files import FileService
from tests.support.file_server import HeldMemory
from tests.support.looked_at import LookedAt

pytestmark = pytest.mark.one_loop

MIB = 1024 * 1024
PROCESS_BYTES = 256 * MIB
DOWNLOADS = 1_000

#: How often the good client calls, and the longest that it may wait for an answer or a refusal.
CALLS_PER_SECOND = 500
PATIENCE_SECONDS = 1.5


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
async def test_a_thousand_unread_downloads_stay_within_the_memory_limit_of_the_server(
    loop: str, tmp_path: Path
) -> None:
    with (tmp_path / "big").open("wb") as big:
        big.truncate(1024 * MIB)
    server = LookedAt("tests.support.file_server", str(tmp_path), str(PROCESS_BYTES), loop)
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
