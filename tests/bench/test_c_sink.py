"""The yardstick of streams must be right before it may be fast."""

import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from bench.compare.measurement import LoadOrder
from bench.compare.peers.c_sink import PEERS
from bench.compare.processes import (
    ProcessFailedError,
    RunningServer,
    choose_cores,
    run_client,
    running_server,
)
from bench.compare.yardsticks import build_yardstick
from tests.support.measured_load import run_load

HEADER = struct.Struct("<IIQ")
CLIENT_SENDS, SERVER_SENDS = 0, 1


@pytest.fixture(params=["tcp", "unix"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningServer]:
    address = "tcp://127.0.0.1:0" if request.param == "tcp" else f"unix://{tmp_path}/socket"
    with running_server([str(build_yardstick("c_sink")), "serve", address], choose_cores().server) as running:
        yield running


@pytest.fixture
def connection(server: RunningServer) -> Iterator[socket.socket]:
    scheme, _, place = server.address.partition("://")
    family = socket.AF_INET if scheme == "tcp" else socket.AF_UNIX
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        connection.settimeout(5)
        host, _, port = place.partition(":")
        connection.connect((host, int(port)) if scheme == "tcp" else place)
        yield connection


def frame(id: int, payload: bytes) -> bytes:
    return HEADER.pack(len(payload), 0, id) + payload


def order(size: int, sender: int) -> bytes:
    return HEADER.pack(size, sender, 0)


def receive(connection: socket.socket, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        block = connection.recv(size - len(received))
        assert block, f"closed after {len(received)} of {size} bytes"
        received += block
    return bytes(received)


@pytest.mark.parametrize("size", [0, 1, 32, 70_000, 300_000])
def test_the_server_counts_the_frames_it_receives(connection: socket.socket, size: int) -> None:
    frames = b"".join(frame(id, b"x" * size) for id in range(30))
    connection.sendall(order(size, CLIENT_SENDS) + frames)
    connection.shutdown(socket.SHUT_WR)
    assert HEADER.unpack(receive(connection, HEADER.size)) == (0, 0, 30)
    assert connection.recv(1) == b""


@pytest.mark.parametrize("size", [0, 1, 32, 70_000, 300_000])
def test_the_server_sends_numbered_frames(connection: socket.socket, size: int) -> None:
    connection.sendall(order(size, SERVER_SENDS))
    for id in range(20):
        assert receive(connection, HEADER.size + size) == frame(id, b"x" * size)


def test_frames_that_come_byte_by_byte_are_counted(connection: socket.socket) -> None:
    for byte in order(3, CLIENT_SENDS) + frame(0, b"abc") + frame(1, b"def"):
        connection.sendall(bytes([byte]))
    connection.shutdown(socket.SHUT_WR)
    assert HEADER.unpack(receive(connection, HEADER.size)) == (0, 0, 2)


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(order(3, CLIENT_SENDS) + frame(0, b"abcd") + frame(1, b"efgh"), id="another size"),
        pytest.param(order(3, CLIENT_SENDS) + frame(0, b"abc") + frame(2, b"def"), id="a gap"),
        pytest.param(order(3, CLIENT_SENDS) + frame(0, b"abc")[:-1], id="half a frame"),
        pytest.param(order(3, 2), id="an unknown sender"),
        pytest.param(order(2**32 - 1, SERVER_SENDS), id="too large"),
    ],
)
def test_a_wrong_stream_is_closed_without_an_answer(connection: socket.socket, sent: bytes) -> None:
    connection.sendall(sent)
    connection.shutdown(socket.SHUT_WR)
    # The system resets a connection that is closed with bytes unread.
    with suppress(ConnectionResetError):
        assert connection.recv(1) == b""


@pytest.mark.parametrize(
    "workload", ["server_stream", "server_stream_64K", "client_stream", "client_stream_64K"]
)
def test_load_counts_messages_and_processor_time(server: RunningServer, workload: str) -> None:
    load = LoadOrder(
        address=server.address,
        workload=workload,
        warm_seconds=0.02,
        seconds=0.1,
        server_processes=server.processes,
    )
    result = run_load(PEERS[0].client_command, load)
    assert result["calls"] > 0
    assert 0.1 <= result["seconds"] < 5
    assert result["samples"] == 0
    assert 0 < result["client_cpu_seconds"] < 2 * result["seconds"]
    assert 0 < result["server_cpu_seconds"] < 2 * result["seconds"]


def test_a_server_that_lost_frames_is_found_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        program, port = str(build_yardstick("c_sink")), listener.getsockname()[1]
        command = [program, "load", f"tcp://127.0.0.1:{port}", "--size=8", "--warm=0.01", "--seconds=0.01"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as client:
            connection, _ = listener.accept()
            with connection:
                assert receive(connection, HEADER.size) == order(8, CLIENT_SENDS)
                frames = 0
                while block := connection.recv(1 << 20):
                    frames += len(block)
                connection.sendall(HEADER.pack(0, 0, frames // (HEADER.size + 8) - 1))
            _, errors = client.communicate(timeout=5)
    assert client.returncode == 1
    assert b"c_sink: answer" in errors


def test_a_client_without_a_server_tells_why() -> None:
    command = [str(build_yardstick("c_sink")), "load", "tcp://127.0.0.1:1"]
    with pytest.raises(ProcessFailedError, match="refused"):
        run_client(command, choose_cores().client, 1)
