"""The pictures of a result: bars for the comparison of peers, lines for growth."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bench.compare.charts import Bar, Line, Role, bar_chart, line_chart, short_count, short_time
from bench.compare.growth import cpu_seconds, curve_points, show_quantity
from bench.compare.report import BASE_FAMILY, LIMIT_FAMILY
from bench.compare.workloads import CURVES, WORKLOADS, Curve, Workload

__all__ = ["draw_plots", "write_plots"]

OUR_FAMILY = "fastrpc"

#: Workloads drawn as bars of rates, and the unit.
RATE_BARS = {"W2": "calls", "W4": "calls", "server_stream": "messages", "http_record": "requests"}
#: Workloads drawn as bars of median times.
LATENCY_BARS = ("W1",)
#: Families of the yardsticks in C.
LIMIT_FAMILIES = (LIMIT_FAMILY, "C, ")


def write_plots(result: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write a file per picture; return them in the order they are to be shown."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, picture in draw_plots(result).items():
        paths.append(folder / f"{name}.svg")
        paths[-1].write_text(picture)
    return paths


def draw_plots(result: Mapping[str, Any]) -> dict[str, str]:
    """Return the pictures by name; figures that were not measured are not drawn."""
    pictures = {}
    for name in (*RATE_BARS, *LATENCY_BARS):
        rows = [row for row in result["summary"] if row["workload"] == name]
        if WORKLOADS[name].is_stream:
            # A loop in C that only copies bytes is so far ahead that all other bars would look alike.
            rows = [row for row in rows if _role(result, row["peer"]) != "limit"]
        if len(rows) > 1:
            draw = _latency_bars if name in LATENCY_BARS else _rate_bars
            pictures[name.lower()] = draw(result, rows, WORKLOADS[name])
    for curve in CURVES.values():
        points = curve_points(result, curve)
        if any(len(measured) > 1 for measured in points.values()):
            pictures[curve.name] = _growth_lines(result, curve, points)
    return pictures


def _role(result: Mapping[str, Any], peer: str, base: str = BASE_FAMILY) -> Role:
    family = result["peers"][peer]["family"]
    if family.startswith(LIMIT_FAMILIES):
        return "limit"
    if family.split(",")[0] == OUR_FAMILY:
        return "ours"
    return "base" if family == base else "other"


def _bars(
    result: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], workload: Workload, field: str
) -> list[Bar]:
    return [
        Bar(
            result["peers"][row["peer"]]["title"],
            row[field],
            _role(result, row["peer"], workload.base_family),
        )
        for row in rows
    ]


def _rate_bars(result: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], workload: Workload) -> str:
    bars = sorted(_bars(result, rows, workload, "calls_per_second"), key=lambda bar: -bar.value)
    title = workload.title[0].upper() + workload.title[1:]
    return bar_chart(title, f"{RATE_BARS[workload.name]} per second; longer is better", bars, short_count)


def _latency_bars(result: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], workload: Workload) -> str:
    bars = sorted(_bars(result, rows, workload, "p50_seconds"), key=lambda bar: bar.value)
    return bar_chart(workload.title, "median time of a call; shorter is better", bars, short_time)


def _growth_lines(
    result: Mapping[str, Any], curve: Curve, points: Mapping[str, list[tuple[int, Mapping[str, Any]]]]
) -> str:
    lines = [
        Line(
            result["peers"][peer]["title"],
            _role(result, peer),
            [(quantity, cpu_seconds(row)) for quantity, row in measured],
        )
        for peer, measured in points.items()
    ]
    show = (partial(show_quantity, curve), short_time)
    return line_chart(curve.title, (curve.axis, "CPU time of a call, both sides"), lines, show)
