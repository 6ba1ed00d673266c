"""A comparison's result without measuring one, and the certificates that its encrypted peers share."""

import fcntl
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from bench.compare.measurement import Measurement
from bench.compare.paths import BUILD
from bench.compare.report import PeerNames, build_result
from bench.compare.rounds import Outcome
from bench.compare.workloads import WORKLOADS

PEERS = {
    "c_echo": PeerNames("C echo", "C echo"),
    "fastrpc": PeerNames("fastrpc, uvloop", "fastrpc"),
    "grpc_uvloop": PeerNames("grpc.aio, uvloop", "grpc.aio"),
    "nats": PeerNames("NATS & friends", "NATS"),
}

CONDITIONS: Mapping[str, Any] = {
    "machine": {
        "date": "2026-01-01",
        "processor": "a processor",
        "processors": 2,
        "system": "Linux",
        "python": "CPython",
        "packages": {"uvloop": "1"},
        "commit": "abc",
        "command": "make compare",
    },
    "settings": {
        "rounds": 1,
        "seconds": 1.0,
        "warm_seconds": 0.3,
        "server_core": 0,
        "client_core": 1,
        "urgent": False,
    },
    "left_out": [],
}

#: Calls per second by peer and workload; each second costs client and server half a second of CPU.
RATES = {
    ("c_echo", "W1"): 20_000,
    ("c_echo", "W2"): 1_000_000,
    ("fastrpc", "W1"): 16_000,
    ("fastrpc", "W2"): 400_000,
    ("fastrpc", "W5"): 40_000,
    ("grpc_uvloop", "W2"): 8_000,
    ("nats", "W2"): 50_000,
    ("c_echo", "payload@0"): 100_000,
    ("c_echo", "payload@65536"): 50_000,
    ("fastrpc", "payload@0"): 80_000,
    ("fastrpc", "payload@64"): 80_000,
    ("fastrpc", "payload@65536"): 40_000,
    ("fastrpc", "methods@1"): 400_000,
    ("fastrpc", "connections@1000"): 100_000,
    ("fastrpc", "connections@10000"): 80_000,
}


@pytest.fixture
def certificates_are_kept() -> Iterator[None]:
    """Let no other worker make the certificates anew while a test uses them: they lie in one folder."""
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / "certificates.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture
def result() -> Mapping[str, Any]:
    """The result of a run that measured `RATES`."""
    outcomes = []
    for (peer, workload), rate in RATES.items():
        measurement = Measurement(
            calls=rate,
            seconds=1.0,
            client_cpu_seconds=0.5,
            server_cpu_seconds=0.5,
            p50_seconds=1 / rate,
            p99_seconds=2 / rate,
            p999_seconds=3 / rate,
            samples=10,
        )
        # 3 KiB for each connection, and a megabyte for everything else.
        memory = 2**20 + 3 * 1024 * WORKLOADS[workload].connections
        outcomes.append(
            Outcome(peer=peer, workload=workload, round=1, measurement=measurement, server_peak_bytes=memory)
        )
    return build_result(CONDITIONS, PEERS, outcomes)
