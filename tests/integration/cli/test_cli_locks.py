"""`fastrpc lock`, `elect` and `leader` from the outside."""

import asyncio
import contextlib
import json
import os
import pty
import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
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
    words = [sys.executable, "-m", "fastrpc", "lock", f"sqlite://{tmp_path}/store", "a", "--", "touch", "ran"]
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
                        # Leaves the processor to the program.
                        await asyncio.sleep(0.02)
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
    """A named pipe in which a command writes its progress: the pipe ends when no process has it open."""
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


async def test_lost_lock_ends_the_processes_that_its_command_started(pipe: Path) -> None:
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


#: Makes standard input the terminal of its session, and standard output as well if that is asked for.
AT_TERMINAL = """
import fcntl, os, runpy, sys, termios

_, output, *sys.argv = sys.argv
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
if output == "shown":
    os.dup2(0, 1)
if sys.argv[0] != "fastrpc":
    os.execvp(sys.argv[0], sys.argv)
runpy.run_module("fastrpc", run_name="__main__", alter_sys=True)
"""
FASTRPC = f"{sys.executable} -m fastrpc"


@contextlib.contextmanager
def at_terminal(folder: Path, *words: str, output: str = "shown") -> Iterator[tuple[Program, int]]:
    """Run a program that leads the session of a terminal; yield it and the descriptor of keys and screen."""
    screen, terminal = pty.openpty()
    try:
        with Program(["-c", AT_TERMINAL, output, *words], folder, stdin=terminal) as program:
            os.close(terminal)
            yield program, screen
    finally:
        # Whatever still runs in the foreground is hung up.
        os.close(screen)


@contextlib.contextmanager
def told_by(pipe: Path) -> Iterator[int]:
    """Open a pipe with a name without waiting for its other end."""
    descriptor = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def read_until(descriptor: int, wanted: str | None) -> str:
    """Read up to some text, or to the end of all that write."""
    found, until = b"", time.monotonic() + WAIT_SECONDS
    while wanted is None or wanted.encode() not in found:
        ready, _, _ = select.select([descriptor], [], [], max(0.0, until - time.monotonic()))
        assert ready, f"no {'end' if wanted is None else repr(wanted)} after {found!r}"
        block = os.read(descriptor, 4_096)
        if not block:
            assert wanted is None, f"no {wanted!r} in {found!r}"
            break
        found += block
    return found.decode()


def waiting_below(pipe: Path) -> list[str]:
    """Return a command whose shell starts another program, which writes its start and its end, and ignores hang-ups."""
    code = "import signal; print(1, flush=True); signal.alarm(60); signal.pause()"
    return ["sh", "-c", f"trap '' HUP; {sys.executable} -S -c '{code}' > {pipe} & wait"]


def test_signal_at_a_terminal_ends_the_processes_that_its_command_started(tmp_path: Path, pipe: Path) -> None:
    words = ["fastrpc", "lock", f"sqlite://{tmp_path}/store", "a", "--", *waiting_below(pipe)]
    with told_by(pipe) as told, at_terminal(tmp_path, *words) as (program, _):
        read_until(told, "1\n")
        program.signal(signal.SIGTERM)
        assert read_until(told, None) == ""
        assert program.wait().code == 128 + signal.SIGTERM


async def test_lost_lock_at_a_terminal_ends_the_processes_that_its_command_started(
    tmp_path: Path, pipe: Path
) -> None:
    async with StoreServer("tcp://127.0.0.1:0") as server, open_store(server.url) as store:
        words = ["fastrpc", "lock", server.url, "a", "--ttl", "1.5", "--", *waiting_below(pipe)]
        with told_by(pipe) as told, at_terminal(tmp_path, *words) as (program, _):
            await asyncio.to_thread(read_until, told, "1\n")
            (item,) = await store.list("locks/a/")
            assert item.lease is not None
            await store.backend.revoke(item.lease)
            assert await asyncio.to_thread(read_until, told, None) == ""
            ended = await asyncio.to_thread(program.wait)
    assert ended.code == 1
    assert "locks/a was lost" in ended.errors


@pytest.mark.parametrize("output", ["shown", "piped"])
def test_command_reads_from_the_terminal(tmp_path: Path, pipe: Path, output: str) -> None:
    words = [
        "fastrpc",
        "lock",
        f"sqlite://{tmp_path}/store",
        "a",
        "--",
        "sh",
        "-c",
        f"read word; echo $word > {pipe}",
    ]
    with told_by(pipe) as told, at_terminal(tmp_path, *words, output=output) as (program, keys):
        os.write(keys, b"word\n")
        assert read_until(told, "\n") == "word\n"
        assert program.wait().code == 0


@pytest.mark.parametrize("output", ["shown", "piped"])
@pytest.mark.parametrize(
    ("first", "key", "code"),
    [
        ("", b"\x03", 128 + signal.SIGINT),
        ("trap 'exit 7' INT; ", b"\x03", 7),
        ("ulimit -c 0; ", b"\x1c", 128 + signal.SIGQUIT),
    ],
)
def test_key_that_interrupts_ends_the_command(
    tmp_path: Path, pipe: Path, output: str, first: str, key: bytes, code: int
) -> None:
    script = f"{first}echo 1 > {pipe}; read word"
    words = ["fastrpc", "lock", f"sqlite://{tmp_path}/store", "a", "--", "sh", "-c", script]
    with told_by(pipe) as told, at_terminal(tmp_path, *words, output=output) as (program, keys):
        read_until(told, "1\n")
        os.write(keys, key)
        assert program.wait().code == code


def test_interrupt_at_a_terminal_ends_the_script_around_the_command(tmp_path: Path, pipe: Path) -> None:
    script = f"{FASTRPC} lock sqlite://{tmp_path}/store a -- sh -c 'echo 1 > {pipe}; read word'; echo goes on"
    with told_by(pipe) as told, at_terminal(tmp_path, "sh", "-c", script) as (program, keys):
        read_until(told, "1\n")
        os.write(keys, b"\x03")
        assert program.wait().code == -signal.SIGINT


def test_terminal_is_given_back_after_the_command(tmp_path: Path, pipe: Path) -> None:
    script = f"{FASTRPC} lock sqlite://{tmp_path}/store a -- true; read word; echo $word > {pipe}"
    with told_by(pipe) as told, at_terminal(tmp_path, "sh", "-c", script) as (program, keys):
        os.write(keys, b"word\n")
        assert read_until(told, "\n") == "word\n"
        assert program.wait().code == 0


def test_command_that_a_key_stops_continues_as_a_job_of_its_shell(tmp_path: Path, pipe: Path) -> None:
    job = f"exec 3> {pipe}; echo 1 >&3; read word; echo $word >&3; exit 7"
    script = f'set -m; {FASTRPC} lock sqlite://{tmp_path}/store a -- sh -c "{job}"; echo stopped; fg; exit $?'
    script = script.replace("$word", "\\$word")
    with told_by(pipe) as told, at_terminal(tmp_path, "sh", "-c", script) as (program, keys):
        read_until(told, "1\n")
        os.write(keys, b"\x1a")
        read_until(keys, "stopped")
        os.write(keys, b"word\n")
        assert read_until(told, "\n") == "word\n"
        assert program.wait().code == 7


@pytest.mark.parametrize("reader", ["", "| cat"])
async def test_stopped_command_whose_lock_is_lost_does_not_continue(
    tmp_path: Path, pipe: Path, reader: str
) -> None:
    for name in ("work", "go"):
        os.mkfifo(tmp_path / name)
    work = os.open(tmp_path / "work", os.O_RDWR)
    job = f"trap : TERM; exec 3> {pipe}; echo 1 >&3; read word < work; echo goes on >&3"
    async with StoreServer("tcp://127.0.0.1:0") as server, open_store(server.url) as store:
        elected = f"{FASTRPC} elect {server.url} a --ttl 1.5 -- sh -c '{job}' {reader}"
        script = f"set -m; {elected}; echo stopped; read word < go; fg; exit $?"
        with told_by(pipe) as told, at_terminal(tmp_path, "sh", "-c", script) as (program, keys):
            await asyncio.to_thread(read_until, told, "1\n")
            os.write(keys, b"\x1a")
            await asyncio.to_thread(read_until, keys, "stopped")
            async with asyncio.timeout(WAIT_SECONDS), contextlib.aclosing(store.watch_leader("a")) as leaders:
                async for leader in leaders:
                    if leader is None:
                        break
            os.write(work, b"word\n")
            (tmp_path / "go").write_text("go\n")
            assert await asyncio.to_thread(read_until, told, None) == ""
            ended = await asyncio.to_thread(program.wait)
    os.close(work)
    assert ended.code == (0 if reader else 1)
    assert "leaders/a was lost" in ended.errors


def test_command_in_the_background_leaves_the_keys_to_its_shell(tmp_path: Path, pipe: Path) -> None:
    os.mkfifo(tmp_path / "go")
    job = f"exec 3> {pipe}; echo 1 >&3; read word < go; echo $word >&3"
    locked = f"{FASTRPC} lock sqlite://{tmp_path}/store a -- sh -c '{job}'"
    script = f"set -m; {locked} & read line; echo $line > go; wait $!"
    with told_by(pipe) as told, at_terminal(tmp_path, "sh", "-c", script) as (program, keys):
        read_until(told, "1\n")
        os.write(keys, b"word\n")
        assert read_until(told, "\n") == "word\n"
        assert program.wait().code == 0


def test_pager_of_the_output_reads_keys_while_the_command_runs(tmp_path: Path, pipe: Path) -> None:
    os.mkfifo(tmp_path / "go")
    pager = f"read line; read key < /dev/tty; echo $line $key > {pipe}; echo > go"
    script = (
        f"{FASTRPC} lock sqlite://{tmp_path}/store a -- sh -c 'echo line; read word < go' | sh -c '{pager}'"
    )
    with told_by(pipe) as told, at_terminal(tmp_path, "sh", "-c", script) as (program, keys):
        os.write(keys, b"key\n")
        assert read_until(told, "\n") == "line key\n"
        assert program.wait().code == 0
