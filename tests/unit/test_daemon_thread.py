"""Work in a thread for which the end of the program does not wait."""

import asyncio
import subprocess
import sys
import threading

import pytest

from fastrpc.daemon_thread import in_daemon_thread
from fastrpc.user_code import ContainedError

pytestmark = pytest.mark.one_loop


async def test_the_result_of_work_is_returned() -> None:
    assert await in_daemon_thread("of-a-test", lambda: threading.current_thread().name) == "of-a-test"


@pytest.mark.parametrize(
    ("error", "kind"),
    [(ValueError("no"), ValueError), (SystemExit(3), ContainedError)],
    ids=["plain", "exit"],
)
async def test_an_error_of_work_is_raised_as_an_error(error: BaseException, kind: type[Exception]) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(kind):
        await in_daemon_thread("of-a-test", fail)


async def test_work_goes_on_after_its_waiter_was_cancelled() -> None:
    begun, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        may_end.wait(20)
        ended.set()

    waiting = asyncio.ensure_future(in_daemon_thread("of-a-test", work))
    await asyncio.to_thread(begun.wait, 20)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    may_end.set()
    assert await asyncio.to_thread(ended.wait, 20)


def test_a_program_ends_while_its_work_hangs() -> None:
    program = """
import asyncio, threading
from fastrpc.daemon_thread import in_daemon_thread

async def main():
    begun = threading.Event()
    def work():
        begun.set()
        threading.Event().wait()
    waiting = asyncio.ensure_future(in_daemon_thread("hangs", work))
    await asyncio.to_thread(begun.wait)
    waiting.cancel()

asyncio.run(main())
"""
    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == 0
