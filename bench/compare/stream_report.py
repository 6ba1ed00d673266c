"""The tables of streams: the rates of all peers, and fastrpc against each of them."""

from collections.abc import Mapping
from typing import Any

from bench.compare.tables import NOTHING, share_cell, table, times_cell
from bench.compare.workloads import STREAMS, Workload

__all__ = ["stream_rates", "stream_ratios"]

#: The columns of the table of rates and their heads.
COLUMNS = {
    "server_stream": "server stream, 32 B",
    "server_stream_64K": "64 KiB",
    "client_stream": "client stream, 32 B",
    "client_stream_64K": "64 KiB",
    "both_ways": "both ways, 32 B",
    "both_ways_64K": "64 KiB",
}

#: The peers that have rows in the table of ratios, and the difference of the second one.
OURS = {"fastrpc": "", "fastrpc_blocking": ", SyncClient"}

#: The families that fastrpc is a multiple of, as the heads of the columns name them.
BASES = {"grpc.aio": "grpc.aio", "grpcio sync": "grpcio", "grpc-go": "grpc-go", "tonic": "tonic"}

#: From this size on a message's rate is stated in megabytes.
LARGE_BYTES = 4096

Rows = Mapping[tuple[str, str], Mapping[str, Any]]


def stream_rates(result: Mapping[str, Any]) -> str:
    """Return a row per peer, the fastest first; empty if no stream was measured."""
    rows = _rows(result)
    names = [name for name in COLUMNS if any(workload == name for _, workload in rows)]
    if not names:
        return ""
    peers = {peer for peer, workload in rows if workload in names}
    order = sorted(peers, key=lambda peer: -_rate(rows, peer, names[0]))
    body = []
    for peer in order:
        cells = [_cell(rows.get((peer, name)), STREAMS[name]) for name in names]
        line = [result["peers"][peer]["title"], *cells]
        body.append([f"**{cell}**" for cell in line] if peer in OURS else line)
    return table(["", *(COLUMNS[name] for name in names)], body)


def stream_ratios(result: Mapping[str, Any]) -> str:
    """Return a row per stream of fastrpc: its rate, its multiple of other stacks' rates, its share of the limit."""
    rows = _rows(result)
    body = []
    for peer, suffix in OURS.items():
        for workload in STREAMS.values():
            if row := rows.get((peer, workload.name)):
                multiples = [_multiple(result, rows, row, workload, family) for family in BASES]
                share = row["share_of_limit"]
                limit = share_cell(share) if share else NOTHING
                body.append([workload.title + suffix, _cell(row, workload), *multiples, limit])
    return table(["", "measured", *BASES.values(), "of C, one way"], body) if body else ""


def _rows(result: Mapping[str, Any]) -> Rows:
    return {(row["peer"], row["workload"]): row for row in result["summary"] if row["workload"] in STREAMS}


def _rate(rows: Rows, peer: str, workload: str) -> float:
    row = rows.get((peer, workload))
    return row["calls_per_second"] if row else 0.0


def _cell(row: Mapping[str, Any] | None, workload: Workload) -> str:
    if row is None:
        return NOTHING
    if workload.payload_bytes >= LARGE_BYTES:
        return f"{row['megabytes_per_second']:,.0f} MB/s"
    return f"{row['calls_per_second']:,.0f}"


def _multiple(
    result: Mapping[str, Any], rows: Rows, row: Mapping[str, Any], workload: Workload, family: str
) -> str:
    """Compare a rate with the family's fastest, in the substitute workload if the family lacks this one."""
    members = [peer for peer, names in result["peers"].items() if names["family"] == family]
    for name in (workload.name, workload.stand_in):
        if name and (best := max((_rate(rows, peer, name) for peer in members), default=0.0)):
            return times_cell(row["calls_per_second"] / best)
    return NOTHING
