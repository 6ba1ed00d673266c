"""Faults around workers: the system has no room for a process, workers hang while they start or drain."""

import asyncio
import contextlib
import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastrpc import Client
from tests.support.program import WAIT_SECONDS, Program
from tests.support.running_workers import PROGRAM, Callers, Running, running

pytestmark = pytest.mark.one_loop


@contextlib.contextmanager
def without_descriptors(serving: Running) -> Iterator[None]:
    """Let the supervisor open no further file: the channel of a new process needs two."""
    process = serving.program.process_id
    before = resource.prlimit(process, resource.RLIMIT_NOFILE)
    resource.prlimit(process, resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        yield
    finally:
        resource.prlimit(process, resource.RLIMIT_NOFILE, before)


async def until_seen(path: Path) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not path.exists():
            await asyncio.sleep(0.01)


async def test_a_worker_without_room_for_its_process_is_started_later(tmp_path: Path) -> None:
    with running(tmp_path) as serving:
        callers = Callers(serving.address, clients=8)
        first = await callers.until_even()
        victim = min(first)
        serving.program.errors = ""
        with without_descriptors(serving):
            os.kill(victim, signal.SIGKILL)
            await asyncio.to_thread(
                serving.program.wait_errors,
                r"worker \d cannot start: .*Too many open files; another attempt follows",
            )
            assert (await callers.shares(200)).keys() == first - {victim}
        assert first & await callers.until_even() == first - {victim}
        await callers.close()


async def test_a_roll_without_room_for_its_processes_leaves_the_old_workers(tmp_path: Path) -> None:
    with running(tmp_path) as serving:
        callers = Callers(serving.address, clients=8)
        before = await callers.until_even()
        with without_descriptors(serving):
            serving.roll()
            await asyncio.to_thread(
                serving.program.wait_errors, "cannot start, the old workers stay: .*Too many open files"
            )
            assert (await callers.shares(200)).keys() == before
        serving.roll()
        await asyncio.to_thread(serving.program.wait_errors, "new workers serve, the old ones drain")
        assert not await callers.until_even() & before
        await callers.close()
        assert callers.failures == []


async def test_a_worker_that_hangs_in_the_last_drain_is_killed(tmp_path: Path) -> None:
    environment = {"FASTRPC_TIMEOUTS_DRAIN": "none"}
    with running(tmp_path, "--worker-timeout", "2", environment=environment) as serving:
        async with Client(serving.address) as client:
            hanging = asyncio.ensure_future(client.with_options(timeout=None).call("work.hang_in_a_drain"))
            await client.call("work.where")
            serving.program.errors = ""
            serving.program.signal(signal.SIGTERM)
            await asyncio.to_thread(serving.program.wait_errors, r"\(process \d+\) hangs")
            ended = await asyncio.to_thread(serving.program.wait)
            assert ended.code == 4
            await asyncio.gather(hanging, return_exceptions=True)


async def test_a_replaced_worker_that_hangs_in_its_drain_is_killed(tmp_path: Path) -> None:
    environment = {"FASTRPC_TIMEOUTS_DRAIN": "none"}
    with running(tmp_path, "--worker-timeout", "2", environment=environment) as serving:
        async with Client(serving.address) as client:
            hanging = asyncio.ensure_future(client.with_options(timeout=None).call("work.hang_in_a_drain"))
            await client.call("work.where")
            serving.roll()
            await asyncio.to_thread(serving.program.wait_errors, r"\(process \d+\) hangs")
            # With it gone, there is room for the next roll.
            serving.roll()
            await asyncio.to_thread(serving.program.wait_errors, "new workers serve, the old ones drain")
            await asyncio.gather(hanging, return_exceptions=True)


WAITING = """
import asyncio
import os
from contextlib import asynccontextmanager
from pathlib import Path

import fastrpc


@fastrpc.service("work")
class Work:
    @fastrpc.method
    async def where(self) -> int:
        return os.getpid()


@asynccontextmanager
async def services():
    if os.path.exists("slow"):
        Path("waits").touch()
        await asyncio.Event().wait()
    yield [Work()]
"""


@pytest.mark.parametrize("program", [PROGRAM, WAITING], ids=["blocking", "waiting"])
@pytest.mark.parametrize("is_roll", [False, True])
async def test_a_stop_does_not_wait_for_a_worker_that_never_starts(
    tmp_path: Path, program: str, is_roll: bool
) -> None:
    (tmp_path / "app.py").write_text(program)
    source = "app:services" if program is WAITING else "app:Work"
    arguments = ["-m", "fastrpc", "run", source, "-w", "2", "-a", "tcp://127.0.0.1:0"]
    with Program(arguments, tmp_path, {"FASTRPC_TIMEOUTS_DRAIN": "none"}) as started:
        started.wait_output("serving at")
        (tmp_path / "slow").touch()
        if is_roll:
            started.signal(signal.SIGHUP)
        else:
            os.kill(int(started.wait_errors(r"worker 1 is process (\d+)")[1]), signal.SIGKILL)
        await until_seen(tmp_path / "waits")
        started.signal(signal.SIGTERM)
        assert (await asyncio.to_thread(started.wait)).code == 0


async def test_a_worker_that_does_not_start_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(WAITING)
    words = ["-m", "fastrpc", "run", "app:services", "-w", "2", "-a", "tcp://127.0.0.1:0"]
    with Program([*words, "--worker-timeout", "1"], tmp_path) as started:
        started.wait_output("serving at")
        (tmp_path / "slow").touch()
        os.kill(int(started.wait_errors(r"worker 1 is process (\d+)")[1]), signal.SIGKILL)
        started.wait_errors(r"worker 1 \(process \d+\) has not started after \d s: ")
        # The second worker is told later: so there were further checks meanwhile.
        os.kill(int(started.wait_errors(r"worker 2 is process (\d+)")[1]), signal.SIGKILL)
        started.wait_errors(r"worker 2 \(process \d+\) has not started after \d s: ")
        assert started.errors.count("has not started") == 2
        (tmp_path / "slow").unlink()
        started.signal(signal.SIGTERM)
        assert (await asyncio.to_thread(started.wait)).code == 0
