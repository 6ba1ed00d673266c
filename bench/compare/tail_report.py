"""The table of tails: how long calls take at fixed rates, from the instant at which each was due."""

from collections.abc import Mapping
from typing import Any

from bench.compare.tables import NOTHING, table
from bench.compare.workloads import TAILS

__all__ = ["tail_table"]

OURS = "fastrpc"


def tail_table(result: Mapping[str, Any]) -> str:
    """Return a row per peer with p50, p99 and p99.9 at each rate; empty if no rate was measured."""
    rows = {(row["peer"], row["workload"]): row for row in result["summary"] if row["workload"] in TAILS}
    workloads = [workload for workload in TAILS.values() if any(name == workload.name for _, name in rows)]
    if not workloads:
        return ""
    body = []
    for peer, names in result["peers"].items():
        if any(peer == measured for measured, _ in rows):
            line = [names["title"], *(_cell(rows.get((peer, workload.name))) for workload in workloads)]
            body.append([f"**{cell}**" for cell in line] if peer == OURS else line)
    return table(["", *(f"{workload.rate:,}/s" for workload in workloads)], body)


def _cell(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return NOTHING
    times = (row[name] for name in ("p50_seconds", "p99_seconds", "p999_seconds"))
    return " · ".join(f"{seconds * 1e6:,.0f}" for seconds in times) + " µs"
