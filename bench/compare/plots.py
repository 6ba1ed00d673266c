"""The pictures of a result: bars for the field, lines for what grows."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bench.compare.charts import Bar, Line, Role, bar_chart, line_chart, short_count, short_time
from bench.compare.growth import cpu_seconds, curve_points, show_quantity
from bench.compare.report import BASE_FAMILY, LIMIT_FAMILY
from bench.compare.workloads import CURVES, TABLE, Curve

__all__ = ["draw_plots", "write_plots"]

OUR_FAMILY = "fastrpc"

#: Workloads drawn as bars, and the quantity.
RATE_BARS = ("W2", "W4")
LATENCY_BARS = ("W1",)


def write_plots(result: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write a file per picture; return them in the order they are to be shown."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, picture in draw_plots(result).items():
        paths.append(folder / f"{name}.svg")
        paths[-1].write_text(picture)
    return paths


def draw_plots(result: Mapping[str, Any]) -> dict[str, str]:
    """Return the pictures by name; what was not measured is not drawn."""
    pictures = {}
    for name in (*RATE_BARS, *LATENCY_BARS):
        rows = [row for row in result["summary"] if row["workload"] == name]
        if len(rows) > 1:
            draw = _latency_bars if name in LATENCY_BARS else _rate_bars
            pictures[name.lower()] = draw(result, rows, TABLE[name].title)
    for curve in CURVES.values():
        points = curve_points(result, curve)
        if any(len(measured) > 1 for measured in points.values()):
            pictures[curve.name] = _growth_lines(result, curve, points)
    return pictures


def _role(result: Mapping[str, Any], peer: str) -> Role:
    family = result["peers"][peer]["family"]
    if family.startswith(LIMIT_FAMILY):
        return "limit"
    roles: Mapping[str, Role] = {OUR_FAMILY: "ours", BASE_FAMILY: "base"}
    return roles.get(family, "other")


def _bars(result: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], field: str) -> list[Bar]:
    return [
        Bar(result["peers"][row["peer"]]["title"], row[field], _role(result, row["peer"])) for row in rows
    ]


def _rate_bars(result: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], title: str) -> str:
    bars = sorted(_bars(result, rows, "calls_per_second"), key=lambda bar: -bar.value)
    return bar_chart(title[0].upper() + title[1:], "calls per second; longer is better", bars, short_count)


def _latency_bars(result: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], title: str) -> str:
    bars = sorted(_bars(result, rows, "p50_seconds"), key=lambda bar: bar.value)
    return bar_chart(title, "median time of a call; shorter is better", bars, short_time)


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
