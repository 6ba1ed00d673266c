"""The cost of a call while one quantity grows, as tables; the plots draw the same points."""

from collections.abc import Mapping
from typing import Any

from bench.compare.tables import NOTHING, table
from bench.compare.workloads import CURVES, Curve

__all__ = ["cpu_seconds", "curve_points", "growth_tables", "short_size", "show_quantity"]


def curve_points(result: Mapping[str, Any], curve: Curve) -> dict[str, list[tuple[int, Mapping[str, Any]]]]:
    """Return, by peer, the quantities in order and the row that was measured at each."""
    rows = {(row["peer"], row["workload"]): row for row in result["summary"]}
    points: dict[str, list[tuple[int, Mapping[str, Any]]]] = {}
    for peer in result["peers"]:
        measured = [
            (quantity, rows[peer, name]) for quantity, name in curve.points.items() if (peer, name) in rows
        ]
        if measured:
            points[peer] = measured
    return points


def growth_tables(result: Mapping[str, Any]) -> str:
    """Return a table per measured curve; empty if there is none."""
    parts = []
    for curve in CURVES.values():
        points = curve_points(result, curve)
        if points:
            parts.append(
                f"{curve.title}: µs of CPU per call, both sides (µs elapsed ÷ calls), by {curve.axis}.\n"
            )
            parts.append(_curve_table(result, curve, points))
        if curve.name == "connections" and (memory := _connection_memory(result, points)):
            parts.append(memory)
    return "\n".join(parts)


def short_size(size: float) -> str:
    """Return a number of bytes as in 64K, in the largest unit that leaves no remainder."""
    number = int(size)
    for unit, name in ((2**20, "M"), (2**10, "K")):
        if number and number % unit == 0:
            return f"{number // unit}{name}"
    return f"{number:,}"


def show_quantity(curve: Curve, quantity: float) -> str:
    """Return a quantity as the curve's axis shows it."""
    return short_size(quantity) if curve.in_bytes else f"{quantity:,.0f}"


def cpu_seconds(row: Mapping[str, Any]) -> float:
    """Return the processor time of both sides for a call, without its waiting time."""
    spent: float = row["client_cpu_per_call"] + row["server_cpu_per_call"]
    return spent


def _connection_memory(
    result: Mapping[str, Any], points: Mapping[str, list[tuple[int, Mapping[str, Any]]]]
) -> str:
    """Tell the slope of the servers' memory between the last two numbers of connections."""
    slopes = []
    for peer, measured in points.items():
        if len(measured) > 1:
            (fewer, before), (more, after) = measured[-2:]
            slope = (after["server_peak_bytes"] - before["server_peak_bytes"]) / (more - fewer)
            title = result["peers"][peer]["title"]
            slopes.append(f"{title} {slope / 1024:.1f} KiB (from {fewer:,} to {more:,})")
    return f"One more connection takes of the server: {', '.join(slopes)}.\n" if slopes else ""


def _curve_table(
    result: Mapping[str, Any], curve: Curve, points: Mapping[str, list[tuple[int, Mapping[str, Any]]]]
) -> str:
    quantities = [
        quantity
        for quantity in curve.points
        if any(quantity in dict(measured) for measured in points.values())
    ]
    body = []
    for peer, measured in points.items():
        rows = dict(measured)
        cells = [_cell(rows[quantity]) if quantity in rows else NOTHING for quantity in quantities]
        body.append([result["peers"][peer]["title"], *cells])
    return table(["", *(show_quantity(curve, quantity) for quantity in quantities)], body)


def _cell(row: Mapping[str, Any]) -> str:
    spent, elapsed = (
        f"{seconds * 1e6:,.0f}" if seconds >= 1e-4 else f"{seconds * 1e6:.3g}"
        for seconds in (cpu_seconds(row), 1 / row["calls_per_second"])
    )
    return f"{spent} ({elapsed})"
