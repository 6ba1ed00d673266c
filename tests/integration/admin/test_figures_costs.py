"""Pages of thousands of methods hold the loop of their server up for no longer than two switches of threads."""

import asyncio
import sys
import time

import pytest

import fastrpc
from fastrpc._core.base.histogram import default_registry
from fastrpc_harness.counters import forget_counters
from tests.support.admin_pages import server_with_pages

pytestmark = [pytest.mark.measures, pytest.mark.one_loop]

METHODS = 4_000
READS = 5

#: Two intervals after which CPython switches threads.
LONGEST_STALL = 0.01

#: Reads a page several times, in a process that takes no time of this one.
READER = """
import sys, urllib.request
for _ in range(int(sys.argv[2])):
    request = urllib.request.Request(sys.argv[1], headers={"Accept": "application/json"})
    print(len(urllib.request.urlopen(request, timeout=20).read()))
"""


@fastrpc.service("idle")
class Idle:
    @fastrpc.method
    async def rest(self) -> None: ...


async def stalls_beside(url: str) -> list[float]:
    """Return how late the loop was each time, in seconds, while another process reads a page."""
    arguments = (sys.executable, "-c", READER, url, str(READS))
    reader = await asyncio.create_subprocess_exec(*arguments, stdout=asyncio.subprocess.PIPE)
    ended = asyncio.ensure_future(reader.communicate())
    late = []
    while not ended.done():
        began = time.perf_counter()
        await asyncio.sleep(0.001)
        late.append(time.perf_counter() - began - 0.001)
    output, _ = await ended
    assert len(output.split()) == READS
    return late


@pytest.mark.parametrize("path", ["/figures", "/"])
async def test_loop_is_not_delayed_by_thousands_of_methods(path: str) -> None:
    for number in range(METHODS):
        counters = default_registry.counters(f"costs.m{number}", "server")
        for duration in (10_000, 1_000_000, 50_000_000):
            counters.count_started()
            counters.count_ended(0, duration)
    try:
        async with server_with_pages(Idle()) as server:
            assert server.admin.address is not None
            late = await stalls_beside(f"http://127.0.0.1:{server.admin.address.port}{path}")
    finally:
        forget_counters()
    print(
        f"{path} of {METHODS:,} methods, {READS} times: the loop was late by {max(late) * 1e3:.1f} ms at most"
    )
    assert max(late) <= LONGEST_STALL
