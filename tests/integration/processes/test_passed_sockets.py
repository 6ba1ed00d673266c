"""Sockets that systemd, or another parent, passed on: `fd://NAME` and `fd://N`."""

import asyncio
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

import fastrpc
from fastrpc import TLS, Client, ClientConfig, ConfigError, Server, ServerConfig, SyncClient
from tests.conftest import SCALE
from tests.support.admin_pages import fetch
from tests.support.certificates import Authority
from tests.support.passed_sockets import listening, program_with_sockets
from tests.support.running_workers import PROGRAM

pytestmark = pytest.mark.one_loop


@fastrpc.service("echo")
class Echo:
    @fastrpc.method
    async def say(self, text: str) -> str:
        return text


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "work.py").write_text(PROGRAM)
    return tmp_path


@pytest.fixture
def bound() -> Iterator[socket.socket]:
    with listening() as made:
        yield made


def target(bound: socket.socket) -> str:
    return f"tcp://127.0.0.1:{bound.getsockname()[1]}"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_program_serves_at_sockets_by_their_names(workers: int, folder: Path) -> None:
    with listening() as tcp, listening() as admin, listening(folder) as unix:
        sockets = [("rpc", tcp), ("pages", admin), ("local", unix)]
        arguments = ["run", "work:Work", "-w", str(workers), "-a", "fd://rpc", "-a", "fd://local"]
        environment = {"FASTRPC_ADMIN_ADDRESS": "fd://pages"}
        with program_with_sockets(sockets, arguments, folder, environment) as program:
            program.wait_output(rf"serving at {target(tcp)}")
            program.wait_output(rf"serving at unix://{folder}/socket")
            for address in (target(tcp), f"unix://{folder}/socket"):
                with SyncClient(address) as client:
                    client.with_options(timeout=20).call("work.where")
            assert fetch(admin.getsockname()[1], "/readyz").status == 200
            program.signal(signal.SIGTERM)
            assert program.wait().code == 0
        # It belongs to the service manager.
        assert (folder / "socket").exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_program_serves_at_a_socket_by_its_number(workers: int, bound: socket.socket, folder: Path) -> None:
    arguments = ["run", "work:Work", "-w", str(workers), "-a", "fd://3"]
    with program_with_sockets([("rpc", bound)], arguments, folder, {"LISTEN_PID": "1"}) as program:
        program.wait_output(rf"serving at {target(bound)}")
        with SyncClient(target(bound)) as client:
            client.with_options(timeout=20).call("work.where")


async def test_a_call_from_before_the_start_is_served(bound: socket.socket, folder: Path) -> None:
    async with Client(target(bound)) as client:
        early = asyncio.ensure_future(client.with_options(timeout=25).call("work.where"))
        await asyncio.sleep(0)
        with program_with_sockets([("rpc", bound)], ["run", "work:Work", "-a", "fd://rpc"], folder):
            assert await early > 0


@pytest.mark.parametrize(
    ("addresses", "environment", "told"),
    [
        (["fd://web"], {}, r"fd://web: no socket of this name.*passed on are rpc \(fd://3\)"),
        (["fd://web"], {"LISTEN_FDNAMES": ""}, r"passed on are  \(fd://3\)|passed on are unknown"),
        (["fd://web"], {"LISTEN_PID": "1"}, r"LISTEN_PID is 1, this process is \d+"),
        (["fd://web"], {"LISTEN_FDS": ""}, "LISTEN_FDS is not set"),
        (["fd://77"], {}, "descriptor 77 is not a socket"),
        (["fd://1"], {}, "descriptor 1 is not a socket"),
        (["fd://99999999999999999999"], {}, "is not a socket"),
        (["fd://rpc", "fd://rpc"], {}, "descriptor 3 is not a socket, or another address has taken it"),
        (["fd://"], {}, "'fd://' has no name or number"),
    ],
)
@pytest.mark.parametrize("workers", [1, 2] if SCALE > 1 else [2])
def test_a_socket_that_was_not_passed_on_is_refused(
    workers: int,
    addresses: list[str],
    environment: dict[str, str],
    told: str,
    bound: socket.socket,
    folder: Path,
) -> None:
    arguments = ["run", "work:Work", "-w", str(workers)]
    for address in addresses:
        arguments += ["-a", address]
    with program_with_sockets([("rpc", bound)], arguments, folder, environment) as program:
        program.wait_errors(rf"(?s){told}")
        assert program.wait().code in (2, 3)


def test_the_error_of_a_name_of_several_sockets_has_their_numbers(folder: Path) -> None:
    with listening() as one, listening() as other:
        sockets = [("rpc", one), ("rpc", other)]
        with program_with_sockets(sockets, ["run", "work:Work", "-a", "fd://rpc"], folder) as program:
            program.wait_errors(r"(?s)2 sockets have this name.*fd://3 and fd://4")
            assert program.wait().code == 3


def test_an_admin_address_that_was_not_passed_on_is_refused(bound: socket.socket, folder: Path) -> None:
    environment = {"FASTRPC_ADMIN_ADDRESS": "fd://pages"}
    arguments = ["run", "work:Work", "-a", "fd://rpc"]
    with program_with_sockets([("rpc", bound)], arguments, folder, environment) as program:
        program.wait_errors(r"(?s)fd://pages: no socket of this name.*passed on are rpc")
        assert program.wait().code == 3


async def test_a_server_listens_at_a_descriptor_once(bound: socket.socket) -> None:
    number = os.dup(bound.fileno())
    try:
        async with Server(Echo) as server:
            address = await server.listen(f"fd://{number}")
            assert str(address) == target(bound)
            async with Client(address) as client:
                assert await client.call("echo.say", "hello") == "hello"
            with pytest.raises(ConfigError, match="is not a socket, or another address has taken it"):
                await server.listen(f"fd://{number}")
    finally:
        os.close(number)


async def test_a_passed_socket_is_encrypted_where_there_are_certificates(
    bound: socket.socket, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    shown = authority.certificate().tls()
    number = os.dup(bound.fileno())
    try:
        async with Server(Echo, config=ServerConfig(tls=shown)) as server:
            address = await server.listen(f"fd://{number}")
            assert address.scheme == "tls"
            config = ClientConfig(tls=TLS(ca_file=authority.cert_file))
            async with Client(address, config=config) as client:
                assert await client.call("echo.say", "hello") == "hello"
    finally:
        os.close(number)


async def test_sockets_that_cannot_listen_are_refused(bound: socket.socket) -> None:
    with (
        socket.create_connection(bound.getsockname()) as connection,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
        socket.socket() as unbound,
        socket.socket(socket.AF_UNIX) as nameless,
    ):
        datagrams.bind(("127.0.0.1", 0))
        nameless.bind(f"\0a name of Linux's own, of process {os.getpid()}")
        for wrong, told in (
            (connection, "is a connection, not a listener"),
            (datagrams, "neither TCP nor a Unix stream socket"),
            (unbound, "the socket is not bound"),
            (nameless, "neither TCP nor a Unix stream socket"),
        ):
            async with Server(Echo) as server:
                with pytest.raises(ConfigError, match=told):
                    await server.listen(f"fd://{wrong.fileno()}")


async def test_a_passed_socket_comes_without_another_one(bound: socket.socket) -> None:
    async with Server(Echo) as server:
        with pytest.raises(ConfigError, match="names a socket, and another one is given"):
            await server.listen(f"fd://{bound.fileno()}", socket=bound)


def test_no_client_can_dial_a_descriptor() -> None:
    for kind in (Client, SyncClient):
        with pytest.raises(ConfigError, match="no transport has the scheme 'fd'"):
            kind("fd://3")
