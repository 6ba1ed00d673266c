"""What was left open does not keep the interpreter from ending."""

import subprocess
import sys

import pytest

FORGOTTEN_POOL = """
import asyncio
from fastrpc.server.workers import Workers

class Job:
    expired = False
    def __init__(self): self.ended = asyncio.Event()
    def run(self): print("ran", flush=True)
    def refuse(self, reason): raise AssertionError(reason)
    def done(self): self.ended.set()

async def main():
    global workers
    workers = Workers(threads=4, queue_length=10, queue_age=1, loop=asyncio.get_running_loop())
    job = Job()
    workers.submit(job)
    await job.ended.wait()

asyncio.run(main())
"""


@pytest.mark.parametrize("end", ["", "raise SystemExit(0)", "import sys; sys.exit(0)"])
def test_a_pool_that_nobody_closed_ends_with_the_interpreter(end: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", FORGOTTEN_POOL + end], capture_output=True, text=True, timeout=8, check=False
    )
    assert (ended.stdout, ended.stderr, ended.returncode) == ("ran\n", "", 0)
