"""Mounted applications in several workers, and in a program whose place another one takes."""

import asyncio
import re
import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.support.http_talk import HttpClient, request
from tests.support.program import Program
from tests.support.successors import started
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

PROGRAM = """
import asyncio
import os
from pathlib import Path

import fastrpc


@fastrpc.service("work")
class Work:
    @fastrpc.method
    async def where(self) -> int:
        return os.getpid()


def note(step):
    with open("steps", "a") as steps:
        steps.write(f"{step} {os.getpid()}\\n")


async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        for step in ("startup", "shutdown"):
            await receive()
            note(step)
            await send({"type": f"lifespan.{step}.complete"})
        return
    size, more = 0, True
    Path(scope["path"][1:] or "asked").touch()
    while more:
        event = await receive()
        assert event["type"] == "http.request", event
        size += len(event["body"])
        more = event["more_body"]
    while scope["path"] == "/waiting" and not os.path.exists("go"):
        await asyncio.sleep(0.02)
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": f"{os.getpid()} {size}".encode()})


http = fastrpc.HTTP(mounts={"/": "work:application"})
app = fastrpc.App([Work], config=fastrpc.ServerConfig(protocols=("native", "http"), http=http))
"""


def program(folder: Path, *more: str) -> Program:
    (folder / "work.py").write_text(PROGRAM)
    arguments = ["-m", "fastrpc", "run", "work:app", "-a", "tcp://127.0.0.1:0", "--json", *more]
    return Program(arguments, folder)


async def asked(address: str, path: str = "/") -> int:
    """Return the process that answers a request on a separate connection."""
    async with await HttpClient.to(address) as client:
        return int((await client.get(path)).body.split()[0])


async def test_each_worker_has_its_application(tmp_path: Path) -> None:
    with program(tmp_path, "-w", "4") as serving:
        first = await asyncio.to_thread(started, serving)
        address, processes = first["addresses"][0], set(first["process_ids"])
        seen: set[int] = set()
        while seen != processes:
            seen |= set(await asyncio.gather(*(asked(address) for _ in range(16))))
            assert seen <= processes
        # A roll with a request in progress, whose worker answers it.
        waiting = asyncio.ensure_future(asked(address, "/waiting"))
        await eventually((tmp_path / "waiting").exists)
        serving.signal(signal.SIGHUP)
        await asyncio.to_thread(serving.wait_errors, "new workers serve, the old ones drain")
        assert await asked(address) not in processes
        (tmp_path / "go").touch()
        assert await waiting in processes
        serving.signal(signal.SIGTERM)
        assert (await asyncio.to_thread(serving.wait)).code == 0
    steps = Counter(re.findall(r"(\w+) (\d+)", (tmp_path / "steps").read_text()))
    workers = {process for _, process in steps}
    # Each process of both generations began and ended its application once.
    assert steps == Counter((step, process) for step in ("startup", "shutdown") for process in workers)
    assert len(workers) == 8


async def test_requests_in_progress_outlast_a_takeover(tmp_path: Path) -> None:
    control = ("--control", str(tmp_path / "control"))
    with program(tmp_path, "-w", "2", *control) as old:
        first = await asyncio.to_thread(started, old)
        address, processes = first["addresses"][0], set(first["process_ids"])
        waiting = asyncio.ensure_future(asked(address, "/waiting"))
        async with await HttpClient.to(address) as sender:
            sender.send(request("POST", "/sent", b"", Content_Length="200000") + bytes(100_000))
            await eventually(lambda: all((tmp_path / name).exists() for name in ("waiting", "sent")))
            with program(tmp_path, "-w", "2", *control, "--takeover") as new:
                second = await asyncio.to_thread(started, new)
                assert await asked(address) in second["process_ids"]
                (tmp_path / "go").touch()
                assert await waiting in processes
                sender.send(bytes(100_000))
                answer = await sender.response()
                process, size = answer.body.split()
                assert (int(process) in processes, size) == (True, b"200000")
                # The drain of the old workers may begin after the answer; it ends the connection nevertheless.
                assert dict(answer.fields).get("connection", "close") == "close"
                assert (await asyncio.to_thread(old.wait)).code == 0
                assert await asked(address) in second["process_ids"]
