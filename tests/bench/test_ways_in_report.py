"""The tables of HTTP and rpcx, of rates that nobody measured."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bench.compare.measurement import Measurement
from bench.compare.paths import TABLES
from bench.compare.readme import SECTIONS, write_readme
from bench.compare.report import PeerNames, build_result, markdown
from bench.compare.rounds import Outcome
from bench.compare.ways_in_report import http_table, rpcx_table
from tests.bench.conftest import CONDITIONS

PEERS = {
    "fastrpc": PeerNames("fastrpc, uvloop", "fastrpc"),
    "fastrpc_http": PeerNames("fastrpc, HTTP", "fastrpc, HTTP"),
    "fastrpc_rpcx": PeerNames("fastrpc over rpcx", "fastrpc, rpcx"),
    "fastapi": PeerNames("FastAPI", "FastAPI"),
    "net_http": PeerNames("net/http", "net/http"),
    "rpcx": PeerNames("rpcx", "rpcx"),
}

RATES = {
    ("fastapi", "http_record"): 10_000,
    ("net_http", "http_record"): 50_000,
    ("fastrpc_http", "http_record"): 100_000,
    ("fastrpc_http", "http_hello"): 200_000,
    ("rpcx", "rpcx_mul"): 100_000,
    ("fastrpc_rpcx", "rpcx_mul"): 250_000,
    ("fastrpc", "rpcx_mul"): 500_000,
}


def result_of(rates: Mapping[tuple[str, str], int]) -> Mapping[str, Any]:
    outcomes = [
        Outcome(
            peer=peer,
            workload=workload,
            round=1,
            measurement=Measurement(
                calls=rate,
                seconds=1.0,
                client_cpu_seconds=1.0,
                server_cpu_seconds=0.5,
                p50_seconds=0.001,
                p99_seconds=0.002,
                p999_seconds=0.003,
                samples=10,
            ),
        )
        for (peer, workload), rate in rates.items()
    ]
    return build_result(CONDITIONS, PEERS, outcomes)


def test_http_is_compared_with_fastapi_and_go() -> None:
    lines = http_table(result_of(RATES)).splitlines()
    assert lines[2] == (
        "| **fastrpc, HTTP** | **100,000** | **10 ×** | **2.00 ×** | **5.0** | **200,000** | **–** | **–** | **2.5** |"
    )
    assert [line.split("|")[1].strip(" *") for line in lines[2:]] == ["fastrpc, HTTP", "net/http", "FastAPI"]


def test_rpcx_is_compared_with_go_on_both_sides_and_with_our_native_protocol() -> None:
    lines = rpcx_table(result_of(RATES)).splitlines()
    assert lines[3] == "| **fastrpc over rpcx** | **250,000** | **2.50 ×** | **50%** | **4.0** | **2.0** |"
    assert lines[4] == "| rpcx | 100,000 | 1.00 × | 20% | 10.0 | 5.0 |"


@pytest.mark.parametrize("names", [("http_record", "http_hello"), ("rpcx_mul",)])
def test_a_result_replaces_only_the_section_of_its_workloads(names: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / TABLES
    path.parent.mkdir()
    path.write_text("\n".join(f"{section.begin}\nold\n{section.end}" for section in SECTIONS))
    result = result_of({place: rate for place, rate in RATES.items() if place[1] in names})
    write_readme(result, tmp_path)
    blocks = {
        section.name: path.read_text().split(section.begin)[1].split(section.end)[0] for section in SECTIONS
    }
    changed = [name for name, block in blocks.items() if block.strip() != "old"]
    assert changed == ["http" if "http_record" in names else "rpcx"]
    tables = [line for line in blocks[changed[0]].splitlines() if line.startswith("| ")]
    assert tables
    assert all(line in markdown(result) for line in tables)
