from collections.abc import Mapping
from typing import Any

import pytest

from bench.compare.growth import curve_points, growth_tables, short_size
from bench.compare.report import markdown
from bench.compare.workloads import CURVES, TABLE, WORKLOADS


def test_a_curve_has_the_measured_quantities_in_order(result: Mapping[str, Any]) -> None:
    points = curve_points(result, CURVES["payload"])
    assert {peer: [quantity for quantity, _ in measured] for peer, measured in points.items()} == {
        "c_echo": [0, 65536],
        "fastrpc": [0, 64, 65536],
    }
    assert points["fastrpc"][2][1]["calls_per_second"] == 40_000


def test_a_table_shows_cpu_time_elapsed_time_and_missing_measurements(result: Mapping[str, Any]) -> None:
    lines = growth_tables(result).splitlines()
    assert "|  | 0 | 64 | 64K |" in lines
    assert "| C echo | 10 (10) | – | 20 (20) |" in lines
    assert "| fastrpc, uvloop | 12.5 (12.5) | 12.5 (12.5) | 25 (25) |" in lines
    assert "| fastrpc, uvloop | 2.5 (2.5) |" in lines


def test_the_memory_of_a_connection_is_the_slope_between_two_points(result: Mapping[str, Any]) -> None:
    told = "One more connection takes of the server: fastrpc, uvloop 3.0 KiB (from 1,000 to 10,000)."
    assert told in growth_tables(result)


def test_curves_that_nobody_measured_have_no_table(result: Mapping[str, Any]) -> None:
    assert "calls in flight" not in growth_tables(result)
    assert growth_tables({**result, "summary": []}) == ""


def test_growth_stays_out_of_the_table_of_workloads(result: Mapping[str, Any]) -> None:
    header = next(line for line in markdown(result).splitlines() if line.startswith("|  | W1"))
    assert "payload" not in header


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0"), (64, "64"), (1000, "1,000"), (1024, "1K"), (1536, "1,536"), (2**24, "16M")]
)
def test_sizes_are_short_only_where_nothing_is_lost(size: int, text: str) -> None:
    assert short_size(size) == text


@pytest.mark.parametrize("curve", CURVES.values(), ids=lambda curve: curve.name)
def test_points_grow_and_are_workloads_outside_the_table(curve: Any) -> None:
    assert list(curve.points) == sorted(curve.points)
    assert all(name in WORKLOADS and name not in TABLE for name in curve.points.values())
