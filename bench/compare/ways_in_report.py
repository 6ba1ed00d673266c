"""The tables of other protocols: HTTP under one load generator, and both sides of rpcx's wire."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bench.compare.bars import HTTP2_BARS, HTTP_BARS, bars_table
from bench.compare.tables import NOTHING, share_cell, table, times_cell
from bench.compare.workloads import HTTP, HTTP2, RPCX, Workload

__all__ = ["HTTP_TITLE", "RPCX_TITLE", "http_table", "rpcx_table"]

HTTP_TITLE = (
    "HTTP/1.1 with keep-alive, 64 connections with one request each, one core for each server; one generator in C\n"
    "for all, or wrk. Requests/s, and the server's processor time for one:\n"
)
HTTP2_TITLE = (
    "The same requests by both versions of HTTP, under h2load. Requests/s, and the server's processor time for\n"
    "one:\n"
)
RPCX_TITLE = (
    "Typed `Mul` in msgpack, 64 in flight on one connection, one core for each side. Calls/s, and processor time for\n"
    "one:\n"
)

Row = Mapping[str, Any]

#: The rows of these are printed in bold.
OURS = ("fastrpc_http", "fastrpc_rpcx", "fastrpc_rpcx_client", "fastrpc_rpcx_server")


def http_table(result: Mapping[str, Any]) -> str:
    """Return a row per server, the fastest first, then the bars; empty without measurements."""
    servers = _table(result, HTTP, _http_cells, ["{title}", "of FastAPI", "of net/http", "server µs"])
    both = _table(result, HTTP2, _http_cells, ["{title}", "of hypercorn", "of h2corn", "server µs"])
    parts = (
        servers,
        bars_table(result, HTTP_BARS),
        both and HTTP2_TITLE,
        both,
        bars_table(result, HTTP2_BARS),
    )
    return "\n".join(part for part in parts if part)


def rpcx_table(result: Mapping[str, Any]) -> str:
    """Return a row per pair of client and server, the fastest first; empty if no pair was measured."""
    heads = ["{title}", "of Go on both sides", "of our own wire", "client µs", "server µs"]
    return _table(result, RPCX, _rpcx_cells, heads)


def _table(
    result: Mapping[str, Any],
    workloads: Mapping[str, Workload],
    cells_of: Callable[[Row], Sequence[str]],
    heads: Sequence[str],
) -> str:
    rows = {(row["peer"], row["workload"]): row for row in result["summary"] if row["workload"] in workloads}
    measured = [workload for workload in workloads.values() if any(name == workload.name for _, name in rows)]
    if not measured:
        return ""
    order = sorted(
        {peer for peer, _ in rows},
        key=lambda peer: -max(row["calls_per_second"] for place, row in rows.items() if place[0] == peer),
    )
    body = []
    for peer in order:
        cells = [result["peers"][peer]["title"]]
        for workload in measured:
            row = rows.get((peer, workload.name))
            cells += cells_of(row) if row else [NOTHING] * len(heads)
        body.append([f"**{cell}**" for cell in cells] if peer in OURS else cells)
    return table(["", *(head.format(title=workload.title) for workload in measured for head in heads)], body)


def _http_cells(row: Row) -> Sequence[str]:
    ratios = (_times(row["times_base"]), _times(row["share_of_limit"]))
    return [_rate(row), *ratios, _microseconds(row["server_cpu_per_call"])]


def _rpcx_cells(row: Row) -> Sequence[str]:
    share = row["share_of_limit"]
    return [
        _rate(row),
        _times(row["times_base"]),
        share_cell(share) if share else NOTHING,
        _microseconds(row["client_cpu_per_call"]),
        _microseconds(row["server_cpu_per_call"]),
    ]


def _rate(row: Row) -> str:
    return f"{row['calls_per_second']:,.0f}"


def _times(times: float | None) -> str:
    return times_cell(times) if times else NOTHING


def _microseconds(seconds: float) -> str:
    return f"{seconds * 1e6:,.1f}"
