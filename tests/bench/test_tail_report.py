from collections.abc import Mapping
from typing import Any

import pytest

from bench.compare.measurement import Measurement
from bench.compare.readme import streams_block
from bench.compare.report import PeerNames, build_result, markdown
from bench.compare.rounds import Outcome
from bench.compare.tail_report import tail_table

PEERS = {"fastrpc": PeerNames("fastrpc, uvloop", "fastrpc"), "tarpc": PeerNames("tarpc", "tarpc")}

#: The p50 in seconds; p99 and p99.9 are twice and ten times that.
TIMES = {("fastrpc", "tail@5000"): 20e-6, ("fastrpc", "tail@100000"): 30e-6, ("tarpc", "tail@5000"): 25e-6}


@pytest.fixture
def tails(result: Mapping[str, Any]) -> dict[str, Any]:
    """The result of a run that measured `TIMES`."""
    outcomes = [
        Outcome(
            peer=peer,
            workload=workload,
            round=1,
            measurement=Measurement(
                calls=1_000,
                seconds=1.0,
                client_cpu_seconds=0.5,
                server_cpu_seconds=0.5,
                p50_seconds=seconds,
                p99_seconds=2 * seconds,
                p999_seconds=10 * seconds,
                samples=1_000,
            ),
        )
        for (peer, workload), seconds in TIMES.items()
    ]
    conditions = {name: result[name] for name in ("machine", "settings", "left_out")}
    return build_result(conditions, PEERS, outcomes)


def test_a_peer_has_its_percentiles_at_each_rate(tails: dict[str, Any]) -> None:
    assert tail_table(tails).splitlines() == [
        "|  | 5,000/s | 100,000/s |",
        "| --- | ---: | ---: |",
        "| **fastrpc, uvloop** | **20 · 40 · 200 µs** | **30 · 60 · 300 µs** |",
        "| tarpc | 25 · 50 · 250 µs | – |",
    ]


def test_the_report_and_the_page_of_results_show_tails(tails: dict[str, Any]) -> None:
    for text in (markdown(tails), streams_block(tails, [])):
        assert tail_table(tails) in text


def test_without_tails_there_is_no_table_of_tails(result: Mapping[str, Any]) -> None:
    assert tail_table(result) == ""
    assert "open loop" not in markdown(result)
