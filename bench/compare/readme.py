"""Puts a result into the documents: `python -m bench.compare.readme [RESULT.json]`.

The tables of calls, streams, HTTP, rpcx and gRPC are in `bench/RESULTS.md` between separate markers, each with machine,
date, versions and its command: a result replaces the tables whose workloads it has. The README has eight figures and
two pictures of one result, and two figures of gRPC; a result with fewer figures leaves it unchanged.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.compare.bars import CALL_BARS, bars_table
from bench.compare.grpc_report import grpc_headlines, grpc_tables
from bench.compare.headline import headline_table, one_line
from bench.compare.paths import PLOTS, RESULTS, ROOT, TABLES
from bench.compare.plots import write_plots
from bench.compare.report import TAILS_TITLE, conditions, latency_table, ratio_table
from bench.compare.stream_report import stream_rates, stream_ratios
from bench.compare.tables import NOTHING, rate_cell, table
from bench.compare.tail_report import tail_table
from bench.compare.ways_in_report import HTTP_TITLE, RPCX_TITLE, http_table, rpcx_table
from bench.compare.workloads import CURVES, HTTP, STREAMS, TABLE, TAILS, WORKLOADS

__all__ = [
    "FIGURES",
    "GRPC_FIGURES",
    "SECTIONS",
    "MarkerError",
    "Section",
    "calls_block",
    "streams_block",
    "write_readme",
]


class MarkerError(Exception):
    """The text does not hold both markers, in order and once."""


@dataclass(frozen=True)
class Section:
    """A part of a document that results are written into."""

    name: str

    @property
    def begin(self) -> str:
        """The line before it."""
        return f"<!-- {self.name}: begin; written by `python -m bench.compare.readme`, do not edit -->"

    @property
    def end(self) -> str:
        """The line after it."""
        return f"<!-- {self.name}: end -->"

    def replace(self, text: str, block: str) -> str:
        """Return the text, with the part between the markers replaced."""
        begin, end = self.begin, self.end
        if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
            raise MarkerError(f"the text needs one line {begin!r} and after it one line {end!r}")
        before, _, rest = text.partition(begin)
        return f"{before}{begin}\n\n{block.strip()}\n\n{end}{rest.partition(end)[2]}"


CALLS = Section("comparison")
STREAMED = Section("streams")
OVER_HTTP = Section("http")
OVER_RPCX = Section("rpcx")
OVER_GRPC = Section("grpc")
#: The sections of RESULTS.md, and those of the README.
SECTIONS = (CALLS, STREAMED, OVER_HTTP, OVER_RPCX, OVER_GRPC)
FIGURES = Section("figures")
GRPC_FIGURES = Section("grpc figures")

#: The pictures of the README: the first two that a result has.
SHOWN = ("w2", "server_stream", "http_record")

#: The columns of the table of calls and their heads.
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

_TITLES = {name.lower(): workload.title for name, workload in WORKLOADS.items()}


def write_readme(result: Mapping[str, Any], root: Path = ROOT) -> None:
    """Write the plots of a result to `bench/plots`, its tables into RESULTS.md and its figures into README.md."""
    plots = [plot.stem for plot in write_plots(result, root / PLOTS)]
    _write(root / TABLES, _blocks(result, plots))
    shown: dict[Section, str] = {}
    if figures := headline_table(result):
        pictures = _pictures([name for name in SHOWN if name in plots][:2], PLOTS.as_posix())
        shown[FIGURES] = "\n".join([one_line(result), figures, pictures])
    if rows := grpc_headlines(result):
        shown[GRPC_FIGURES] = "\n".join([one_line(result), rows])
    if shown:
        _write(root / "README.md", shown)
    else:
        print("README.md stays as it is: the result has fewer than eight of its rows", file=sys.stderr)


def _blocks(result: Mapping[str, Any], plots: Sequence[str]) -> dict[Section, str]:
    blocks = {}
    if any(row["workload"] == ORDERED_BY for row in result["summary"]):
        blocks[CALLS] = calls_block(result, plots)
    if any(row["workload"] in {*STREAMS, *TAILS} for row in result["summary"]):
        blocks[STREAMED] = streams_block(result, plots)
    if requests := http_table(result):
        pictures = _pictures([name for name in plots if name in HTTP], PLOTS.name)
        blocks[OVER_HTTP] = "\n".join([conditions(result), HTTP_TITLE, requests, pictures])
    if calls := rpcx_table(result):
        blocks[OVER_RPCX] = "\n".join([conditions(result), RPCX_TITLE, calls])
    if pairs := grpc_tables(result):
        blocks[OVER_GRPC] = "\n".join([conditions(result), pairs])
    return blocks


def _write(path: Path, blocks: Mapping[Section, str]) -> None:
    text = path.read_text()
    for section, block in blocks.items():
        text = section.replace(text, block)
    path.write_text(text)


def calls_block(result: Mapping[str, Any], plots: Sequence[str]) -> str:
    """Return the tables of calls, with their pictures in `plots`."""
    parts = [
        conditions(result),
        "Calls/s, and MB/s each way for large payloads:\n",
        field_table(result),
    ]
    if ratios := ratio_table(result, OURS):
        parts += ["fastrpc against the same run's grpc.aio (the faster of its loops) and C echo:\n", ratios]
    if bars := bars_table(result, CALL_BARS):
        parts.append(bars)
    if latencies := latency_table(result):
        parts += ["The median time of a call, one in flight:\n", latencies]
    parts.append(_pictures([name for name in plots if name not in {*STREAMS, *HTTP}], PLOTS.name))
    return "\n".join(parts)


def streams_block(result: Mapping[str, Any], plots: Sequence[str]) -> str:
    """Return the tables of streams, with their pictures in `plots`, and of calls at fixed rates."""
    parts = [conditions(result)]
    if streams := stream_rates(result):
        parts += ["One stream: messages/s, and MB/s (each way) for messages of 64 KiB:\n", streams]
    if ratios := stream_ratios(result):
        parts += ["fastrpc's streams against the streams of the same run's other stacks:\n", ratios]
    if pictures := _pictures([name for name in plots if name in STREAMS], PLOTS.name):
        parts.append(pictures)
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


def _pictures(names: Sequence[str], folder: str) -> str:
    """Show bars in the full width and curves two to a line; empty without any."""
    lines = []
    for name in names:
        curve = CURVES.get(name)
        title = curve.title if curve else _TITLES[name]
        width = "49%" if curve else "80%"
        lines.append(f'<img src="{folder}/{name}.svg" width="{width}" alt="{title}">\n')
    return "".join(lines)


if __name__ == "__main__":
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS / "compare.json"
    write_readme(json.loads(source.read_text()))
