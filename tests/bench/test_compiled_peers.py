"""The peers in Go and Rust: their programs are tried where a comparison has built them, never built here."""

import json
import os
from pathlib import Path

import msgspec
import pytest

from bench.compare import compiled
from bench.compare.certificates import make_certificates
from bench.compare.compiled import CompiledPeer, EncryptedGoPeer, full_order, is_newer, toolchain
from bench.compare.generators import find_generator
from bench.compare.measurement import LoadOrder, Measurement
from bench.compare.peers import (
    connectrpc,
    fastrpc_rpcx,
    grpc_go,
    kitex,
    net_http,
    rpcx,
    tarpc,
    tonic,
    volo_thrift,
)
from bench.compare.peers.base import PeerUnavailableError, find_peers
from bench.compare.processes import ProcessFailedError, choose_cores, run_client, running_server
from bench.compare.workloads import STREAMS, WORKLOADS

#: Named one by one: to find them takes the import of every other stack.
COMPILED = [
    peer
    for module in (connectrpc, fastrpc_rpcx, grpc_go, kitex, net_http, rpcx, tarpc, tonic, volo_thrift)
    for peer in module.PEERS
    if isinstance(peer, CompiledPeer)
]

each_peer = pytest.mark.parametrize("peer", COMPILED, ids=lambda peer: peer.name)

STREAM_WORKLOADS = [name for name in STREAMS if name not in {"server_stream_many", "server_stream_def"}]


def order_for(
    workload: str, address: str = "", server_processes: tuple[int, ...] = (), seconds: float = 0.1
) -> LoadOrder:
    return LoadOrder(
        address=address,
        workload=workload,
        warm_seconds=0.02,
        seconds=seconds,
        server_processes=server_processes,
    )


@pytest.fixture(autouse=True)
def openssl_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    # A peer over TLS sets this variable for a run, and the test restores it.
    monkeypatch.setenv("OPENSSL_CONF", "/dev/null")


@pytest.fixture(autouse=True)
def certificates_of_an_encrypted_peer_are_kept(request: pytest.FixtureRequest) -> None:
    if "peer" in request.fixturenames and isinstance(request.getfixturevalue("peer"), EncryptedGoPeer):
        request.getfixturevalue("certificates_are_kept")


def test_every_compiled_peer_is_tried() -> None:
    assert [peer for peer in find_peers()[0].values() if isinstance(peer, CompiledPeer)] == COMPILED


def needs_program(peer: CompiledPeer) -> None:
    if not peer.program.exists():
        pytest.skip(f"{peer.name} is not built: python -m bench.compare --peers={peer.name}")
    if isinstance(peer, EncryptedGoPeer):
        make_certificates()


@each_peer
@pytest.mark.parametrize(
    "workload", ["W1", "W2x512", "mul", "W4", "W6", "tail@5000", "rpcx_mul", *STREAM_WORKLOADS]
)
def test_load_counts_calls_latency_and_processor_time(
    peer: CompiledPeer, workload: str, tmp_path: Path
) -> None:
    needs_program(peer)
    if not peer.offers(WORKLOADS[workload]):
        pytest.skip(f"{peer.name} has no such operation")
    cores = choose_cores()
    with running_server(peer.server_command(tmp_path), cores.server) as server:
        # A machine that stalls for most of the shorter time makes too few calls in it, or the server has no tick of it.
        for seconds in (0.05, 0.2, 2.0):
            order = order_for(workload, server.address, server.processes, seconds)
            result = run_client(peer.client_command(order), cores.client, 1)
            measurement = msgspec.convert(result, Measurement)
            timed = WORKLOADS[workload].is_stream or measurement.p50_seconds
            if measurement.calls and measurement.server_cpu_seconds and timed:
                break
    assert measurement.calls > 0
    assert measurement.seconds >= seconds
    if WORKLOADS[workload].is_stream:
        assert measurement.samples == 0
    else:
        assert 0 < measurement.p50_seconds <= measurement.p99_seconds <= measurement.p999_seconds
    assert 0 < measurement.client_cpu_seconds < 2 * measurement.seconds
    assert 0 < measurement.server_cpu_seconds < 2 * measurement.seconds
    assert measurement.cipher == ("TLS_AES_128_GCM_SHA256" if isinstance(peer, EncryptedGoPeer) else "")


@pytest.mark.parametrize(
    "peer",
    [peer for peer in COMPILED if peer.offers(WORKLOADS["http_record_wrk"])],
    ids=lambda peer: peer.name,
)
def test_a_server_of_http_answers_the_record_under_wrk(peer: CompiledPeer, tmp_path: Path) -> None:
    needs_program(peer)
    try:
        find_generator("wrk")
    except PeerUnavailableError as error:
        pytest.skip(str(error))
    cores = choose_cores()
    with running_server(peer.server_command(tmp_path), cores.server) as server:
        order = order_for("http_record_wrk", server.address, server.processes, 1.0)
        # It raises for an answer that is not the record.
        measurement = msgspec.convert(run_client(peer.client_command(order), cores.client, 1), Measurement)
    assert measurement.calls > 0


@each_peer
@pytest.mark.parametrize("workload", ["W1", "server_stream", "client_stream", "both_ways"])
def test_a_client_without_a_server_tells_why(peer: CompiledPeer, workload: str) -> None:
    needs_program(peer)
    if not peer.offers(WORKLOADS[workload]):
        pytest.skip(f"{peer.name} has no such operation")
    # Port 1 is reserved for a service that nobody runs.
    with pytest.raises(ProcessFailedError, match="(?i)refused|transport|connection"):
        run_client(peer.client_command(order_for(workload, "127.0.0.1:1")), choose_cores().client, 1)


@each_peer
def test_the_measured_library_has_a_locked_version(peer: CompiledPeer) -> None:
    assert [part.isdigit() for part in peer.version.split(".")] == [True] * 3


def test_configurations_of_one_stack_have_the_same_version() -> None:
    versions = {(peer.stack, peer.version) for peer in COMPILED}
    assert len(versions) == len(dict(versions))
    assert {"connectrpc", "grpc-go", "kitex", "volo-thrift"} <= set(dict(versions))


@each_peer
def test_a_peer_without_its_toolchain_is_left_out_by_name(
    peer: CompiledPeer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(compiled, "BUILD", tmp_path)
    monkeypatch.setattr(compiled, "USUAL_PLACES", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PeerUnavailableError, match="no (go|cargo) found"):
        peer.prepare()


def test_the_clients_of_connectrpc_name_their_protocol() -> None:
    protocols = [
        json.loads(peer.client_command(order_for("W4", "here"))[-1])["protocol"]
        for peer in connectrpc.PEERS[:2]
    ]
    assert protocols == ["connect", "grpc"]


def test_a_toolchain_is_found_where_its_installer_puts_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "cargo"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setattr(compiled, "USUAL_PLACES", (str(tmp_path),))
    monkeypatch.setenv("PATH", "")
    assert toolchain("cargo") == str(program)


def test_an_order_spells_the_workload_out() -> None:
    order = json.loads(json.dumps(full_order(order_for("W4", "here", (7,)))))
    record = order.pop("record")
    assert (record["id"], record["name"], record["score"], tuple(record["tags"])) == WORKLOADS["W4"].expected
    assert order == {
        "address": "here",
        "workload": "W4",
        "warm_seconds": 0.02,
        "seconds": 0.1,
        "server_processes": [7],
        "operation": "record",
        "payload_bytes": 0,
        "in_flight": 64,
        "rate": 0,
        "sample_every": 8,
    }


def test_a_program_older_than_a_source_is_built_again(tmp_path: Path) -> None:
    program, source = tmp_path / "program", tmp_path / "source"
    source.touch()
    assert not is_newer(program, [source])
    program.touch()
    os.utime(source, (1, 1))
    assert is_newer(program, [source])
    os.utime(program, (1, 1))
    assert not is_newer(program, [source])
