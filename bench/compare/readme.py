"""Puts a result into the README: `python -m bench.compare.readme [RESULT.json]`.

Tables of calls, of streams, of HTTP and of rpcx stand between markers of their own, each with machine, date, versions
and the command that made them: a result replaces those of which it has workloads.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.compare.paths import PLOTS, RESULTS, ROOT
from bench.compare.plots import write_plots
from bench.compare.report import TAILS_TITLE, conditions, latency_table, rate_cell, ratio_table
from bench.compare.stream_report import stream_rates, stream_ratios
from bench.compare.tables import NOTHING, table
from bench.compare.tail_report import tail_table
from bench.compare.ways_in_report import HTTP_TITLE, RPCX_TITLE, http_table, rpcx_table
from bench.compare.workloads import CURVES, STREAMS, TABLE, TAILS

__all__ = ["SECTIONS", "MarkerError", "Section", "calls_block", "streams_block", "write_readme"]


class MarkerError(Exception):
    """The text does not hold both markers, in order and once."""


@dataclass(frozen=True)
class Section:
    """A part of the README that results are written into."""

    name: str

    @property
    def begin(self) -> str:
        """The line before it."""
        return f"<!-- {self.name}: begin; written by `python -m bench.compare.readme`, do not edit -->"

    @property
    def end(self) -> str:
        """The line behind it."""
        return f"<!-- {self.name}: end -->"

    def replace(self, text: str, block: str) -> str:
        """Return the text with what stands between the markers replaced."""
        begin, end = self.begin, self.end
        if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
            raise MarkerError(f"the text needs one line {begin!r} and after it one line {end!r}")
        before, _, rest = text.partition(begin)
        return f"{before}{begin}\n\n{block.strip()}\n\n{end}{rest.partition(end)[2]}"


CALLS = Section("comparison")
STREAMED = Section("streams")
OVER_HTTP = Section("http")
OVER_RPCX = Section("rpcx")
SECTIONS = (CALLS, STREAMED, OVER_HTTP, OVER_RPCX)

#: The columns of the README's table and their heads.
COLUMNS = {
    "W1": "32 B, one in flight (p50)",
    "W2": "32 B, 64 in flight",
    "W2x512": "512 in flight",
    "mul": "`mul(int, int)`",
    "W4": "a record",
    "W5": "64 KiB × 16",
    "W6": "1 MiB × 4",
}

#: The rows are in the order of this one's rates.
ORDERED_BY = "W2"
OURS = "fastrpc"


def write_readme(result: Mapping[str, Any], root: Path = ROOT) -> None:
    """Write the plots of a result to `bench/plots` and its tables into README.md."""
    plots = write_plots(result, root / PLOTS)
    path = root / "README.md"
    text = path.read_text()
    if any(row["workload"] == ORDERED_BY for row in result["summary"]):
        text = CALLS.replace(text, calls_block(result, [plot.relative_to(root).as_posix() for plot in plots]))
    if any(row["workload"] in {*STREAMS, *TAILS} for row in result["summary"]):
        text = STREAMED.replace(text, streams_block(result))
    if requests := http_table(result):
        text = OVER_HTTP.replace(text, "\n".join([conditions(result), HTTP_TITLE, requests]))
    if calls := rpcx_table(result):
        text = OVER_RPCX.replace(text, "\n".join([conditions(result), RPCX_TITLE, calls]))
    path.write_text(text)


def calls_block(result: Mapping[str, Any], plots: Sequence[str]) -> str:
    """Return the tables of calls; `plots` are paths that the README can show."""
    parts = [
        conditions(result),
        "Calls/s, and MB/s each way for large payloads:\n",
        field_table(result),
    ]
    if ratios := ratio_table(result, OURS):
        parts += ["fastrpc against the same run's grpc.aio (the faster of its loops) and C echo:\n", ratios]
    if latencies := latency_table(result):
        parts += ["The median time of a call, one in flight:\n", latencies]
    parts.append(_pictures(plots))
    return "\n".join(parts)


def streams_block(result: Mapping[str, Any]) -> str:
    """Return the tables of streams, and of calls at fixed rates."""
    parts = [conditions(result)]
    if streams := stream_rates(result):
        parts += ["One stream: messages/s, and MB/s (each way) for messages of 64 KiB:\n", streams]
    if ratios := stream_ratios(result):
        parts += ["fastrpc's streams against those of the same run's other stacks:\n", ratios]
    if tails := tail_table(result):
        parts += [TAILS_TITLE, tails]
    return "\n".join(parts)


def field_table(result: Mapping[str, Any]) -> str:
    """Return a row per peer that was measured under `ORDERED_BY`, the fastest first."""
    rows = {(row["peer"], row["workload"]): row for row in result["summary"]}
    names = [name for name in COLUMNS if any(workload == name for _, workload in rows)]
    order = sorted(
        (peer for peer, workload in rows if workload == ORDERED_BY),
        key=lambda peer: -rows[peer, ORDERED_BY]["calls_per_second"],
    )
    body = []
    for peer in order:
        cells = [
            rate_cell(rows[peer, name], TABLE[name]) if (peer, name) in rows else NOTHING for name in names
        ]
        line = [result["peers"][peer]["title"], *cells]
        body.append([f"**{cell}**" for cell in line] if peer == OURS else line)
    return table(["", *(COLUMNS[name] for name in names)], body)


def _pictures(plots: Sequence[str]) -> str:
    """Show bars in the full width and curves two to a line."""
    lines = []
    for plot in plots:
        name = Path(plot).stem
        curve = CURVES.get(name)
        title = curve.title if curve else TABLE[name.upper()].title
        width = "49%" if curve else "80%"
        lines.append(f'<img src="{plot}" width="{width}" alt="{title}">')
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS / "compare.json"
    write_readme(json.loads(source.read_text()))
