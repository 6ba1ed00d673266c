"""Names that callers invent add no series to the metrics and no memory to the server."""

import asyncio
import contextlib
import os
import re
import socket
from pathlib import Path

import pytest

from fastrpc import Client
from tests.conftest import Scale
from tests.support.program import Program
from tests.support.worker_pages import WorkerPages, worker_pages

pytestmark = pytest.mark.one_loop

pytest.importorskip("prometheus_client")

#: Makes calls of invented names; in a separate process, whose counters of clients they fill.
CALLER = """
import asyncio
import contextlib
import sys

import fastrpc


async def main(address, kind, first, count):
    async with fastrpc.Client(address, fail_mode="failfast") as client:

        async def call(number):
            with contextlib.suppress(fastrpc.FastRPCError):
                if kind == "services":
                    await client.call(f"invented{number}.where")
                elif kind == "methods":
                    await client.call(f"work.invented{number}")
                elif kind == "one way":
                    await client.notify(f"invented{number}.where")
                elif kind == "streams":
                    async with client.stream(f"work.invented{number}") as messages:
                        async for _ in messages:
                            pass
                elif kind == "metadata":
                    invented = {f"invented{number}": f"invented{number}", f"other{number}": "x"}
                    await client.with_options(metadata=invented).call("work.where")
                elif kind == "long":
                    await client.call(f"work.{number}{'x' * 200}")
                else:
                    raise LookupError(kind)

        for start in range(first, first + count, 500):
            await asyncio.gather(*map(call, range(start, start + 500)))
    print("made", count)


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
"""

KINDS = ("services", "methods", "one way", "streams", "metadata", "long")


def invent(serving: WorkerPages, folder: Path, kind: str, first: int, count: int) -> None:
    """Make the given number of calls of a kind."""
    (folder / "inventing.py").write_text(CALLER)
    with Program(["inventing.py", serving.address, kind, str(first), str(count)], folder) as program:
        done = program.wait(150)
    assert done.output == f"made {count}\n", done


def series(serving: WorkerPages) -> set[str]:
    """Return every series of the server except series of its clients, which do not exist."""
    return {f"{name} {sorted(labels)}" for name, labels in serving.scrape()}


@pytest.mark.parametrize("kind", KINDS)
async def test_invented_names_add_no_series(kind: str, tmp_path: Path, scale: Scale) -> None:
    count = scale(5_000)
    with worker_pages(tmp_path, workers=2) as serving:
        await asyncio.to_thread(invent, serving, tmp_path, kind, 0, 500)
        async with Client(serving.address) as client:
            await client.call("work.where")
        before = await asyncio.to_thread(series, serving)
        await asyncio.to_thread(invent, serving, tmp_path, kind, 500, count)
        after = await asyncio.to_thread(series, serving)
        # A status, or the connections of a transport, may be seen for the first time.
        assert len(after - before) < 10
        assert not any("invented" in one or "xxx" in one for one in after)
        page = await asyncio.to_thread(serving.page, "/")
        assert {(row["service"], row["method"]) for row in page["methods"]} <= {
            ("work", "where"),
            ("_other", "_other"),
        }


async def test_invented_protocols_add_no_series(tmp_path: Path) -> None:
    def stranger(first: bytes) -> None:
        host, _, port = serving.address.removeprefix("tcp://").rpartition(":")
        with socket.create_connection((host, int(port)), timeout=10) as peer:
            peer.sendall(first)
            with contextlib.suppress(ConnectionError):
                while peer.recv(4_096):
                    pass

    with worker_pages(tmp_path, workers=2) as serving:
        await asyncio.to_thread(stranger, b"GET / HTTP/1.1\r\n\r\n")
        before = await asyncio.to_thread(series, serving)
        for number in range(300):
            await asyncio.to_thread(stranger, b"protocol%d / HTTP/1.1\r\n\r\n" % number)
        assert len(await asyncio.to_thread(series, serving) - before) < 10
        refused = ("fastrpc_server_refused_total", frozenset({("reason", "stranger")}))
        assert (await asyncio.to_thread(serving.scrape))[refused] == 301


def resident_bytes(process: int) -> int:
    status = Path(f"/proc/{process}/status").read_text()
    found = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


@pytest.mark.measures
@pytest.mark.skipif(
    not os.path.exists("/proc/self/status"), reason="the memory of a process is read from /proc"
)
@pytest.mark.parametrize("kind", KINDS)
async def test_a_hundred_thousand_invented_names_take_no_memory_and_add_no_series(
    kind: str, tmp_path: Path
) -> None:
    with worker_pages(tmp_path, workers=2) as serving:
        await asyncio.to_thread(invent, serving, tmp_path, kind, 0, 20_000)
        known = await asyncio.to_thread(series, serving)
        before = sum(map(resident_bytes, serving.workers()))
        await asyncio.to_thread(invent, serving, tmp_path, kind, 20_000, 100_000)
        after = sum(map(resident_bytes, serving.workers()))
        assert len(await asyncio.to_thread(series, serving) - known) < 10
    # Names alone would be some 8 MB in each process that kept them.
    assert after - before < 2 << 20
