"""Servers and clients without features that only Linux has: each name of the table in MAP.md is removed here."""

import asyncio
import contextlib
import os
import select
import signal
import socket
import sys
import termios
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import fastrpc
from fastrpc import Client, ClientConfig, ConfigError, Server, ServerConfig, SyncClient
from fastrpc.files.rpcx import RpcxFiles, upload
from fastrpc.grpc.ports import bound_port
from fastrpc.registries.lan import multicast
from fastrpc.registries.lan.keys import add_key
from fastrpc.transports import tcp
from fastrpc.workers.process import reap_adopted
from tests.support.linux_alone import C_SOURCES, compiled, listed_names, taken_away, takes_away, used_names
from tests.support.program import Program
from tests.support.transfers import content, digest_of
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop


@fastrpc.service("arith")
class Arith:
    @fastrpc.method
    async def mul(self, a: int, b: int) -> int:
        return a * b

    @fastrpc.method
    def squares(self, limit: int) -> list[int]:
        """In a thread."""
        return [number * number for number in range(limit)]

    @fastrpc.method
    async def echo(self, data: bytes) -> bytes:
        return data

    @fastrpc.method
    async def user(self) -> int | None:
        peer = fastrpc.current_call().peer
        assert peer is not None
        return peer._user


@contextlib.asynccontextmanager
async def serving(address: str = "tcp://127.0.0.1:0", **options: Any) -> AsyncIterator[Client]:
    async with Server(Arith(), **options) as server, Client(str(await server.listen(address))) as client:
        assert await client.call(Arith.mul, 6, 7) == 42
        yield client


# In this process


@takes_away("SO_PEERCRED", place="transports/unix.py")
async def test_peers_at_a_unix_socket_have_no_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(f"unix://{tmp_path}/known") as client:
        assert await client.call(Arith.user) == os.geteuid()
    monkeypatch.delattr(socket, "SO_PEERCRED")
    async with serving(f"unix://{tmp_path}/unknown") as client:
        assert await client.call(Arith.user) is None


@takes_away("eventfd", place="_core/loop/polling.pyx")
async def test_threads_wake_the_loop_by_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "eventfd")
    async with serving() as client:
        found = await asyncio.gather(*(client.call(Arith.squares, 4) for _ in range(20)))
    assert found == [[0, 1, 4, 9]] * 20


@takes_away("TCP_USER_TIMEOUT", place="transports/tcp.py")
async def test_unacknowledged_data_waits_for_the_limit_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    number = socket.TCP_USER_TIMEOUT
    monkeypatch.delattr(socket, "TCP_USER_TIMEOUT")
    async with serving():
        with socket.socket() as plain:
            tcp.set_options(plain, 6.0)
            assert plain.getsockopt(socket.IPPROTO_TCP, number) == 0
            assert plain.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 3


@takes_away("TCP_KEEPIDLE", place="transports/tcp.py")
async def test_keepalive_begins_in_time_by_the_name_of_macos(monkeypatch: pytest.MonkeyPatch) -> None:
    number = socket.TCP_KEEPIDLE
    monkeypatch.delattr(socket, "TCP_KEEPIDLE")
    monkeypatch.setattr(socket, "TCP_KEEPALIVE", number, raising=False)
    async with serving():
        with socket.socket() as plain:
            tcp.set_options(plain, 6.0)
            assert plain.getsockopt(socket.IPPROTO_TCP, number) == 3
            assert plain.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 1


@takes_away("SO_REUSEPORT", place="transports/tcp.py")
async def test_a_shared_port_is_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "SO_REUSEPORT")
    async with serving():
        async with Server(Arith()) as server:
            with pytest.raises(ConfigError, match="this system has no SO_REUSEPORT") as caught:
                await server.listen("tcp://127.0.0.1:0", reuse_port=True)
    assert caught.value.hint == "run one process per port"


@takes_away("SO_REUSEPORT", place="grpc/ports.py")
async def test_servers_of_grpc_have_their_port_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "SO_REUSEPORT")
    port = bound_port("127.0.0.1:0", is_encrypted=False, reuse_port=True)
    with pytest.raises(RuntimeError, match="Address already in use"):
        bound_port(f"127.0.0.1:{port.number}", is_encrypted=False, reuse_port=True)
    ((address, bound),) = port.sockets
    async with Server(Arith(), config=ServerConfig(protocols=("grpc",))) as server:
        target = await server.listen(address, socket=bound)
        async with Client(str(target), config=ClientConfig(wire_protocol="grpc")) as client:
            assert await client.call(Arith.mul, 6, 7) == 42


@takes_away("IP_MULTICAST_ALL", "IPV6_MULTICAST_ALL", "SO_MEMINFO", place="registries/lan/multicast.py")
async def test_servers_of_a_local_network_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multicast, "sys", SimpleNamespace(platform="darwin"))
    add_key(tmp_path / "lan.keys")
    query = f"?key_file={tmp_path}/lan.keys&interface=lo"
    async with serving(registry=f"lan://{query}"), Client(f"lan://arith{query}") as client:
        assert await client.call("arith.mul", 2, 3) == 6
    found = multicast.Multicast("lo")
    try:
        options = {socket.AF_INET: (socket.IPPROTO_IP, 49), socket.AF_INET6: (socket.IPPROTO_IPV6, 29)}
        assert [one.getsockopt(*options[one.family]) for one in found.sockets] == [1] * len(found.sockets)
        assert found.dropped() == 0
    finally:
        found.close()


@pytest.fixture
def untold_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system does not tell how much of the output of a socket it has not sent."""
    monkeypatch.setattr(termios, "TIOCOUTQ", 0x7FFF)


@takes_away("TIOCOUTQ", place="_core/io/layer.pyx")
async def test_large_answers_arrive_without_a_report_of_unsent_bytes(untold_output: None) -> None:
    data = bytes(8_000_000)
    async with serving() as client:
        assert await client.call(Arith.echo, data) == data


@takes_away("TIOCOUTQ", place="files/rpcx/transfer.py")
async def test_files_arrive_without_a_report_of_unsent_bytes(untold_output: None, tmp_path: Path) -> None:
    data = content(3_000_000, seed=1)
    (tmp_path / "here").write_bytes(data)
    (tmp_path / "there").mkdir()
    files = RpcxFiles(tmp_path / "there", writable=True)
    config = ServerConfig(protocols=("native", "rpcx"))
    async with Server(files, config=config) as server:
        target = str(await server.listen("tcp://127.0.0.1:0"))
        async with Client(target, config=ClientConfig(wire_protocol="rpcx")) as client:
            assert await upload(client, tmp_path / "here", "copy") == digest_of(data)
    assert (tmp_path / "there" / "copy").read_bytes() == data


# In programs

SERVICE = """
import fastrpc


@fastrpc.service("arith")
class Arith:
    @fastrpc.method
    async def mul(self, a: int, b: int) -> int:
        return a * b
"""

#: The code after a statement that removes something.
COMMAND = """
from fastrpc.cli.main import main

main()
"""


def started(
    folder: Path, statements: str, *options: str, environment: dict[str, str] | None = None
) -> Program:
    """Start `fastrpc run` after these statements."""
    (folder / "arith.py").write_text(SERVICE)
    (folder / "command.py").write_text(statements + COMMAND)
    arguments = ["command.py", "run", "arith:Arith", "-a", "tcp://127.0.0.1:0", *options]
    return Program(arguments, folder, environment)


def check_serves(program: Program) -> None:
    with SyncClient(program.wait_output(r"serving at (tcp://127\.0\.0\.1:\d+)")[1]) as client:
        assert client.call("arith.mul", 6, 7) == 42


def check_stops(program: Program) -> None:
    program.signal(signal.SIGTERM)
    assert program.wait().code == 0


@takes_away("SO_PEERCRED", place="workers/takeover/control.py")
@takes_away("SO_PEERCRED", place="workers/takeover/control_channel.py")
def test_a_control_socket_is_refused_with_the_reason(tmp_path: Path) -> None:
    statement = "import socket\ndel socket.SO_PEERCRED\n"
    with started(tmp_path, statement, "--control", f"{tmp_path}/control") as program:
        ended = program.wait()
    assert ended.code == 3
    assert "--control needs a system that reports the user of a peer (SO_PEERCRED): Linux" in ended.errors
    with started(tmp_path, statement) as program:
        check_serves(program)
        check_stops(program)


@takes_away("memfd_create", place="workers/monitoring/scoreboard.py")
def test_workers_share_a_file_without_a_name(tmp_path: Path) -> None:
    with started(tmp_path, "import os\ndel os.memfd_create\n", "-w", "2") as program:
        check_serves(program)
        check_stops(program)


WITHOUT_PROC = """
import os
from fastrpc.workers import init

def listed(path=".", listdir=os.listdir):
    if str(path).startswith("/proc"):
        raise FileNotFoundError(path)
    return listdir(path)

os.listdir = listed
init.is_needed = lambda: True  # As for process 1.
kept = os.open(os.devnull, os.O_RDONLY)
"""


@takes_away("/proc/self/fd", place="workers/init.py")
async def test_process_1_closes_its_descriptors_without_a_list_of_them(tmp_path: Path) -> None:
    with started(tmp_path, WITHOUT_PROC) as program:
        await asyncio.to_thread(check_serves, program)
        opened = Path(f"/proc/{program.process_id}/fd")
        await eventually(lambda: {path.name for path in opened.iterdir()} <= {"0", "1", "2"})
        await asyncio.to_thread(check_stops, program)


WITHOUT_WAITS = """
import os
import signal
from fastrpc.workers import init

process, os.getpid = os.getpid, lambda: 1
assert init.is_needed()
del signal.sigwaitinfo, os.waitid
assert not init.is_needed()
# It serves as process 1 all the same, for all that `run` knows.
os.getpid = process
"""


@takes_away("sigwaitinfo", "waitid", place="workers/init.py")
def test_process_1_serves_itself_where_it_cannot_wait_for_a_child(tmp_path: Path) -> None:
    with started(tmp_path, WITHOUT_WAITS) as program:
        check_serves(program)
        check_stops(program)


@takes_away("waitid", place="workers/process.py")
def test_zombies_that_a_supervisor_cannot_tell_from_its_workers_are_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with started(tmp_path, "import os\ndel os.waitid\n", "-w", "2") as program:
        check_serves(program)
        check_stops(program)
    monkeypatch.delattr(os, "waitid")
    monkeypatch.setattr(os, "getpid", lambda: 1)
    reap_adopted(set())


@takes_away("waitid", place="cli/command_group.py")
def test_command_under_a_lock_at_a_terminal_has_a_separate_session(tmp_path: Path) -> None:
    screen, terminal = os.openpty()
    (tmp_path / "command.py").write_text("import os\ndel os.waitid\n" + COMMAND)
    told = "import os, sys; print(os.getsid(0) == os.getpid(), input(), sys.stdin.isatty())"
    words = ["command.py", "lock", f"sqlite://{tmp_path}/store", "a", "--", sys.executable, "-c", told]
    os.write(screen, b"word\n")
    with Program(words, tmp_path, stdin=terminal) as program:
        ended = program.wait()
    os.close(terminal)
    os.close(screen)
    assert (ended.code, ended.output) == (0, "True word True\n")


WITHOUT_ABSTRACT_NAMES = """
import socket

def sendto(self, data, place, real=socket.socket.sendto):
    if str(place).startswith("\\0"):
        raise FileNotFoundError(2, "No such file or directory")
    return real(self, data, place)

socket.socket.sendto = sendto
del socket.SOCK_CLOEXEC
"""


@takes_away("abstract", place="workers/systemd.py")
def test_a_service_manager_that_cannot_be_told_is_named_in_the_log(tmp_path: Path) -> None:
    environment = {"NOTIFY_SOCKET": "@nobody"}
    with started(tmp_path, WITHOUT_ABSTRACT_NAMES, environment=environment) as program:
        check_serves(program)
        program.wait_errors(r"cannot send the service manager READY=1: .*No such file or directory")
        check_stops(program)


FILES = """
import os
del os.O_PATH
import asyncio
from fastrpc import Client, Server
from fastrpc.files import FileService, download


async def run() -> None:
    async with Server(FileService("served")) as server:
        async with Client(str(await server.listen("tcp://127.0.0.1:0"))) as client:
            await download(client, "link/deep", "copy")


asyncio.run(run())
"""


@takes_away("O_PATH", place="files/root.py")
def test_folders_that_may_be_read_are_walked(tmp_path: Path) -> None:
    (tmp_path / "served" / "inner").mkdir(parents=True)
    (tmp_path / "served" / "inner" / "deep").write_bytes(b"deep")
    (tmp_path / "served" / "link").symlink_to("inner")
    (tmp_path / "files.py").write_text(FILES)
    with Program(["files.py"], tmp_path, is_anew=True) as program:
        assert program.wait().code == 0, program
    assert (tmp_path / "copy").read_bytes() == b"deep"


LOCKS = """
import time
del time.CLOCK_BOOTTIME
import asyncio
import fastrpc
from fastrpc.coordination import open_store
from fastrpc.coordination.lease import boot_time


@fastrpc.service("jobs")
class Jobs:
    def __init__(self, store: object) -> None:
        self._store = store

    @fastrpc.method
    async def token(self) -> int:
        async with self._store.lock("nightly", ttl=15) as lock:
            return lock.token


async def run() -> None:
    async with open_store("memory://jobs") as store, fastrpc.Server(Jobs(store)) as server:
        async with fastrpc.Client(str(await server.listen("tcp://127.0.0.1:0"))) as client:
            assert await client.call("jobs.token") < await client.call("jobs.token")


before = time.monotonic()
assert before <= boot_time() <= time.monotonic()
asyncio.run(run())
"""


@takes_away("CLOCK_BOOTTIME", place="coordination/lease.py")
def test_leases_last_by_a_clock_that_may_stand_still(tmp_path: Path) -> None:
    (tmp_path / "locks.py").write_text(LOCKS)
    with Program(["locks.py"], tmp_path, is_anew=True) as program:
        assert program.wait().code == 0, program


# In C


def connected() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        near = socket.create_connection(listening.getsockname())
        return near, listening.accept()[0]


@takes_away("POLLRDHUP", place="_core/loop/hang_up.h")
def test_a_reset_after_unread_bytes_is_noticed_and_an_end_is_not(tmp_path: Path) -> None:
    looks = compiled(C_SOURCES["hang_up"], tmp_path)
    for is_reset in (False, True):
        near, far = connected()
        with near:
            far.send(b"unread")
            if is_reset:
                far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            far.close()
            waiting = select.poll()
            waiting.register(near, select.POLLRDHUP)
            assert waiting.poll(20_000)
            assert bool(looks.look(near.fileno())) is is_reset


@takes_away("MSG_NOSIGNAL", place="_core/io/socket_io.h")
def test_sending_to_a_disconnected_peer_ends_no_process(tmp_path: Path) -> None:
    sending = compiled(C_SOURCES["socket_io"], tmp_path)
    near, far = socket.socketpair()
    with near:
        assert sending.put(near.fileno(), b"data", 4) == 4
        far.close()
        with pytest.raises(BrokenPipeError):
            code = sending.put(near.fileno(), b"data", 4)
            raise OSError(-code, os.strerror(-code))


@takes_away("CLOCK_MONOTONIC_COARSE", place="_core/base/wire.h")
def test_ticks_are_read_off_the_clock_of_deadlines(tmp_path: Path) -> None:
    clock = compiled(C_SOURCES["wire"], tmp_path)
    found = [clock.now(), clock.tick(), clock.now()]
    assert found == sorted(found)


@takes_away("malloc_trim", "mallopt", place="_core/server/memory_budget.pyx")
def test_another_allocator_than_glibc_is_left_alone(tmp_path: Path) -> None:
    assert compiled(C_SOURCES["memory_budget"], tmp_path).asked() == 0


# The table


def test_each_name_of_the_table_is_taken_away_and_no_other() -> None:
    assert taken_away() == listed_names()


def test_each_name_that_the_sources_have_is_in_the_table() -> None:
    # Names without a word of their own stand in strings.
    unsaid = {name for name in listed_names() if name[0] == "abstract"}
    assert used_names() == listed_names() - unsaid
