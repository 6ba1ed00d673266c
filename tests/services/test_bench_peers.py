"""Python peers run once, and briefly: their answers are checked, their figures are not."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bench.agreement import load
from bench.beside import in_flight
from bench.compare.generators import find_generator
from bench.compare.paths import ROOT
from bench.compare.peers.base import PeerUnavailableError
from fastrpc.coordination import open_store
from fastrpc.registries.etcd.gateway import Gateway
from tests.conftest import SCALE
from tests.support.registry_servers import EtcdServer

PEERS = (
    "aiohttp",
    "apache_thrift",
    "c_echo",
    "c_http",
    "c_sink",
    "django_bolt",
    "fastapi",
    "fastrpc",
    "fastrpc_asyncio",
    "fastrpc_blocking",
    "fastrpc_grpc",
    "fastrpc_grpc_blocking",
    "fastrpc_grpc_stub",
    "fastrpc_grpc_stub_under_h2load",
    "fastrpc_http",
    "fastrpc_rpcx",
    "granian",
    "grpc_asyncio",
    "grpc_sync",
    "grpc_uvloop",
    "grpclib",
    "h2corn",
    "nats",
    "pycapnp",
    "pygrpc_native_under_h2load",
    "rpyc",
    "thriftpy2",
    "uvicorn_zttp",
)

#: Our own peers and the yardsticks in C run in `make services`, the other ones in `make soak`: our changes do not touch
#: them.
OURS = (
    "c_echo",
    "c_http",
    "c_sink",
    "fastrpc",
    "fastrpc_blocking",
    "fastrpc_grpc",
    "fastrpc_grpc_blocking",
    "fastrpc_grpc_stub",
    "fastrpc_http",
    "fastrpc_rpcx",
)
TRIED = PEERS if SCALE > 1 else OURS

#: Raw bytes, integers and the record; then workloads that only some peers offer. Each peer starts two processes for
#: each workload: if workloads differ only in the operation, one is enough for `make services`.
WORKLOADS = ("W5", "mul", "W4") if SCALE > 1 else ("W5", "W4")
#: Each kind of stream, and both sizes.
STREAMS = ("server_stream", "client_stream_64K", "both_ways") if SCALE > 1 else ("server_stream",)
#: By other protocols.
HTTP = ("http_record", "http_hello")
SPECIAL_WORKLOADS = (
    (
        "W2meta",
        "W2def",
        "many",
        "connections@10",
        "methods@10",
        "server_stream_many",
        "server_stream_def",
        "tail@5000",
    )
    if SCALE > 1
    else ("many", "connections@10", "server_stream_def", "tail@5000")
)

#: The workloads that yardsticks and other protocols offer; the other peers offer `WORKLOADS`, and `STREAMING` streams
#: too.
OFFERED = {
    "c_echo": {"W5"},
    "c_http": {*HTTP},
    "c_sink": {"server_stream", "client_stream_64K"} & {*STREAMS},
    "fastrpc_grpc": {*WORKLOADS, "server_stream"} - {"mul"},
    "django_bolt": {*HTTP},
    "fastrpc_grpc_blocking": {"W5"},
    "fastrpc_grpc_stub_under_h2load": {"W5"},
    "fastrpc_http": {*HTTP},
    "fastrpc_rpcx": {"rpcx_mul"},
    "granian": {*HTTP},
    "h2corn": {*HTTP},
    "pygrpc_native_under_h2load": {"W5"},
    "uvicorn_zttp": {*HTTP},
}
#: Further workloads that only some peers offer.
AT_ONCE = ("client_stream_many", "client_stream_list", "both_ways_many", "both_ways_list")
FURTHER = {
    "aiohttp": HTTP,
    "fastapi": HTTP,
    "fastrpc": ("rpcx_mul",),
    "fastrpc_asyncio": ("rpcx_mul",),
    "fastrpc_blocking": AT_ONCE,
}
STREAMING = (
    "fastrpc",
    "fastrpc_asyncio",
    "fastrpc_blocking",
    "fastrpc_grpc_stub",
    "grpc_asyncio",
    "grpc_sync",
    "grpc_uvloop",
)

BRIEF = ("--rounds=1", "--seconds=0.1", "--warm-seconds=0.02")


def compare(folder: Path, peers: list[str], workloads: tuple[str, ...]) -> Mapping[str, Any]:
    arguments = [f"--peers={','.join(peers)}", f"--workloads={','.join(workloads)}", f"--output={folder}"]
    command = [sys.executable, "-m", "bench.compare", *BRIEF, *arguments]
    outcome = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    print(outcome.stdout, outcome.stderr)  # Why a workload was left out, should that fail a test.
    result: Mapping[str, Any] = json.loads((folder / "compare.json").read_text())
    return result


@pytest.fixture(scope="module")
def available() -> list[str]:
    """Return the peers to try whose packages are installed; a separate process asks, as imports may warn."""
    code = "import json; from bench.compare.peers.base import find_peers; print(json.dumps(list(find_peers()[0])))"
    output = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True).stdout
    return [name for name in json.loads(output) if name in TRIED]


@pytest.fixture(scope="module")
def result(available: list[str], tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    return compare(
        tmp_path_factory.mktemp("compare"), available, (*WORKLOADS, *STREAMS, *AT_ONCE, *HTTP, "rpcx_mul")
    )


@pytest.mark.parametrize("name", TRIED)
def test_a_peer_answers_rightly(name: str, available: list[str], result: Mapping[str, Any]) -> None:
    if name not in available:
        pytest.skip(f"{name}: its packages are not installed (make compare installs them)")
    if missing := [reason for reason in result["left_out"] if reason.startswith(f"{name} (")]:
        pytest.skip(missing[0])
    rows = {row["workload"]: row for row in result["summary"] if row["peer"] == name}
    streams = STREAMS if name in STREAMING else ()
    assert set(rows) == OFFERED.get(name, {*WORKLOADS, *streams, *FURTHER.get(name, ())})
    for row in rows.values():
        assert row["calls_per_second"] > 0
        assert row["client_cpu_per_call"] > 0
        assert row["server_cpu_per_call"] > 0


def test_wrk_loads_our_server(tmp_path: Path) -> None:
    try:
        find_generator("wrk")
    except PeerUnavailableError as error:
        pytest.skip(str(error))
    result = compare(tmp_path, ["fastrpc_http"], ("http_record_wrk",))
    (row,) = result["summary"]
    assert row["calls_per_second"] > 0
    assert 0 < row["p50_seconds"] <= row["p99_seconds"]


def test_requests_of_a_lock_alone_have_a_figure(etcd: EtcdServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_flight, "WARM_SECONDS", 0.0)
    assert load.gateway(etcd.url, 0.01) > 0


async def test_lock_of_etcd_makes_the_four_requests_of_the_comparison(
    etcd: EtcdServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    ask = Gateway.ask

    def ask_noted(self: Gateway, path: str, *given: Any, **named: Any) -> Any:
        asked.append(path)
        return ask(self, path, *given, **named)

    async with open_store(etcd.url) as store:
        await store.get("bench")
        monkeypatch.setattr(Gateway, "ask", ask_noted)
        async with store.lock("bench"):
            pass
    assert asked == ["lease/grant", "kv/txn", "kv/range", "lease/revoke"]


def test_special_workloads_are_measured_only_for_peers_that_offer_them(tmp_path: Path) -> None:
    result = compare(tmp_path, ["c_echo", "fastrpc", "uvloop_echo"], SPECIAL_WORKLOADS)
    measured = {(row["peer"], row["workload"]) for row in result["summary"]}
    of_yardsticks = {("c_echo", "connections@10"), ("uvloop_echo", "tail@5000")}
    assert measured == {("fastrpc", name) for name in SPECIAL_WORKLOADS} | of_yardsticks
    assert (tmp_path / "compare.md").read_text().count("fastrpc, uvloop") >= len(SPECIAL_WORKLOADS) - 1
