"""Bars of calls and of HTTP, of rates that nobody measured."""

from collections.abc import Mapping
from typing import Any

import pytest

from bench.compare.bars import CALL_BARS, HTTP2_BARS, HTTP_BARS, bars_table
from bench.compare.peers.base import find_peers
from bench.compare.workloads import TABLE, WORKLOADS


def result_of(rates: Mapping[tuple[str, str], float]) -> Mapping[str, Any]:
    rows = [
        {"peer": peer, "workload": workload, "calls_per_second": rate}
        for (peer, workload), rate in rates.items()
    ]
    return {"summary": rows}


@pytest.mark.parametrize(("ours", "verdict"), [(250.0, "yes"), (150.0, "**no**")])
def test_our_rate_is_compared_with_the_best_other_rate(ours: float, verdict: str) -> None:
    rates = {
        ("fastrpc_http", "http_record"): ours,
        ("granian", "http_record"): 50.0,
        ("h2corn", "http_record"): 100.0,
    }
    line = bars_table(result_of(rates), HTTP_BARS).splitlines()[-1]
    assert line.endswith(f"| {ours / 100:.2f} × | ≥ 2 | {verdict} |")


def test_bars_that_were_not_measured_are_left_out() -> None:
    assert bars_table(result_of({("fastrpc", "W2"): 1.0}), CALL_BARS) == ""


def test_bars_of_http_name_peers_of_its_workloads() -> None:
    for bar in (*HTTP_BARS, *HTTP2_BARS):
        assert bar.ours in (WORKLOADS[bar.workload].only_peers or ())
        assert {*bar.others} <= {*(WORKLOADS[bar.other_workload or bar.workload].only_peers or ())}


def test_a_rate_may_be_held_against_one_of_another_workload() -> None:
    rates = {("fastrpc_http", "http2_record"): 90.0, ("fastrpc_http", "http1_record_h2load"): 60.0}
    line = bars_table(result_of(rates), HTTP2_BARS).splitlines()[-1]
    assert line.endswith("| 1.50 × | ≥ 1 | yes |")


def test_bars_of_calls_name_peers_that_the_table_has() -> None:
    found = find_peers()[0]
    for bar in CALL_BARS:
        for peer in (found[name] for name in (bar.ours, *bar.others)):
            assert peer.offers(TABLE[bar.workload])
            assert peer.by_default
