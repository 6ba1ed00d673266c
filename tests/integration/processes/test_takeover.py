"""A new program takes the place of one that serves, and no call fails."""

import asyncio
import os
import re
import signal
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from fastrpc import Client, SyncClient
from tests.support.admin_pages import fetch
from tests.support.forking import fork
from tests.support.passed_sockets import listening, program_with_sockets
from tests.support.program import WAIT_SECONDS, Program
from tests.support.registry_servers import EmbeddedServer
from tests.support.running_workers import PROGRAM, Callers
from tests.support.successors import Successors, started

pytestmark = pytest.mark.one_loop

TCP = ("-a", "tcp://127.0.0.1:0")

#: The end of a program whose process for the admin pages ends as it starts.
WITHOUT_MONITOR = """
import fastrpc.workers.monitoring.monitor


def run_monitor(*_):
    raise RuntimeError("no pages today")


fastrpc.workers.monitoring.monitor.run_monitor = run_monitor
"""


async def ended(program: Program) -> int:
    return (await asyncio.to_thread(program.wait)).code


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("kind", ["tcp", "unix"])
async def test_a_new_program_takes_over_and_no_call_fails(kind: str, workers: int, tmp_path: Path) -> None:
    address = "tcp://127.0.0.1:0" if kind == "tcp" else f"unix://{tmp_path}/socket"
    programs = Successors(tmp_path, ["-a", address, "-w", str(workers)])
    with programs.program() as old:
        first = await asyncio.to_thread(started, old)
        callers = Callers(first["addresses"][0], clients=8)
        await callers.shares(600)
        with programs.program("--takeover") as new:
            second = await asyncio.to_thread(started, new)
            assert second["addresses"] == first["addresses"]
            assert await ended(old) == 0
            old.wait_errors(rf"audit: takeover: process {new.process_id} serves in the place of this program")
            assert (await callers.shares(600)).keys() == set(second["process_ids"])
            with programs.program("--takeover") as newest:
                third = await asyncio.to_thread(started, newest)
                assert await ended(new) == 0
                assert (await callers.shares(600)).keys() == set(third["process_ids"])
                await callers.close()
                assert callers.failures == []
                newest.signal(signal.SIGTERM)
                assert await ended(newest) == 0
    assert not programs.control.exists()
    assert not (tmp_path / "socket").exists()


def test_only_its_user_may_connect_to_the_control_socket(tmp_path: Path) -> None:
    programs = Successors(tmp_path, TCP)
    with programs.program() as old:
        started(old)
        assert stat.S_IMODE(programs.control.stat().st_mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_program_of_another_user_gets_no_socket(tmp_path: Path) -> None:
    programs = Successors(tmp_path, TCP)
    with programs.program() as old:
        address = started(old)["addresses"][0]
        # Any user may connect, and the peer's user is checked nevertheless.
        programs.control.chmod(0o666)
        for folder in (tmp_path, *tmp_path.parents[:-2]):
            folder.chmod(folder.stat().st_mode | 0o055)
        child = fork()
        if child == 0:
            code = 1
            try:
                os.setuid(65_534)
                with socket.socket(socket.AF_UNIX) as connection:
                    connection.settimeout(WAIT_SECONDS)
                    connection.connect(str(programs.control))
                    data, descriptors, _, _ = socket.recv_fds(connection, 1000, 10)
                    code = 0 if data == b"" and descriptors == [] else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        old.wait_errors(r"takeover refused: process \d+ is of user 65534, not 0")
        with SyncClient(address) as client:
            client.with_options(timeout=20).call("work.where")


@pytest.mark.parametrize(
    ("break_it", "arguments"),
    [
        (lambda folder: (folder / "broken").touch(), ()),
        (lambda folder: None, ("-a", "tcp://203.0.113.1:80")),
        (lambda folder: (folder / "work.py").write_text("1 / 0"), ()),
    ],
    ids=["a worker cannot start", "an address is not available", "the program cannot be imported"],
)
async def test_the_old_program_serves_on_where_the_new_one_cannot_start(
    break_it: Callable[[Path], object], arguments: tuple[str, ...], tmp_path: Path
) -> None:
    programs = Successors(tmp_path, ["-a", f"unix://{tmp_path}/socket", "-w", "2"])
    with programs.program() as old:
        first = await asyncio.to_thread(started, old)
        callers = Callers(first["addresses"][0], clients=4)
        await callers.shares(100)
        break_it(tmp_path)
        with programs.program("--takeover", *arguments) as broken:
            assert await ended(broken) == 3
        (tmp_path / "broken").unlink(missing_ok=True)
        (tmp_path / "work.py").write_text(PROGRAM)
        assert (await callers.shares(400)).keys() == set(first["process_ids"])
        with programs.program("--takeover") as new:
            second = await asyncio.to_thread(started, new)
            assert await ended(old) == 0
            assert (await callers.shares(400)).keys() == set(second["process_ids"])
            await callers.close()
        assert callers.failures == []


async def test_a_new_program_killed_during_its_start_leaves_the_old_one_running(tmp_path: Path) -> None:
    programs = Successors(tmp_path, ["-a", f"unix://{tmp_path}/socket"])
    with programs.program() as old:
        first = await asyncio.to_thread(started, old)
        (tmp_path / "slow").touch()
        with programs.program("--takeover") as new:
            await asyncio.to_thread(old.wait_errors, r"takeover: process \d+ has the listening sockets")
            # A second program learns that it comes too late.
            with programs.program("--takeover") as another:
                text = rf"(?s)refuses: process {new.process_id} is taking its place already"
                await asyncio.to_thread(another.wait_errors, text)
                assert await ended(another) == 3
            new.signal(signal.SIGKILL)
            await asyncio.to_thread(
                old.wait_errors, "ended before it served, this program continues to serve"
            )
        (tmp_path / "slow").unlink()
        async with Client(first["addresses"][0]) as client:
            assert await client.with_options(timeout=20).call("work.where") in first["process_ids"]
            with programs.program("--takeover") as newest:
                await asyncio.to_thread(started, newest)
                assert await ended(old) == 0
                await client.with_options(timeout=20).call("work.where")


async def test_a_new_program_ends_if_the_old_one_is_stopped_meanwhile(tmp_path: Path) -> None:
    programs = Successors(tmp_path, ["-a", f"unix://{tmp_path}/socket"])
    with programs.program() as old:
        await asyncio.to_thread(started, old)
        (tmp_path / "slow").touch()
        with programs.program("--takeover") as new:
            await asyncio.to_thread(old.wait_errors, r"takeover: process \d+ has the listening sockets")
            old.signal(signal.SIGTERM)
            assert await ended(old) == 0
            (tmp_path / "slow").unlink()
            await asyncio.to_thread(new.wait_errors, r"(?s)refuses: it is stopping")
            assert await ended(new) == 3


async def test_a_new_program_continues_where_the_old_one_is_killed_meanwhile(tmp_path: Path) -> None:
    programs = Successors(tmp_path, ["-a", f"unix://{tmp_path}/socket"])
    with programs.program() as old:
        first = await asyncio.to_thread(started, old)
        (tmp_path / "slow").touch()
        with programs.program("--takeover") as new:
            await asyncio.to_thread(old.wait_errors, r"takeover: process \d+ has the listening sockets")
            old.signal(signal.SIGKILL)
            (tmp_path / "slow").unlink()
            second = await asyncio.to_thread(started, new)
            async with Client(first["addresses"][0]) as client:
                assert await client.with_options(timeout=20).call("work.where") in second["process_ids"]
            new.signal(signal.SIGTERM)
            assert await ended(new) == 0
        assert not (tmp_path / "socket").exists()


async def test_addresses_that_the_new_program_does_not_want_end_with_the_old_one(tmp_path: Path) -> None:
    programs = Successors(tmp_path, [])
    kept, left = f"unix://{tmp_path}/kept", f"unix://{tmp_path}/left"
    with programs.program("-a", kept, "-a", left) as old:
        await asyncio.to_thread(started, old)
        with programs.program("--takeover", "-a", kept, "-a", f"unix://{tmp_path}/fresh") as new:
            await asyncio.to_thread(started, new)
            assert await ended(old) == 0
            assert sorted(path.name for path in tmp_path.iterdir() if path.is_socket()) == [
                "control",
                "fresh",
                "kept",
            ]
            async with Client(kept) as client:
                await client.with_options(timeout=20).call("work.where")


async def test_the_admin_pages_move_to_the_new_program(tmp_path: Path) -> None:
    programs = Successors(tmp_path, TCP)
    environment = {"FASTRPC_ADMIN_ADDRESS": "tcp://127.0.0.1:0"}
    with programs.program(environment=environment) as old:
        first = await asyncio.to_thread(started, old)
        port = int(old.wait_errors(r"admin pages at tcp://127.0.0.1:(\d+)")[1])
        async with Client(first["addresses"][0]) as client:
            waiting = asyncio.ensure_future(client.with_options(timeout=30).call("work.wait_for", "go"))
            async with asyncio.timeout(WAIT_SECONDS):
                while not (tmp_path / "waiting").exists():
                    await asyncio.sleep(0.01)
            with programs.program("--takeover", environment=environment) as new:
                await asyncio.to_thread(started, new)
                assert re.search(rf"admin pages at tcp://127.0.0.1:{port}\n", new.errors)
                await asyncio.to_thread(old.wait_errors, "the drain began")
                # The old program still drains; none of its pages is shown.
                for _ in range(20):
                    found = await asyncio.to_thread(fetch, port, "/readyz")
                    assert found.status == 200
                (tmp_path / "go").touch()
                assert await waiting in first["process_ids"]
                assert await ended(old) == 0


async def test_the_registry_keeps_the_records_of_the_new_program(tmp_path: Path) -> None:
    registry = EmbeddedServer(tmp_path)
    with registry.running():
        programs = Successors(tmp_path, [*TCP, "-w", "2", "--registry", registry.url])
        with programs.program() as old:
            first = await asyncio.to_thread(started, old)
            callers = Callers("work", clients=4, registry=registry.url)
            await callers.shares(200)
            with programs.program("--takeover") as new:
                second = await asyncio.to_thread(started, new)
                assert await ended(old) == 0
                assert await asyncio.to_thread(registry.listed, "work") == set(first["addresses"])
                callers.more(4)
                assert (await callers.shares(400)).keys() == set(second["process_ids"])
                await callers.close()
                assert callers.failures == []
                new.signal(signal.SIGTERM)
                assert await ended(new) == 0
            assert await asyncio.to_thread(registry.listed, "work") == set()


async def test_a_new_program_that_cannot_start_registers_nothing(tmp_path: Path) -> None:
    registry = EmbeddedServer(tmp_path)
    with registry.running():
        programs = Successors(tmp_path, [*TCP, "--registry", registry.url])
        with programs.program() as old:
            first = await asyncio.to_thread(started, old)
            (tmp_path / "work.py").write_text(PROGRAM + WITHOUT_MONITOR)
            pages = {"FASTRPC_ADMIN_ADDRESS": "tcp://127.0.0.1:0"}
            with programs.program("--takeover", environment=pages) as broken:
                assert await ended(broken) != 0
                assert "registered at" not in broken.errors
            assert await asyncio.to_thread(registry.listed, "work") == set(first["addresses"])


def test_the_service_manager_hears_of_the_new_main_process(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as reading:
        reading.bind(str(tmp_path / "notify"))
        reading.settimeout(WAIT_SECONDS)
        programs = Successors(tmp_path, TCP)
        with programs.program(environment={"NOTIFY_SOCKET": str(tmp_path / "notify")}) as old:
            assert reading.recv(1000).startswith(b"READY=1")
            # It is started by somebody else, and learns of the service manager from the old one.
            with programs.program("--takeover") as new:
                assert reading.recv(1000) == b"MAINPID=%d" % new.process_id
                assert reading.recv(1000) == b"READY=1\nMAINPID=%d" % new.process_id
                assert old.wait().code == 0
                new.signal(signal.SIGTERM)
                assert reading.recv(1000) == b"STOPPING=1"
                assert new.wait().code == 0


def test_sockets_of_the_service_manager_are_taken_over(tmp_path: Path) -> None:
    (tmp_path / "work.py").write_text(PROGRAM)
    with listening(tmp_path) as bound, listening() as admin:
        arguments = ["run", "work:Work", "--control", "control", "-a", "fd://rpc"]
        environment = {"FASTRPC_ADMIN_ADDRESS": "fd://pages"}
        sockets = [("rpc", bound), ("pages", admin)]
        with program_with_sockets(sockets, arguments, tmp_path, environment) as old:
            old.wait_output(rf"serving at unix://{tmp_path}/socket")
            with Program(["-m", "fastrpc", *arguments, "--takeover"], tmp_path, environment) as new:
                new.wait_output(rf"serving at unix://{tmp_path}/socket")
                assert old.wait().code == 0
                with SyncClient(f"unix://{tmp_path}/socket") as client:
                    client.with_options(timeout=20).call("work.where")
                assert fetch(admin.getsockname()[1], "/readyz").status == 200
                new.signal(signal.SIGTERM)
                assert new.wait().code == 0
        assert (tmp_path / "socket").exists()


def test_a_takeover_needs_a_program_to_replace(tmp_path: Path) -> None:
    programs = Successors(tmp_path, TCP)
    with programs.program("--takeover") as alone:
        assert alone.wait().code == 3
        assert "no program listens there; start this one without --takeover" in " ".join(alone.errors.split())
    with Program(["-m", "fastrpc", "run", "work:Work", "--takeover"], tmp_path) as nowhere:
        assert nowhere.wait().code == 2
        assert "--takeover is given without --control" in " ".join(nowhere.errors.split())


def test_a_control_socket_in_use_is_refused(tmp_path: Path) -> None:
    programs = Successors(tmp_path, TCP)
    with programs.program() as old:
        started(old)
        with programs.program() as another:
            assert another.wait().code == 3
            assert "add --takeover to take its place" in " ".join(another.errors.split())
        # Where the second program is slow, it has the sockets for a moment.
        old.wait_errors(r"process \d+ connected at unix://\S+ and left|ended before it served")
        old.signal(signal.SIGTERM)
        assert "Broken pipe" not in old.wait().errors
