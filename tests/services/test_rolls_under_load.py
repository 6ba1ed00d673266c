"""Workers that are rolled, and programs that take each other's place, under 2,000 calls/s that must not run twice."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from fastrpc import Client
from tests.conftest import Scale
from tests.support.noted import Noted
from tests.support.noted_calls import NotedCalls
from tests.support.open_loop import OpenLoop
from tests.support.program import WAIT_SECONDS, Program
from tests.support.source_tree import ROOT

pytestmark = [pytest.mark.measures, pytest.mark.one_loop]

RATE = 2_000

PROGRAM = """
from pathlib import Path

import fastrpc
from tests.support.ledger import Journal
from tests.support.noted import Noted

app = fastrpc.App([Noted(Journal(Path("journal")))])
"""

#: None of them is idempotent; calls of the second are under way whenever a worker drains.
METHODS = (Noted.once, Noted.lasting)


class Programs:
    """One program after the other at one control socket, in one folder."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        (folder / "rolled.py").write_text(PROGRAM)
        self._folder = folder
        self._stack = stack
        self.running = self._start()
        self.address = self.running.wait_output(r"serving at (\S+) with 4 workers")[1]

    def _start(self, *more: str) -> Program:
        arguments = ["-m", "fastrpc", "run", "rolled:app", "-w", "4", "-a", "tcp://127.0.0.1:0"]
        arguments += ["--control", "control", *more]
        return self._stack.enter_context(Program(arguments, self._folder, {"PYTHONPATH": str(ROOT)}))

    def roll(self) -> None:
        self.running.errors = ""
        self.running.signal(signal.SIGHUP)
        self.running.wait_errors("new workers serve, the old ones drain")

    def replace(self) -> None:
        old, self.running = self.running, self._start("--takeover")
        self.running.wait_output(r"serving at \S+ with 4 workers")
        assert old.wait().code == 0, old.errors


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Programs]:
    with ExitStack() as stack:
        yield Programs(tmp_path, stack)


@pytest.mark.parametrize("way", ["roll", "replace"])
async def test_new_workers_fail_no_call_and_run_no_call_twice(
    way: str, programs: Programs, tmp_path: Path, scale: Scale
) -> None:
    async with Client(programs.address) as client:
        await client.ready(timeout=WAIT_SECONDS)
        calls = NotedCalls(client, METHODS)
        async with OpenLoop(RATE, calls):
            for _ in range(scale(3)):
                await asyncio.to_thread(getattr(programs, way))
                served = len(calls.ended)
                async with asyncio.timeout(WAIT_SECONDS):
                    while len(calls.ended) < served + RATE:
                        await asyncio.sleep(0.05)
    assert calls.failures() == []
    assert calls.problems(tmp_path / "journal") == []
