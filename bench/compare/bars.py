"""Bars: the figures of the same run with which ours are compared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bench.compare.tables import table, times_cell

__all__ = ["BARS_TITLE", "CALL_BARS", "HTTP2_BARS", "HTTP_BARS", "Bar", "Rows", "bars_table"]

BARS_TITLE = "Against the same run. A rate is at least that many times the other one, a time at most:\n"

#: The measurements, by peer and workload.
Rows = Mapping[tuple[str, str], Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A figure of ours as a multiple of another stack's in the same workload."""

    title: str
    workload: str
    least: float
    ours: str
    others: Sequence[str]
    #: The workload in which the other peers were measured, if it is another one.
    other_workload: str = ""
    figure: Literal["calls_per_second", "p50_seconds", "client_cpu_per_call", "server_cpu_per_call"] = (
        "calls_per_second"
    )

    @property
    def is_rate(self) -> bool:
        """Whether more is better."""
        return self.figure == "calls_per_second"

    def multiple(self, rows: Rows) -> float | None:
        """Return the multiple of the best other peer; None if either was not measured."""
        ours = rows.get((self.ours, self.workload))
        workload = self.other_workload or self.workload
        others = [rows[peer, workload][self.figure] for peer in self.others if (peer, workload) in rows]
        if ours is None or not others:
            return None
        multiple: float = ours[self.figure] / (max(others) if self.is_rate else min(others))
        return multiple

    def is_met(self, multiple: float) -> bool:
        """Tell whether a multiple is as good as the bar."""
        return multiple >= self.least if self.is_rate else multiple <= self.least


CALL_BARS = (
    Bar(title="W2 ÷ kitex", workload="W2", ours="fastrpc", others=("kitex",), least=2),
    Bar(title="W2 ÷ volo-thrift", workload="W2", ours="fastrpc", others=("volo_thrift",), least=1.5),
    Bar(
        title="a record ÷ the better protocol of connectrpc",
        workload="W4",
        ours="fastrpc",
        others=("connectrpc", "connectrpc_grpc"),
        least=2,
    ),
)

HTTP_BARS = (
    Bar(
        title="a record ÷ the best of granian, django-bolt, h2corn and uvicorn with zttp",
        workload="http_record",
        ours="fastrpc_http",
        others=("granian", "django_bolt", "h2corn", "uvicorn_zttp"),
        least=2,
    ),
)

HTTP2_BARS = (
    Bar(
        title="a record by HTTP/2, 64 streams ÷ h2corn",
        workload="http2_record",
        ours="fastrpc_http",
        others=("h2corn",),
        least=1.2,
    ),
    Bar(
        title="a record by HTTP/2, 64 streams ÷ hypercorn",
        workload="http2_record",
        ours="fastrpc_http",
        others=("hypercorn",),
        least=3,
    ),
    Bar(
        title="a record by HTTP/2, 64 streams ÷ our HTTP/1.1",
        workload="http2_record",
        ours="fastrpc_http",
        others=("fastrpc_http",),
        other_workload="http1_record_h2load",
        least=1,
    ),
    Bar(
        title="a record by HTTP/2, 64 connections ÷ our HTTP/1.1",
        workload="http2_record_spread",
        ours="fastrpc_http",
        others=("fastrpc_http",),
        other_workload="http1_record_h2load",
        least=0.8,
    ),
)


def bars_table(result: Mapping[str, Any], bars: Sequence[Bar]) -> str:
    """Return the title and a row per bar whose figures were measured; empty if no bar was."""
    rows = {(row["peer"], row["workload"]): row for row in result["summary"]}
    body = []
    for bar in bars:
        multiple = bar.multiple(rows)
        if multiple is not None:
            verdict = "yes" if bar.is_met(multiple) else "**no**"
            least = f"{'≥' if bar.is_rate else '≤'} {bar.least:g}"
            body.append([bar.title, times_cell(multiple), least, verdict])
    return "\n".join([BARS_TITLE, table(["", "measured", "bar", "met"], body)]) if body else ""
