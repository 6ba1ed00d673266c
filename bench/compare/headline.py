"""The README's table: eight figures of one run, each next to a stack that readers know."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.compare.tables import rate_cell, table, times_cell
from bench.compare.workloads import WORKLOADS, Workload

__all__ = ["CHOICE", "LENGTH", "Headline", "headline_table", "one_line"]

#: Rows of the table.
LENGTH = 8

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Headline:
    """A row of the table: one peer of ours on one workload."""

    title: str
    workload: str
    peer: str = "fastrpc"


#: The table shows the first eight that a result has.
CHOICE = (
    Headline("echo of 32 B, one call in flight (p50)", "W1"),
    Headline("echo of 32 B, 64 calls in flight", "W2"),
    Headline("typed record, 64 in flight", "W4"),
    Headline("echo of 64 KiB, 16 in flight", "W5"),
    Headline("stream from the server, messages of 32 B", "server_stream"),
    Headline("stream both ways, messages of 32 B", "both_ways"),
    Headline("HTTP: typed record as JSON by POST, 64 connections", "http_record", "fastrpc_http"),
    Headline("rpcx: typed `Mul` in msgpack, 64 in flight", "rpcx_mul", "fastrpc_rpcx"),
    Headline("native protocol: the same `Mul`", "rpcx_mul"),
    Headline("HTTP: hello by GET", "http_hello", "fastrpc_http"),
    Headline("stream from the client, messages of 32 B", "client_stream"),
    Headline("stream from the server, messages of 64 KiB", "server_stream_64K"),
)


def headline_table(result: Mapping[str, Any]) -> str:
    """Return the table; empty for a result with fewer than eight of its rows."""
    rows = {(row["peer"], row["workload"]): row for row in result["summary"]}
    body = [cells for headline in CHOICE if (cells := _cells(result, rows, headline)) is not None][:LENGTH]
    if len(body) < LENGTH:
        return ""
    return table(
        ["calls, requests or messages per second", "fastrpc", "beside", "that is", "`--workloads`"], body
    )


def one_line(result: Mapping[str, Any]) -> str:
    """Return the machine, the commit and the command of a result."""
    machine = result["machine"]
    place = f"{machine['processor']}, {machine['processors']} cores, {machine['python']}"
    return f"Commit {machine['commit']}, {machine['date'][:10]}, {place}: `{machine['command']}`.\n"


def _cells(
    result: Mapping[str, Any], rows: Mapping[tuple[str, str], Row], headline: Headline
) -> list[str] | None:
    workload = WORKLOADS[headline.workload]
    family = [
        row
        for (peer, name), row in rows.items()
        if name == workload.name and result["peers"][peer]["family"] == workload.base_family
    ]
    ours = rows.get((headline.peer, headline.workload))
    if ours is None or not family:
        return None
    base = max(family, key=lambda row: row["calls_per_second"])
    return [
        headline.title,
        f"**{_rate(ours, workload)}**",
        f"{result['peers'][base['peer']]['title']}: {_rate(base, workload)}",
        times_cell(ours["calls_per_second"] / base["calls_per_second"]),
        f"`{workload.name}`",
    ]


def _rate(row: Row, workload: Workload) -> str:
    # A stream is one operation with many messages: it has no median time.
    is_small_stream = workload.is_stream and not workload.name.endswith("_64K")
    return f"{row['calls_per_second']:,.0f}" if is_small_stream else rate_cell(row, workload)
