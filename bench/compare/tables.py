"""Markdown tables, and how their cells show ratios."""

from collections.abc import Mapping, Sequence
from typing import Any

from bench.compare.workloads import Workload

__all__ = ["NOTHING", "rate_cell", "share_cell", "table", "times_cell"]

#: The content of a cell without a measurement.
NOTHING = "–"


def table(header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Return a table whose first column is text and whose other columns are figures."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [header, rule, *body]) + "\n"


def times_cell(times: float) -> str:
    """Return a multiple with three digits that matter."""
    return f"{times:,.2f} ×" if times < 10 else f"{times:,.0f} ×"


def share_cell(share: float) -> str:
    """Return a share in percent, small ones with a decimal."""
    return f"{share:.1%}" if share < 0.1 else f"{share:.0%}"


def rate_cell(row: Mapping[str, Any], workload: Workload) -> str:
    """Return a rate in the unit that fits the workload."""
    if workload.payload_bytes >= 4096:
        return f"{row['megabytes_per_second']:,.0f} MB/s"
    rate = f"{row['calls_per_second']:,.0f}"
    if workload.in_flight * workload.batch == 1:
        return f"{rate} ({row['p50_seconds'] * 1e6:,.1f} µs)"
    return rate
