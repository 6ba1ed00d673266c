"""The tables of gRPC's wire: each pair of client and server, and the bars that ours is held against."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bench.compare.tables import NOTHING, rate_cell, table, times_cell
from bench.compare.workloads import GRPC

__all__ = ["BARS", "GRPC_TITLE", "Bar", "bars_table", "grpc_headlines", "grpc_tables"]

GRPC_TITLE = (
    "gRPC, one connection, one core for each side. Calls or messages/s, and processor time for one:\n"
)
BARS_TITLE = "Against the same run. A rate is at least that many times the other one, a time at most:\n"

#: The rows of these are printed in bold.
OURS = "fastrpc_grpc"

#: Both loops of grpc.aio: the faster one counts.
AIO = ("grpc_asyncio", "grpc_uvloop")

Row = Mapping[str, Any]
Rows = Mapping[tuple[str, str], Row]


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A figure of ours as a multiple of others' in the same workload."""

    title: str
    workload: str
    least: float
    others: Sequence[str]
    ours: str = OURS
    figure: Literal["calls_per_second", "p50_seconds", "client_cpu_per_call", "server_cpu_per_call"] = (
        "calls_per_second"
    )

    @property
    def is_rate(self) -> bool:
        """Whether more is better."""
        return self.figure == "calls_per_second"

    def multiple(self, rows: Rows) -> float | None:
        """Return the multiple of the best of the others; None if either was not measured."""
        ours = rows.get((self.ours, self.workload))
        others = [
            rows[peer, self.workload][self.figure] for peer in self.others if (peer, self.workload) in rows
        ]
        if ours is None or not others:
            return None
        multiple: float = ours[self.figure] / (max(others) if self.is_rate else min(others))
        return multiple

    def is_met(self, multiple: float) -> bool:
        """Tell whether a multiple is as good as the bar."""
        return multiple >= self.least if self.is_rate else multiple <= self.least


BARS = (
    Bar(title="both sides ÷ native", workload="grpc_echo", others=("fastrpc",), least=0.65),
    Bar(title="both sides ÷ grpc-go", workload="grpc_echo", others=("grpc_go",), least=3.5),
    Bar(title="both sides ÷ tonic", workload="grpc_echo", others=("tonic",), least=3.5),
    Bar(title="both sides ÷ grpc.aio", workload="grpc_echo", others=AIO, least=45),
    Bar(title="a record, both sides ÷ grpc-go", workload="grpc_record", others=("grpc_go",), least=2),
    Bar(title="a record, both sides ÷ tonic", workload="grpc_record", others=("tonic",), least=2),
    Bar(title="a record, both sides ÷ grpc.aio", workload="grpc_record", others=AIO, least=25),
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
    Bar(title="server stream, 32 B ÷ grpc-go", workload="grpc_stream", others=("grpc_go",), least=1.5),
    Bar(title="64 KiB × 16 ÷ native", workload="grpc_64K", others=("fastrpc",), least=0.55),
    Bar(title="64 KiB × 16 ÷ tonic", workload="grpc_64K", others=("tonic",), least=1.0),
)

#: The workloads that the README has a row for.
SHOWN = ("grpc_echo", "grpc_record")


def grpc_tables(result: Mapping[str, Any]) -> str:
    """Return a table per workload with a row per pair, the fastest first, then the bars; empty if none was measured."""
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
    return "\n".join([GRPC_TITLE, *parts, BARS_TITLE, bars_table(result)])


def bars_table(result: Mapping[str, Any]) -> str:
    """Return a row per bar whose figures were measured."""
    rows = _rows(result)
    body = []
    for bar in BARS:
        multiple = bar.multiple(rows)
        if multiple is not None:
            cell = times_cell(multiple)
            verdict = "yes" if bar.is_met(multiple) else "**no**"
            body.append([bar.title, cell, f"{'≥' if bar.is_rate else '≤'} {bar.least:g}", verdict])
    return table(["", "measured", "bar", "met"], body)


def grpc_headlines(result: Mapping[str, Any]) -> str:
    """Return the README's rows: ours beside grpc-go and the faster loop of grpc.aio; empty if one is missing."""
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
