import json
from dataclasses import replace
from typing import Any

import pytest

from bench.compare.measurement import Measurement
from bench.compare.report import PeerNames, build_result, latency_table, markdown, ratio_table
from bench.compare.rounds import Outcome

PEERS = {
    "c_echo": PeerNames("C echo", "C echo"),
    "fastrpc": PeerNames("fastrpc, uvloop", "fastrpc"),
    "grpc_asyncio": PeerNames("grpc.aio, asyncio", "grpc.aio"),
    "grpc_uvloop": PeerNames("grpc.aio, uvloop", "grpc.aio"),
    "grpc_sync": PeerNames("grpcio, threads", "grpcio sync"),
    "fastrpc_tls": PeerNames("fastrpc, TLS 1.3", "fastrpc"),
    "grpc_go_tls": PeerNames("grpc-go, TLS 1.3", "grpc-go, TLS 1.3"),
}

CONDITIONS = {
    "machine": {
        "date": "2026-01-01",
        "processor": "a processor",
        "processors": 2,
        "system": "Linux",
        "python": "CPython",
        "packages": {"uvloop": "1"},
        "commit": "abc",
        "command": "python -m bench.compare",
    },
    "settings": {
        "rounds": 3,
        "seconds": 1.0,
        "warm_seconds": 0.3,
        "server_core": 0,
        "client_core": 1,
        "urgent": False,
    },
    "left_out": [],
}


def measurement_of(calls: int, p50_seconds: float = 0.001) -> Measurement:
    return Measurement(
        calls=calls,
        seconds=2.0,
        client_cpu_seconds=1.0,
        server_cpu_seconds=0.5,
        p50_seconds=p50_seconds,
        p99_seconds=0.002,
        p999_seconds=0.003,
        samples=10,
    )


def outcome(peer: str, workload: str, calls: int, round: int = 1) -> Outcome:
    return Outcome(peer=peer, workload=workload, round=round, measurement=measurement_of(calls))


def result_of(*outcomes: Outcome) -> dict[str, Any]:
    return build_result(CONDITIONS, PEERS, outcomes)


def row_of(result: dict[str, Any], peer: str, workload: str) -> dict[str, Any]:
    return next(row for row in result["summary"] if (row["peer"], row["workload"]) == (peer, workload))


def test_the_median_of_the_rounds_counts() -> None:
    result = result_of(
        *(outcome("fastrpc", "W2", calls, round) for round, calls in enumerate((100, 900, 200), 1))
    )
    row = row_of(result, "fastrpc", "W2")
    assert (row["rounds"], row["calls_per_second"], row["spread"]) == (3, 100.0, 4.0)


def test_ratios_are_of_the_faster_grpc_loop_and_of_the_c_echo() -> None:
    result = result_of(
        outcome("c_echo", "W2", 4_000),
        outcome("grpc_asyncio", "W2", 10),
        outcome("grpc_uvloop", "W2", 20),
        outcome("fastrpc", "W2", 1_000),
    )
    row = row_of(result, "fastrpc", "W2")
    assert (row["times_base"], row["share_of_limit"]) == (50.0, 0.25)


def test_batches_are_held_against_the_workload_that_stands_in() -> None:
    result = result_of(outcome("grpc_uvloop", "W2", 20), outcome("fastrpc", "many", 8_000))
    row = row_of(result, "fastrpc", "many")
    assert (row["times_base"], row["share_of_limit"]) == (400.0, None)


def test_plain_handlers_are_held_against_grpc_with_threads() -> None:
    result = result_of(
        outcome("grpc_uvloop", "W2", 20),
        outcome("grpc_sync", "W2def", 40),
        outcome("fastrpc", "W2def", 400),
    )
    assert row_of(result, "fastrpc", "W2def")["times_base"] == 10.0


def test_median_times_are_compared_with_a_c_echo_that_waits_in_the_same_way() -> None:
    result = result_of(
        replace(outcome("c_echo", "W1", 10), measurement=measurement_of(10, p50_seconds=0.00005)),
        outcome("fastrpc", "W1", 10),
    )
    assert "| fastrpc, uvloop | 1,000.0 µs | C echo | 50.0 µs | 20.00 × |" in latency_table(result)
    assert latency_table(result_of(outcome("fastrpc", "W1", 10))) == ""


def test_one_peer_has_a_row_per_workload_with_its_ratios() -> None:
    result = result_of(
        outcome("c_echo", "W2", 4_000), outcome("grpc_uvloop", "W2", 20), outcome("fastrpc", "W2", 1_000)
    )
    assert ratio_table(result, "fastrpc").splitlines()[2:] == [
        "| 32 B, 64 in flight | 500 | 50 × grpc.aio | 25% |"
    ]
    assert ratio_table(result, "grpc_asyncio") == ""


def test_large_payloads_are_told_in_megabytes() -> None:
    row = row_of(result_of(outcome("fastrpc", "W6", 2_000)), "fastrpc", "W6")
    assert row["megabytes_per_second"] == pytest.approx(1048.576)


def test_the_tables_come_from_the_json_alone() -> None:
    result = result_of(outcome("fastrpc", "W1", 20_000), outcome("grpc_uvloop", "W1", 2_000))
    tables = markdown(json.loads(json.dumps(result)))
    assert "| fastrpc, uvloop | 10,000 (1,000.0 µs) |" in tables
    assert "| fastrpc, uvloop | 10 × |" in tables
    assert "| C echo |" not in tables


def test_a_failure_is_reported_and_costs_only_itself() -> None:
    failed = Outcome(peer="fastrpc", workload="W2", round=1, error="ProcessFailedError: no result\ndetails")
    result = result_of(failed, outcome("c_echo", "W2", 10))
    assert len(result["failures"]) == 1
    assert "- fastrpc W2, round 1: ProcessFailedError: no result" in markdown(result)


def test_a_disturbed_run_says_so() -> None:
    disturbed = outcome("fastrpc", "W2", 10)
    quiet = markdown(result_of(disturbed))
    loud = markdown(result_of(Outcome(**{**vars(disturbed), "disturbance": 0.2})))
    assert "Other programs took" not in quiet
    assert "Other programs took up to 20%" in loud


def test_encrypted_rows_name_their_cipher_and_a_table_shows_the_cost_of_encryption() -> None:
    def encrypted(peer: str, calls: int, cipher: str, round: int = 1) -> Outcome:
        measurement = replace(measurement_of(calls), cipher=cipher)
        return Outcome(peer=peer, workload="W2", round=round, measurement=measurement)

    result = result_of(
        outcome("fastrpc", "W2", 1000),
        encrypted("fastrpc_tls", 600, "AES_128"),
        encrypted("grpc_go_tls", 100, "AES_128"),
        encrypted("grpc_go_tls", 100, "CHACHA20", round=2),
    )
    ciphers = {row["peer"]: row["cipher"] for row in result["summary"]}
    assert ciphers == {"fastrpc": "", "fastrpc_tls": "AES_128", "grpc_go_tls": "AES_128, CHACHA20"}
    lines = markdown(result).splitlines()
    assert "| W2 fastrpc, TLS 1.3 | 300 | AES_128 | 60% | 6.00 × | – |" in lines
    assert "| W2 grpc-go, TLS 1.3 | 50 | AES_128, CHACHA20 | – | 1.00 × | – |" in lines


def test_without_tls_there_is_no_table_of_ciphers() -> None:
    assert "cipher" not in markdown(result_of(outcome("fastrpc", "W2", 1000)))
