"""The yardstick must be right before it may be fast."""

import socket
import ssl
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.compare.certificates import AUTHORITY
from bench.compare.measurement import LoadOrder
from bench.compare.peers.c_echo import PEERS
from bench.compare.processes import RunningServer, choose_cores, running_server
from bench.compare.workloads import WORKLOADS
from bench.compare.yardsticks import build_yardstick
from tests.support.measured_load import run_load

HEADER = struct.Struct("<IIQ")


@pytest.fixture(params=["tcp", "unix"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningServer]:
    address = "tcp://127.0.0.1:0" if request.param == "tcp" else f"unix://{tmp_path}/socket"
    with running_server([str(build_yardstick("c_echo")), "serve", address], choose_cores().server) as running:
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


def receive(connection: socket.socket, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        block = connection.recv(size - len(received))
        assert block, f"closed after {len(received)} of {size} bytes"
        received += block
    return bytes(received)


def test_frames_of_every_size_come_back(connection: socket.socket) -> None:
    sizes = [0, 1, 32, 16 * 1024 - 16, 16 * 1024, 70_000, 300_000, 3_000_000, 5]
    for id, size in enumerate(sizes):
        sent = frame(id, bytes([id]) * size)
        connection.sendall(sent)
        assert receive(connection, len(sent)) == sent


def test_many_frames_of_one_write_come_back_in_order(connection: socket.socket) -> None:
    sent = b"".join(frame(id, b"%d" % id * (id % 50)) for id in range(2_000))
    connection.sendall(sent)
    assert receive(connection, len(sent)) == sent


def test_a_frame_is_answered_only_when_whole(connection: socket.socket) -> None:
    sent = frame(7, b"payload")
    for place in range(len(sent) - 1):
        connection.sendall(sent[place : place + 1])
    connection.setblocking(False)
    with pytest.raises(BlockingIOError):
        connection.recv(1)
    connection.settimeout(5)
    connection.sendall(sent[-1:])
    assert receive(connection, len(sent)) == sent


def test_a_client_that_reads_late_loses_nothing(connection: socket.socket) -> None:
    connection.setblocking(False)
    block = b"".join(frame(id, b"x" * 1_000) for id in range(64))
    sent = 0
    while True:  # Until neither side takes more: the answers wait in the server.
        try:
            sent += connection.send(block[sent % len(block) :])
        except BlockingIOError:
            break
    connection.settimeout(5)
    whole = sent - sent % (len(block) // 64)
    received = receive(connection, whole)
    assert received == (block * (whole // len(block) + 1))[:whole]


@pytest.mark.parametrize("workload", ["W1", "W2", "W6"])
def test_load_counts_calls_latency_and_processor_time(server: RunningServer, workload: str) -> None:
    order = LoadOrder(
        address=server.address,
        workload=workload,
        warm_seconds=0.02,
        seconds=0.1,
        server_processes=server.processes,
    )
    result = run_load(PEERS[0].client_command, order)
    assert result["calls"] > 0
    assert 0.1 <= result["seconds"] < 5
    assert 0 < result["p50_seconds"] <= result["p99_seconds"] <= result["p999_seconds"]
    assert 0 < result["client_cpu_seconds"] < 2 * result["seconds"]
    assert 0 < result["server_cpu_seconds"] < 2 * result["seconds"]


@pytest.fixture
def encrypting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningServer]:
    # The peer sets this variable for a run, and the test restores it.
    monkeypatch.setenv("OPENSSL_CONF", "/dev/null")
    ENCRYPTED.prepare()
    command = ENCRYPTED.server_command(tmp_path, WORKLOADS["W2"])
    with running_server(command, choose_cores().server) as running:
        yield running


ENCRYPTED = next(peer for peer in PEERS if peer.name == "c_echo_tls")


def test_the_encrypting_yardstick_echoes_in_the_chosen_cipher(encrypting: RunningServer) -> None:
    host, port = encrypting.address.removeprefix("tcp://").split(":")
    context = ssl.create_default_context(cafile=str(AUTHORITY))
    with (
        socket.create_connection((host, int(port)), 5) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        assert connection.cipher()[:2] == ("TLS_AES_128_GCM_SHA256", "TLSv1.3")  # type: ignore[index]
        for id, size in enumerate([0, 1, 32, 16 * 1024, 70_000, 1_000_000, 5]):
            sent = frame(id, bytes([id]) * size)
            connection.sendall(sent)
            assert receive(connection, len(sent)) == sent


@pytest.mark.parametrize("workload", ["W1", "W2", "W5"])
def test_the_encrypting_yardstick_measures(encrypting: RunningServer, workload: str) -> None:
    order = LoadOrder(
        address=encrypting.address,
        workload=workload,
        warm_seconds=0.02,
        seconds=0.1,
        server_processes=encrypting.processes,
    )
    result = run_load(ENCRYPTED.client_command, order)
    assert result["calls"] > 0
    assert result["cipher"] == "TLS_AES_128_GCM_SHA256"
    assert 0 < result["server_cpu_seconds"] < 2 * result["seconds"]
