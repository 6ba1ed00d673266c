"""The messages of a server to systemd, or to any program with the same protocol."""

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastrpc import Client
from fastrpc.workers.systemd import Systemd
from tests.support.program import WAIT_SECONDS, Program
from tests.support.running_workers import PROGRAM, running

pytestmark = pytest.mark.one_loop


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    """The messages that systemd would read."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as reading:
        reading.bind(str(tmp_path / "notify"))
        reading.settimeout(WAIT_SECONDS)
        yield reading


def test_the_service_manager_hears_of_the_life_of_the_server(systemd: socket.socket, tmp_path: Path) -> None:
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"}
    with running(tmp_path, environment=environment) as serving:
        told = systemd.recv(1000).decode().split("\n")
        assert told == ["READY=1", f"MAINPID={serving.program.process_id}"]
        assert systemd.recv(1000) == b"WATCHDOG=1"
        serving.roll()
        heard: list[str] = []
        while not heard or not heard[-1].startswith("READY=1"):
            heard.append(systemd.recv(1000).decode())
        assert [line.partition("\n")[0] for line in heard if line != "WATCHDOG=1"] == [
            "RELOADING=1",
            "READY=1",
        ]
        serving.program.signal(signal.SIGTERM)
        while systemd.recv(1000) != b"STOPPING=1":
            pass
        assert serving.program.wait().code == 0


def test_the_service_manager_hears_of_one_process(systemd: socket.socket, tmp_path: Path) -> None:
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"}
    (tmp_path / "work.py").write_text(PROGRAM)
    arguments = ["-m", "fastrpc", "run", "work:Work", "-a", "tcp://127.0.0.1:0"]
    with Program(arguments, tmp_path, environment) as program:
        assert systemd.recv(1000).decode().split("\n") == ["READY=1", f"MAINPID={program.process_id}"]
        assert systemd.recv(1000) == systemd.recv(1000) == b"WATCHDOG=1"
        program.signal(signal.SIGHUP)
        for told in (b"RELOADING=1\nMONOTONIC_USEC=", b"READY=1"):
            while not systemd.recv(1000).startswith(told):
                pass
        program.signal(signal.SIGTERM)
        while systemd.recv(1000) != b"STOPPING=1":
            pass
        assert program.wait().code == 0


async def test_the_service_manager_hears_of_the_life_of_a_server_that_drains(
    systemd: socket.socket, tmp_path: Path
) -> None:
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"}
    with running(tmp_path, environment=environment) as serving:
        async with Client(serving.address) as client:
            waiting = asyncio.ensure_future(client.call("work.wait_for", "go"))
            await until(systemd, b"WATCHDOG=1")
            async with asyncio.timeout(WAIT_SECONDS):
                while not (tmp_path / "waiting").exists():
                    await asyncio.sleep(0.01)
            serving.program.signal(signal.SIGTERM)
            await until(systemd, b"STOPPING=1")
            await until(systemd, b"WATCHDOG=1")
            await until(systemd, b"WATCHDOG=1")
            (tmp_path / "go").touch()
            await waiting
        assert (await asyncio.to_thread(serving.program.wait)).code == 0


async def until(systemd: socket.socket, told: bytes) -> None:
    while await asyncio.to_thread(systemd.recv, 1000) != told:
        pass


async def test_the_replacement_of_a_worker_with_enough_calls_is_no_reload(
    systemd: socket.socket, tmp_path: Path
) -> None:
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
    with running(tmp_path, "--max-calls", "100", environment=environment) as serving:
        assert systemd.recv(1000).startswith(b"READY=1")
        async with Client(serving.address) as client:
            for _ in range(200):
                await client.call("work.where")
        await asyncio.to_thread(serving.program.wait_errors, "new workers serve, the old ones drain")
        serving.program.signal(signal.SIGTERM)
        assert systemd.recv(1000) == b"STOPPING=1"
        assert (await asyncio.to_thread(serving.program.wait)).code == 0


def test_a_state_waits_for_a_busy_service_manager(
    systemd: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Longer than a machine stalls.
    monkeypatch.setattr("fastrpc.workers.systemd.STATE_SECONDS", WAIT_SECONDS)
    path = systemd.getsockname()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as others:
        others.setblocking(False)
        sent = 0
        while True:
            try:
                others.sendto(b"of others", path)
            except BlockingIOError:
                break
            sent += 1
    telling = threading.Thread(target=Systemd({"NOTIFY_SOCKET": path}).tell, args=("READY=1",))
    telling.start()
    # A thread that does not wait has ended by now.
    telling.join(0.1)
    for _ in range(sent):
        assert systemd.recv(100) == b"of others"
    assert systemd.recv(100) == b"READY=1"
    telling.join()


def test_the_watchdog_of_another_process_is_not_fed(monkeypatch: pytest.MonkeyPatch) -> None:
    for pid, interval in ((os.getpid(), 0.5), (1, None)):
        environment = {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": str(pid)}
        assert Systemd(environment).interval == interval
    assert Systemd({"WATCHDOG_USEC": "1000000"}).interval is None
