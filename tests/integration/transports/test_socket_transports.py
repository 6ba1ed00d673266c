"""Features that only socket transports have: options, several addresses, files, blocking sockets."""

import asyncio
import errno
import fcntl
import os
import socket
import stat
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from fastrpc._core.io.blocking_io import SocketIO
from fastrpc.endpoint import Address
from fastrpc.errors import ConnectError
from fastrpc.transports import blocking, race, tcp, unix
from fastrpc.transports.base import DialOptions, ListenOptions, transport_for
from fastrpc.transports.sockets import LONGEST_PATH
from fastrpc.transports.tcp import TRANSPORT as TCP
from fastrpc.transports.unix import TRANSPORT as UNIX
from tests.support.descriptors import descriptors_come_back_to, open_descriptors
from tests.support.ports import free_ports
from tests.support.recording_session import RecordingSession, Sessions

LOOPBACK = Address("tcp", host="127.0.0.1")

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="names of socket options")


async def part(session: RecordingSession) -> None:
    session.transport.abort()
    await session.until_event("lost")


@contextmanager
def full_listener(family: int, name: Any) -> Iterator[Any]:
    """A listener whose queue is full: connecting to it neither succeeds nor fails (tcp)."""
    with ExitStack() as stack:
        bound = stack.enter_context(socket.socket(family))
        bound.bind(name)
        bound.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket(family))
            waiting.setblocking(False)
            waiting.connect_ex(bound.getsockname())
        yield bound.getsockname()


def places(monkeypatch: pytest.MonkeyPatch, *found: tuple[str, int]) -> None:
    """Have every host resolve to these."""

    async def resolve(address: Address, *, passive: bool = False) -> list[tuple[str, int]]:
        return list(found)

    monkeypatch.setattr(tcp, "_resolve", resolve)


@linux_only
@pytest.mark.parametrize(("seconds", "idle", "between"), [(6, 3, 1), (172_800, 32_767, 28_800)])
async def test_both_sides_notice_a_peer_that_vanished(seconds: int, idle: int, between: int) -> None:
    server = Sessions()
    listener = await TCP.listen(LOOPBACK, server, ListenOptions(silence_seconds=seconds))
    _, near = await TCP.dial(listener.address, RecordingSession, DialOptions(silence_seconds=seconds))
    for session in (near, await server.one()):
        opened = session.transport.get_extra_info("socket")
        assert opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert opened.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == idle
        assert opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == between
        assert opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == seconds * 1_000
        await part(session)
    listener.close()


async def test_all_addresses_of_a_host_share_one_port(monkeypatch: pytest.MonkeyPatch) -> None:
    places(monkeypatch, ("127.0.0.1", 0), ("::1", 0), ("127.0.0.2", 0))
    listener = await TCP.listen(Address("tcp", host="here"), Sessions(), ListenOptions())
    assert listener.address.host == "here"
    assert listener.address.port
    for host in ("127.0.0.1", "::1", "127.0.0.2"):
        places(monkeypatch, (host, listener.address.port))
        _, session = await TCP.dial(listener.address, RecordingSession, DialOptions())
        await part(session)
    listener.close()


async def test_addresses_this_machine_lacks_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    places(monkeypatch, ("2001:db8::1", 0), ("127.0.0.1", 0))
    listener = await TCP.listen(Address("tcp", host="here"), Sessions(), ListenOptions())
    listener.close()
    places(monkeypatch, ("2001:db8::1", 0))
    with pytest.raises(OSError, match="cannot listen at tcp://here:0"):
        await TCP.listen(Address("tcp", host="here"), Sessions(), ListenOptions())


async def test_listening_everywhere_gives_an_address_that_can_be_dialled() -> None:
    listener = await TCP.listen(Address("tcp"), Sessions(), ListenOptions())
    assert listener.address.host in {"0.0.0.0", "::"}
    for target in (listener.address, Address("tcp", host="localhost", port=listener.address.port)):
        _, session = await TCP.dial(Address.parse(str(target)), RecordingSession, DialOptions())
        await part(session)
    listener.close()


async def test_several_listeners_can_share_a_port() -> None:
    first = await TCP.listen(LOOPBACK, Sessions(), ListenOptions(reuse_port=True))
    second = await TCP.listen(first.address, Sessions(), ListenOptions(reuse_port=True))
    assert first.address == second.address
    first.close()
    second.close()


async def test_a_given_socket_is_listened_on_and_closed_with_the_listener() -> None:
    given = socket.create_server(("127.0.0.1", 0))
    listener = await TCP.listen(Address("tcp"), Sessions(), ListenOptions(socket=given))
    assert listener.address == Address("tcp", host="127.0.0.1", port=given.getsockname()[1])
    _, session = await TCP.dial(listener.address, RecordingSession, DialOptions())
    await part(session)
    listener.close()
    await listener.wait_closed()
    assert given.fileno() == -1


async def test_a_listener_that_closes_leaves_waiting_connections_to_the_others_at_its_socket() -> None:
    given = socket.create_server(("127.0.0.1", 0))
    with given.dup() as shared:
        listener = await TCP.listen(Address("tcp"), Sessions(), ListenOptions(socket=given))
        with socket.create_connection(shared.getsockname()):
            listener.close()
            await listener.wait_closed()
            shared.settimeout(20)
            shared.accept()[0].close()


async def test_a_silent_address_does_not_delay_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    listener = await TCP.listen(LOOPBACK, Sessions(), ListenOptions())
    monkeypatch.setattr(race, "NEXT_SECONDS", 0.01)
    before = open_descriptors()
    with full_listener(socket.AF_INET, ("127.0.0.1", 0)) as silent:
        places(monkeypatch, silent, ("127.0.0.1", listener.address.port))
        async with asyncio.timeout(10):
            _, session = await TCP.dial(Address("tcp", host="there", port=1), RecordingSession, DialOptions())
        await part(session)
    assert await descriptors_come_back_to(before)
    listener.close()


async def test_only_one_of_several_connections_made_at_once_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(race, "NEXT_SECONDS", 0.0)
    places(monkeypatch, ("127.0.0.1", 0), ("127.0.0.2", 0), ("::1", 0))
    listener = await TCP.listen(Address("tcp", host="here"), Sessions(), ListenOptions())
    port = listener.address.port
    places(monkeypatch, ("127.0.0.1", port), ("127.0.0.2", port), ("::1", port))
    connect_one, barrier = tcp._connect_one, asyncio.Barrier(3)

    async def connect_together(place: tuple[str, int]) -> Any:
        made = await connect_one(place)
        await barrier.wait()
        return made

    monkeypatch.setattr(tcp, "_connect_one", connect_together)
    before = open_descriptors()
    _, session = await TCP.dial(Address("tcp", host="there", port=1), RecordingSession, DialOptions())
    assert session.events == ["made"]
    await part(session)
    assert await descriptors_come_back_to(before)
    listener.close()


async def test_a_dial_that_times_out_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(race, "NEXT_SECONDS", 0.01)
    (await TCP.listen(LOOPBACK, Sessions(), ListenOptions())).close()
    with full_listener(socket.AF_INET, ("127.0.0.1", 0)) as silent:
        before = open_descriptors()
        for found in ([silent], [silent, silent]):
            places(monkeypatch, *found)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await TCP.dial(Address("tcp", host="there", port=1), RecordingSession, DialOptions())
            assert await descriptors_come_back_to(before)


async def test_every_address_that_failed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    (port,) = free_ports(1)
    places(monkeypatch, ("127.0.0.1", port), ("127.0.0.2", port))
    with pytest.raises(ConnectError) as caught:
        await TCP.dial(Address("tcp", host="there", port=port), RecordingSession, DialOptions())
    assert "127.0.0.1: Connection refused; 127.0.0.2: Connection refused" in str(caught.value)
    assert f"tcp://there:{port}" in str(caught.value)


async def test_a_host_without_address_is_named() -> None:
    with pytest.raises(ConnectError, match=r"cannot connect to tcp://a{64}:1"):
        await TCP.dial(Address("tcp", host="a" * 64, port=1), RecordingSession, DialOptions())
    with pytest.raises(ConnectError, match=r"cannot connect to tcp://a{64}:1"):
        blocking.connect(Address("tcp", host="a" * 64, port=1), 1, DialOptions())


def test_link_local_addresses_keep_their_interface() -> None:
    assert tcp._numeric(("fe80::1", 80, 0, 3)) == ("fe80::1%3", 80)
    assert tcp._numeric(("::1", 80, 0, 0)) == ("::1", 80)
    assert tcp._numeric(("10.0.0.1", 80)) == ("10.0.0.1", 80)


async def test_stale_socket_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    address = Address("unix", path=str(path))
    listener = await UNIX.listen(address, Sessions(), ListenOptions())
    _, session = await UNIX.dial(address, RecordingSession, DialOptions())
    await part(session)
    listener.close()
    assert not path.exists()


async def test_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    path.write_text("precious")
    with pytest.raises(FileExistsError, match=f"cannot listen at unix://{path}"):
        await UNIX.listen(Address("unix", path=str(path)), Sessions(), ListenOptions())
    assert path.read_text() == "precious"


async def test_socket_file_that_took_our_place_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    listener = await UNIX.listen(Address("unix", path=str(path)), Sessions(), ListenOptions())
    path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        listener.close()
        assert path.exists()


async def test_listener_of_a_forked_child_leaves_the_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "socket"
    listener = await UNIX.listen(Address("unix", path=str(path)), Sessions(), ListenOptions())
    with monkeypatch.context() as child:
        child.setattr(os, "getpid", lambda: -1)
        listener.close()
    assert path.exists()


async def test_file_of_a_given_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    given = socket.socket(socket.AF_UNIX)
    given.bind(str(path))
    listener = await UNIX.listen(Address("unix", path=str(path)), Sessions(), ListenOptions(socket=given))
    _, session = await UNIX.dial(listener.address, RecordingSession, DialOptions())
    await part(session)
    listener.close()
    assert stat.S_ISSOCK(path.stat().st_mode)
    assert given.fileno() == -1


async def test_changing_the_mode_of_the_file_does_not_keep_it_from_being_removed(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    listener = await UNIX.listen(Address("unix", path=str(path)), Sessions(), ListenOptions())
    path.chmod(0o660)
    listener.close()
    assert not path.exists()


@pytest.mark.parametrize("name", ["x" * 120, "a\0b"])
async def test_path_that_cannot_be_is_named(tmp_path: Path, name: str) -> None:
    address = Address("unix", path=str(tmp_path / name))
    with pytest.raises(OSError, match="cannot listen at unix://"):
        await UNIX.listen(address, Sessions(), ListenOptions())
    with pytest.raises(ConnectError, match="cannot connect to unix://"):
        await UNIX.dial(address, RecordingSession, DialOptions())
    with pytest.raises(ConnectError, match="cannot connect to unix://"):
        blocking.connect(address, 1, DialOptions())


async def test_a_path_that_is_too_long_is_refused_with_the_limit(tmp_path: Path) -> None:
    longest = str(tmp_path / "x").ljust(LONGEST_PATH, "x")
    listener = await UNIX.listen(Address("unix", path=longest), Sessions(), ListenOptions())
    # Some loops would cut the path, and reach the socket of a shorter one.
    address = Address("unix", path=longest + "y")
    with pytest.raises(OSError, match="File name too long") as refused:
        await UNIX.listen(address, Sessions(), ListenOptions())
    assert refused.value.errno == errno.ENAMETOOLONG
    notes = refused.value.__notes__
    failures = []
    with pytest.raises(ConnectError) as failed:
        await UNIX.dial(address, RecordingSession, DialOptions())
    failures.append(failed.value)
    with pytest.raises(ConnectError) as failed:
        blocking.connect(address, 1, DialOptions())
    failures.append(failed.value)
    for hint in (*notes, *(str(one.hint) for one in failures)):
        assert f"at most {LONGEST_PATH} bytes" in hint
    listener.close()


async def test_directory_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="No such file"):
        await UNIX.listen(
            Address("unix", path=str(tmp_path / "none" / "socket")), Sessions(), ListenOptions()
        )


async def test_lock_of_a_stranger_on_the_directory_does_not_stop_us(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unix, "_LOCK_SECONDS", 0.02)
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        (
            await UNIX.listen(Address("unix", path=str(tmp_path / "socket")), Sessions(), ListenOptions())
        ).close()
    finally:
        os.close(directory)


async def test_full_queue_of_a_unix_listener_is_an_error_and_no_half_made_connection(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with full_listener(socket.AF_UNIX, path):
        client = Sessions()
        with pytest.raises(ConnectError, match="temporarily unavailable") as caught:
            await UNIX.dial(Address("unix", path=path), client, DialOptions())
        assert caught.value.errno == errno.EAGAIN
        assert client.made == []


@pytest.fixture(params=["tcp", "unix", "memory"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Address:
    return {
        "tcp": Address("tcp", host="localhost"),
        "unix": Address("unix", path=str(tmp_path / "socket")),
        "memory": Address("memory", path="blocking"),
    }[request.param]


async def in_thread(work: Callable[[], Any]) -> Any:
    """Run blocking work in a thread that ends with it."""
    done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    loop = asyncio.get_running_loop()

    def run() -> None:
        try:
            result = work()
        except Exception as error:
            loop.call_soon_threadsafe(done.set_exception, error)
        else:
            loop.call_soon_threadsafe(done.set_result, result)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        return await done
    finally:
        thread.join()


def socket_to(address: Address, timeout: float | None, options: DialOptions | None = None) -> socket.socket:
    """Connect without a loop, and return the socket below."""
    io = blocking.connect(address, timeout, options or DialOptions())
    assert isinstance(io, SocketIO)
    return io.socket


async def test_blocking_socket_speaks_with_a_session(address: Address) -> None:
    server = Sessions()
    listener = await transport_for(address).listen(address, server, ListenOptions())

    def talk() -> bytes:
        with socket_to(listener.address, 5) as connected:
            assert connected.gettimeout() is None
            connected.sendall(b"question")
            return connected.recv(100)

    answer: Awaitable[bytes] = asyncio.create_task(in_thread(talk))
    far = await server.one()
    await far.until_received(8)
    far.transport.write(b"answer")
    assert await answer == b"answer"
    await far.until_event("lost")
    assert far.events == ["made", "eof", "lost"]
    listener.close()


@linux_only
async def test_blocking_socket_notices_a_peer_that_vanished() -> None:
    listener = await TCP.listen(LOOPBACK, Sessions(), ListenOptions())
    with socket_to(listener.address, None, DialOptions(silence_seconds=4)) as connected:
        assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 4_000
    listener.close()


async def test_blocking_connect_fails_with_the_same_error(address: Address) -> None:
    listener = await transport_for(address).listen(address, Sessions(), ListenOptions())
    listener.close()
    with pytest.raises(ConnectError, match=f"cannot connect to {listener.address}.*is the server running"):
        blocking.connect(listener.address, 1, DialOptions())


def test_blocking_connect_gives_up_in_time() -> None:
    with (
        full_listener(socket.AF_INET, ("127.0.0.1", 0)) as silent,
        pytest.raises(ConnectError, match="timed out"),
    ):
        blocking.connect(Address("tcp", host=silent[0], port=silent[1]), 0.05, DialOptions())


async def test_memory_listener_that_closes_refuses_waiting_sockets() -> None:
    address = Address("memory", path="blocking")
    listener = await transport_for(address).listen(address, Sessions(), ListenOptions())
    with socket_to(address, 1) as connected:
        listener.close()
        assert connected.recv(1) == b""
    await asyncio.sleep(0)
