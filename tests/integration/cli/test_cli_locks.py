"""`fastrpc lock`, `elect` and `leader` from the outside."""

import asyncio
import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fastrpc.cli import locking
from fastrpc.cli.locking import run_under
from fastrpc.coordination import StoreServer, open_store
from fastrpc.errors import LockLostError
from tests.support.program import WAIT_SECONDS, Finished, Program, run_program

pytestmark = pytest.mark.one_loop


def command(folder: Path, *arguments: str) -> Finished:
    return run_program(["-m", "fastrpc", *arguments], folder)


def test_lock_runs_its_command_with_a_token(tmp_path: Path) -> None:
    store = f"sqlite://{tmp_path}/store"
    tokens = []
    for _ in range(2):
        ended = command(
            tmp_path, "lock", store, "jobs/nightly", "--", "sh", "-c", "echo $FASTRPC_LOCK_TOKEN -x; exit 3"
        )
        assert ended.code == 3
        tokens.append(int(ended.output.split()[0]))
    assert 0 < tokens[0] < tokens[1]
    missing = command(tmp_path, "lock", store, "jobs/nightly", "--", "./no-such-program")
    assert missing.code == 2
    assert "'./no-such-program' is not a program" in missing.errors
    assert command(tmp_path, "lock", "nosuch://a", "jobs", "--", "true").code == 2
    assert command(tmp_path, "lock", store, "jobs//a", "--", "true").code == 2


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_standard_stream_ends_no_command(tmp_path: Path, closed: str) -> None:
    words = [sys.executable, "-m", "fastrpc", "lock", "memory://commands", "a", "--", "touch", "ran"]
    ended = subprocess.run(["sh", "-c", f"exec {shlex.join(words)} {closed}"], cwd=tmp_path, check=False)
    assert (ended.returncode, (tmp_path / "ran").exists()) == (0, True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("verb", ["lock", "elect"])
async def test_signal_ends_a_wait_and_leaves_the_queue(
    tmp_path: Path, verb: str, number: signal.Signals
) -> None:
    async with StoreServer("tcp://127.0.0.1:0") as server, open_store(server.url) as store:
        read = store.holder if verb == "lock" else store.leader
        async with store.lock("shop") if verb == "lock" else store.lead("shop", "a"):
            words = ["-m", "fastrpc", verb, server.url, "shop", "--ttl", "600", "--", "touch", "ran"]
            with Program(words, tmp_path) as program:
                async with asyncio.timeout(WAIT_SECONDS):
                    while (await read("shop")).waiting != 1:
                        pass
                program.signal(number)
                ended = await asyncio.to_thread(program.wait)
            assert (ended.code, (await read("shop")).waiting) == (128 + number, 0)
    assert not (tmp_path / "ran").exists()


async def test_leader_is_shown_while_it_leads(tmp_path: Path) -> None:
    async with (
        StoreServer("tcp://127.0.0.1:0") as server,
        open_store(server.url) as store,
        store.lead("shop", "tcp://a:1") as lock,
    ):
        found = await asyncio.to_thread(command, tmp_path, "leader", server.url, "shop")
        assert (found.code, found.output) == (0, "tcp://a:1\n")
        found = await asyncio.to_thread(command, tmp_path, "leader", server.url, "shop", "--json")
        shown = {"value": "tcp://a:1", "token": lock.token, "waiting": 0}
        assert (found.code, json.loads(found.output)) == (0, shown)


def test_leader_is_not_known_after_its_command(tmp_path: Path) -> None:
    store = f"sqlite://{tmp_path}/store"
    assert command(tmp_path, "elect", store, "shop", "--value", "tcp://a:1", "--", "true").code == 0
    without = command(tmp_path, "leader", store, "shop")
    assert (without.code, without.output) == (1, "")
    assert "shop has no leader" in without.errors
    found = command(tmp_path, "leader", store, "shop", "--json")
    assert (found.code, json.loads(found.output)) == (1, None)


async def test_command_gets_the_token_and_gives_its_exit_code() -> None:
    async with open_store("memory://commands") as store, store.lock("a") as lock:
        check = f"import os, sys; sys.exit(7 if os.environ['FASTRPC_LOCK_TOKEN'] == '{lock.token}' else 1)"
        assert await run_under(lock, [sys.executable, "-S", "-c", check]) == 7
        assert await run_under(lock, ["sh", "-c", "kill -9 $$"]) == 128 + 9


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """A pipe with a name, for a command to tell what it does: its end is that of all who have it open."""
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


async def test_lost_lock_ends_what_its_command_started(pipe: Path) -> None:
    waiting = f"{sys.executable} -S -c 'import signal; print(1, flush=True); signal.pause()'"
    async with open_store("memory://commands") as store:
        with pytest.raises(LockLostError):
            async with store.lock("a", ttl=400) as lock:
                running = asyncio.ensure_future(run_under(lock, ["sh", "-c", f"{waiting} > {pipe} & wait"]))
                with await asyncio.to_thread(pipe.open) as told:
                    assert await asyncio.to_thread(told.readline) == "1\n"
                    lock.lease.lose("by the test")
                    with contextlib.suppress(asyncio.CancelledError):
                        await running
                    assert await asyncio.to_thread(told.read) == ""


@pytest.mark.parametrize(
    ("on_term", "noted"), [("note", ["started", "TERM"]), ("signal.SIG_IGN", ["started"])]
)
async def test_lost_lock_ends_the_command(
    pipe: Path, on_term: str, noted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if on_term != "note":
        # No time between TERM and KILL.
        monkeypatch.setattr(locking, "_KILL_SHARE", 0.0)
    script = (
        "import signal, sys\n"
        f"log = open({str(pipe)!r}, 'w', buffering=1)\n"
        "def note(*_):\n"
        "    log.write('TERM')\n"
        "    sys.exit()\n"
        f"signal.signal(signal.SIGTERM, {on_term})\n"
        "log.write('started\\n')\n"
        "while True:\n"
        "    signal.pause()\n"
    )
    async with open_store("memory://commands") as store:
        with pytest.raises(LockLostError):
            async with store.lock("a", ttl=400) as lock:
                running = asyncio.ensure_future(run_under(lock, [sys.executable, "-S", "-c", script]))
                with await asyncio.to_thread(pipe.open) as told:
                    found = [await asyncio.to_thread(told.readline)]
                    lock.lease.lose("by the test")
                    with contextlib.suppress(asyncio.CancelledError):
                        await running
                    found.append(await asyncio.to_thread(told.read))
        assert running.cancelled()
    assert "".join(found).split() == noted
