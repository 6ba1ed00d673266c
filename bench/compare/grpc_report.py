"""The tables of gRPC's wire: each pair of client and server, and the bars that ours is held against."""

from collections.abc import Mapping
from typing import Any

from bench.compare.bars import Bar, Rows, bars_table
from bench.compare.tables import NOTHING, rate_cell, table, times_cell
from bench.compare.workloads import GRPC

__all__ = ["BARS", "GRPC_TITLE", "grpc_headlines", "grpc_tables"]

GRPC_TITLE = (
    "gRPC, one connection, one core for each side. Calls or messages/s, and processor time for one:\n"
)

#: The rows of these are printed in bold.
OURS = "fastrpc_grpc"

#: Both loops of grpc.aio: the faster one counts.
AIO = ("grpc_asyncio", "grpc_uvloop")

Row = Mapping[str, Any]

BARS = (
    Bar(title="both sides ÷ native", workload="grpc_echo", ours=OURS, others=("fastrpc",), least=0.65),
    Bar(title="both sides ÷ grpc-go", workload="grpc_echo", ours=OURS, others=("grpc_go",), least=3.5),
    Bar(title="both sides ÷ tonic", workload="grpc_echo", ours=OURS, others=("tonic",), least=3.5),
    Bar(title="both sides ÷ grpc.aio", workload="grpc_echo", ours=OURS, others=AIO, least=45),
    Bar(
        title="a record, both sides ÷ grpc-go",
        workload="grpc_record",
        ours=OURS,
        others=("grpc_go",),
        least=2,
    ),
    Bar(title="a record, both sides ÷ tonic", workload="grpc_record", ours=OURS, others=("tonic",), least=2),
    Bar(title="a record, both sides ÷ grpc.aio", workload="grpc_record", ours=OURS, others=AIO, least=25),
    Bar(
        title="generated code, both sides ÷ grpc.aio",
        workload="grpc_record",
        ours="fastrpc_grpc_stub",
        others=AIO,
        least=20,
    ),
    Bar(
        title="grpc-go's client → our server ÷ its own",
        workload="grpc_echo",
        ours="fastrpc_grpc_server",
        others=("grpc_go",),
        least=1.05,
    ),
    Bar(
        title="the server's time for that",
        workload="grpc_echo",
        ours="fastrpc_grpc_server",
        others=("grpc_go",),
        figure="server_cpu_per_call",
        least=0.55,
    ),
    Bar(
        title="grpc.aio's client → our server ÷ its own",
        workload="grpc_echo",
        ours="fastrpc_grpc_server_aio",
        others=AIO,
        least=1.1,
    ),
    Bar(
        title="the server's time for that",
        workload="grpc_echo",
        ours="fastrpc_grpc_server_aio",
        others=AIO,
        figure="server_cpu_per_call",
        least=0.1,
    ),
    Bar(
        title="our client → grpc-go's server ÷ its own",
        workload="grpc_echo",
        ours="fastrpc_grpc_client",
        others=("grpc_go",),
        least=1.0,
    ),
    Bar(
        title="the client's time for that",
        workload="grpc_echo",
        ours="fastrpc_grpc_client",
        others=("grpc_go",),
        figure="client_cpu_per_call",
        least=0.85,
    ),
    Bar(
        title="SyncClient and our server, p50 ÷ grpcio's threads",
        workload="grpc_one",
        ours="fastrpc_grpc_blocking",
        others=("grpc_sync",),
        figure="p50_seconds",
        least=0.35,
    ),
    Bar(
        title="server stream, 32 B ÷ grpc-go",
        workload="grpc_stream",
        ours=OURS,
        others=("grpc_go",),
        least=1.5,
    ),
    Bar(title="64 KiB × 16 ÷ native", workload="grpc_64K", ours=OURS, others=("fastrpc",), least=0.55),
    Bar(title="64 KiB × 16 ÷ tonic", workload="grpc_64K", ours=OURS, others=("tonic",), least=1.0),
    Bar(
        title="h2load → our server by grpc.aio's names, its time ÷ pygrpc-native's",
        workload="grpc_under_h2load",
        ours="fastrpc_grpc_stub_under_h2load",
        others=("pygrpc_native_under_h2load",),
        figure="server_cpu_per_call",
        least=0.27,
    ),
    Bar(
        title="grpc-go's client → our server by grpc.aio's names ÷ pygrpc-native",
        workload="grpc_under_go",
        ours="fastrpc_grpc_stub_under_go",
        others=("pygrpc_native_under_go",),
        least=2,
    ),
    Bar(
        title="our client by grpc.aio's names → grpc-go's server, its time ÷ grpc.aio's",
        workload="grpc_at_go",
        ours="fastrpc_grpc_stub_at_go",
        others=("grpc_uvloop_at_go",),
        figure="client_cpu_per_call",
        least=0.15,
    ),
)

#: The workloads that the README has a row for.
SHOWN = ("grpc_echo", "grpc_record")


def grpc_tables(result: Mapping[str, Any]) -> str:
    """Return a table per workload with a row per pair, the fastest first, then the bars; empty without measurements."""
    rows = _rows(result)
    parts = []
    for workload in GRPC.values():
        measured = sorted(
            (peer for peer, name in rows if name == workload.name),
            key=lambda peer: -rows[peer, workload.name]["calls_per_second"],
        )
        if measured:
            body = [_line(result, rows[peer, workload.name]) for peer in measured]
            parts.append(table([workload.title, "rate", "p50 µs", "client µs", "server µs"], body))
    if not parts:
        return ""
    return "\n".join([GRPC_TITLE, *parts, bars_table(result, BARS)])


def grpc_headlines(result: Mapping[str, Any]) -> str:
    """Return the README's rows: ours next to grpc-go and the faster loop of grpc.aio; empty if one is missing."""
    rows = _rows(result)
    found = []
    for name in SHOWN:
        workload = GRPC[name]
        ours, go = rows.get((OURS, name)), rows.get(("grpc_go", name))
        loops = [rows[peer, name] for peer in AIO if (peer, name) in rows]
        if ours is None or go is None or not loops:
            return ""
        aio = max(loops, key=lambda row: row["calls_per_second"])
        beside = [
            f"{rate_cell(row, workload)} ({times_cell(ours['calls_per_second'] / row['calls_per_second'])})"
            for row in (go, aio)
        ]
        found.append([f"gRPC: {workload.title}", f"**{rate_cell(ours, workload)}**", *beside, f"`{name}`"])
    return table(["calls per second", "fastrpc", "grpc-go", "grpc.aio", "`--workloads`"], found)


def _rows(result: Mapping[str, Any]) -> Rows:
    return {(row["peer"], row["workload"]): row for row in result["summary"] if row["workload"] in GRPC}


def _line(result: Mapping[str, Any], row: Row) -> list[str]:
    workload, times = GRPC[row["workload"]], ("p50_seconds", "client_cpu_per_call", "server_cpu_per_call")
    rate = f"{row['calls_per_second']:,.0f}" if workload.is_stream else rate_cell(row, workload)
    figures = [f"{row[time] * 1e6:,.2f}" if row[time] else NOTHING for time in times]
    line = [result["peers"][row["peer"]]["title"], rate, *figures]
    return [f"**{cell}**" for cell in line] if row["peer"].startswith(OURS) else line
