"""A service as process 1, as the image starts it: signals reach it, and it leaves no zombies."""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fastrpc import Client
from tests.support.program import Program
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

#: A namespace of processes whose first one is the program; it needs rights that not every machine gives.
NAMESPACE = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]

#: The program starts a shell that leaves an orphan, which process 1 adopts.
APP = """
import asyncio
import contextlib
import os
import pathlib

import fastrpc

opened = os.pipe()


@fastrpc.service("orphanage")
class Orphanage:
    @fastrpc.method
    async def leave(self) -> None:
        process = await asyncio.create_subprocess_exec("sh", "-c", "(sleep 0.05; exit 3) & exit 0")
        await process.wait()

    @fastrpc.method
    async def zombies(self) -> int:
        count = 0
        for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
            # A process may end between the list and the look at it.
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                count += path.read_text().rpartition(")")[2].split()[0] == "Z"
        return count


app = fastrpc.App([Orphanage])
"""

#: The program has a child before it serves.
PARENT = """
import subprocess

import fastrpc

child = subprocess.Popen(["sleep", "60"])


@fastrpc.service("parent")
class Parent:
    @fastrpc.method
    async def poll(self) -> int | None:
        return child.poll()

    @fastrpc.method
    def kill(self) -> int:
        child.kill()
        return child.wait()


app = fastrpc.App([Parent])
"""

#: What follows is run in place of Python.
LAUNCHER = """
import os
import sys

os.execvp(sys.argv[1], sys.argv[1:])
"""


def can_be_process_1() -> bool:
    if shutil.which("unshare") is None:
        return False
    done = subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False)
    return done.returncode == 0


in_namespace = pytest.mark.skipif(
    not can_be_process_1(), reason="this machine gives no namespace of processes"
)


@in_namespace
@pytest.mark.parametrize("workers", [1, 2])
async def test_process_1_drains_on_sigterm_and_reaps_zombies(workers: int, tmp_path: Path) -> None:
    (tmp_path / "orphans.py").write_text(APP)
    (tmp_path / "launcher.py").write_text(LAUNCHER)
    command = [sys.executable, "-m", "fastrpc", "run", "orphans:app"]
    options = ["--address", "tcp://127.0.0.1:0", "--workers", str(workers)]
    with Program(["launcher.py", *NAMESPACE, *command, *options], tmp_path) as program:
        target = program.wait_output(r"(tcp://127\.0\.0\.1:\d+)")[1]
        children = Path(f"/proc/{program.process_id}/task/{program.process_id}/children")
        (first,) = re.findall(r"\d+", children.read_text())
        async with Client(target) as client:
            for _ in range(5):
                await client.call("orphanage.leave")
            if workers == 1:
                # Only the service holds its open files.
                kept = Path(f"/proc/{first}/fd")
                await eventually(lambda: {path.name for path in kept.iterdir()} <= {"0", "1", "2"})
            async with asyncio.timeout(20):
                while await client.call("orphanage.zombies"):
                    await asyncio.sleep(0.01)
        os.kill(int(first), signal.SIGTERM)
        ended = await asyncio.to_thread(program.wait)
    assert ended.code == 0


@in_namespace
async def test_a_program_keeps_children_that_it_started_before_serving(tmp_path: Path) -> None:
    (tmp_path / "parents.py").write_text(PARENT)
    (tmp_path / "launcher.py").write_text(LAUNCHER)
    command = [sys.executable, "-m", "fastrpc", "run", "parents:app", "--address", "tcp://127.0.0.1:0"]
    with Program(["launcher.py", *NAMESPACE, *command], tmp_path) as program:
        target = program.wait_output(r"(tcp://127\.0\.0\.1:\d+)")[1]
        async with Client(target) as client:
            assert await client.call("parent.poll") is None
            assert await client.call("parent.kill") == -signal.SIGKILL
        children = Path(f"/proc/{program.process_id}/task/{program.process_id}/children")
        (first,) = re.findall(r"\d+", children.read_text())
        os.kill(int(first), signal.SIGTERM)
        ended = await asyncio.to_thread(program.wait)
    assert ended.code == 0
