"""Medians, ratios and the Markdown tables; `python -m bench.compare.report RESULT.json` prints them again."""

import json
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.compare.bars import CALL_BARS, bars_table
from bench.compare.growth import growth_tables
from bench.compare.grpc_report import grpc_tables
from bench.compare.rounds import Outcome
from bench.compare.stream_report import stream_rates, stream_ratios
from bench.compare.tables import NOTHING, rate_cell, share_cell, table, times_cell
from bench.compare.tail_report import tail_table
from bench.compare.tls_report import encrypted_table
from bench.compare.ways_in_report import HTTP_TITLE, RPCX_TITLE, http_table, rpcx_table
from bench.compare.workloads import STREAMS, TABLE, WORKLOADS, Workload

#: Shares are relative to this family, multiples to that peer unless a workload names another.
LIMIT_FAMILY = "C echo"
BASE_FAMILY = "grpc.aio"

#: The share of the cores used by other programs above which a separate line reports it.
DISTURBED = 0.05

#: The C echo with which the median times of a stack in W1 are compared, by stack: both sleep, or both spin, over
#: sockets of one kind.
LATENCY_LIMITS = {
    "fastrpc": "c_echo",
    "fastrpc_blocking": "c_echo",
    "fastrpc_spin": "c_echo_spin",
    "fastrpc_blocking_spin": "c_echo_unix_spin",
}


#: The text above the table of tails.
TAILS_TITLE = (
    "Calls of 32 B at a fixed rate, in an open loop: p50 · p99 · p99.9 from the instant each was due.\n"
)


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Medians over the rounds of one peer on one workload."""

    rounds: int
    calls_per_second: float
    #: Largest minus smallest rate, as a share of the median: how far to trust it.
    spread: float
    megabytes_per_second: float
    p50_seconds: float
    p99_seconds: float
    p999_seconds: float
    client_cpu_per_call: float
    server_cpu_per_call: float
    #: The most memory that the server's processes held.
    server_peak_bytes: float
    #: The share of the two cores that other programs used; above a few percent the figures are too low.
    disturbance: float
    #: The cipher of the connections of all rounds; empty without TLS.
    cipher: str


@dataclass(frozen=True)
class PeerNames:
    """The facts of a peer that the tables need."""

    title: str
    family: str


Summary = Mapping[tuple[str, str], Figures]
Cell = Callable[[Mapping[str, Any], Workload], str]


def summarise(outcomes: Iterable[Outcome]) -> dict[tuple[str, str], Figures]:
    """Return the medians by (peer, workload) of everything that was measured."""
    groups: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in outcomes:
        if outcome.measurement is not None and outcome.measurement.calls:
            groups.setdefault((outcome.peer, outcome.workload), []).append(outcome)
    return {place: _figures(WORKLOADS[place[1]], group) for place, group in groups.items()}


def _figures(workload: Workload, outcomes: Sequence[Outcome]) -> Figures:
    measurements = [outcome.measurement for outcome in outcomes if outcome.measurement]
    rates = [each.calls / each.seconds for each in measurements]
    rate = statistics.median(rates)
    return Figures(
        rounds=len(measurements),
        calls_per_second=rate,
        spread=(max(rates) - min(rates)) / rate,
        megabytes_per_second=rate * workload.payload_bytes / 1e6,
        p50_seconds=statistics.median(each.p50_seconds for each in measurements),
        p99_seconds=statistics.median(each.p99_seconds for each in measurements),
        p999_seconds=statistics.median(each.p999_seconds for each in measurements),
        client_cpu_per_call=statistics.median(each.client_cpu_seconds / each.calls for each in measurements),
        server_cpu_per_call=statistics.median(each.server_cpu_seconds / each.calls for each in measurements),
        server_peak_bytes=statistics.median(outcome.server_peak_bytes for outcome in outcomes),
        disturbance=statistics.median(outcome.disturbance for outcome in outcomes),
        cipher=", ".join(sorted({each.cipher for each in measurements if each.cipher})),
    )


def best_of_family(
    summary: Summary, peers: Mapping[str, PeerNames], family: str, workload: Workload
) -> Figures | None:
    """Return the fastest member's figures; if the family lacks the workload, those of the substitute workload."""
    for name in (workload.name, workload.stand_in):
        members = [
            figures
            for (peer, measured), figures in summary.items()
            if measured == name and peers[peer].family == family
        ]
        if members:
            return max(members, key=lambda figures: figures.calls_per_second)
    return None


def ratios(
    summary: Summary, peers: Mapping[str, PeerNames], place: tuple[str, str]
) -> tuple[float | None, float | None]:
    """Return how many times faster than the base family, and which share of the limit, a peer is."""
    workload = WORKLOADS[place[1]]
    base = best_of_family(summary, peers, workload.base_family, workload)
    limit = best_of_family(summary, peers, workload.limit_family, workload)
    rate = summary[place].calls_per_second
    return (
        rate / base.calls_per_second if base else None,
        rate / limit.calls_per_second if limit else None,
    )


def build_result(
    conditions: Mapping[str, Any], peers: Mapping[str, PeerNames], outcomes: Sequence[Outcome]
) -> dict[str, Any]:
    """Return the whole run as plain data: the content of the JSON file and the source of the tables.

    `conditions` are the machine, the settings and the workloads that were left out.
    """
    summary = summarise(outcomes)
    rows = []
    for place, figures in summary.items():
        times_base, share_of_limit = ratios(summary, peers, place)
        rows.append(
            {
                "peer": place[0],
                "workload": place[1],
                **asdict(figures),
                "times_base": times_base,
                "share_of_limit": share_of_limit,
            }
        )
    return {
        **conditions,
        "peers": {name: asdict(names) for name, names in peers.items()},
        "summary": rows,
        "failures": [asdict(outcome) for outcome in outcomes if outcome.measurement is None],
        "measurements": [asdict(outcome) for outcome in outcomes if outcome.measurement is not None],
    }


def markdown(result: Mapping[str, Any]) -> str:
    """Render a result: conditions, rates, ratios, details, growth, failures."""
    rows = {(row["peer"], row["workload"]): row for row in result["summary"] if row["workload"] in TABLE}
    measured = {name for place in rows for name in place}
    peers = {name: names["title"] for name, names in result["peers"].items() if name in measured}
    workloads = [workload for workload in TABLE.values() if workload.name in measured]
    parts = [conditions(result)]
    if rows:
        parts += [
            "Calls/s; MB/s each way for large payloads; (p50) with one in flight.\n",
            _grid(peers, workloads, rows, rate_cell),
            "Against the same run: × the faster loop of grpc.aio, % of the C echo.\n",
            _grid(peers, workloads, rows, _ratio_cell),
        ]
    if bars := bars_table(result, CALL_BARS):
        parts.append(bars)
    if latencies := latency_table(result):
        parts += ["The median time of a call, one in flight.\n", latencies]
    if rows:
        parts += [
            "Latency, CPU per call (client + server) and the server's memory.\n",
            _details(peers, workloads, rows),
            "\n".join(_legend(workload) for workload in workloads) + "\n",
        ]
    if encrypted := encrypted_table(result):
        parts += ["Over TLS, against the same run.\n", encrypted]
    parts += _stream_parts(result)
    if tails := tail_table(result):
        parts += [TAILS_TITLE, tails]
    if requests := http_table(result):
        parts += [HTTP_TITLE, requests]
    if calls := rpcx_table(result):
        parts += [RPCX_TITLE, calls]
    if pairs := grpc_tables(result):
        parts.append(pairs)
    if growth := growth_tables(result):
        parts.append(growth)
    if result["failures"]:
        parts.append(_failures(result["failures"]))
    return "\n".join(parts)


def _stream_parts(result: Mapping[str, Any]) -> list[str]:
    rows = {(row["peer"], row["workload"]): row for row in result["summary"] if row["workload"] in STREAMS}
    workloads = [workload for workload in STREAMS.values() if any(name == workload.name for _, name in rows)]
    peers = {
        name: names["title"] for name, names in result["peers"].items() if any(name == p for p, _ in rows)
    }
    parts = []
    if rates := stream_rates(result):
        parts += ["One stream: messages/s; MB/s (each way) for large messages.\n", rates]
    if ratios := stream_ratios(result):
        parts += ["fastrpc against the others' same streams.\n", ratios]
    if rows:
        parts += [
            "CPU per message (client + server) and the server's memory.\n",
            _details(peers, workloads, rows),
        ]
        parts.append("\n".join(_legend(workload) for workload in workloads) + "\n")
    return parts


def conditions(result: Mapping[str, Any]) -> str:
    """Return the conditions without which a figure has no meaning, in a few lines."""
    machine, settings = result["machine"], result["settings"]
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    place = f"{machine['processor']}, {machine['processors']} cores, {machine['system']}, {machine['python']}"
    cores = f"server on core {settings['server_core']}, client on core {settings['client_core']}"
    window = f"{settings['seconds']:g} s after {settings['warm_seconds']:g} s of warm-up"
    lines = [
        f"{machine['date']}, {place}, commit {machine['commit']}: `{machine['command']}`;",
        f"{cores}; one TCP connection, or one per call in flight where a stack carries one call at a time;",
        f"medians of {settings['rounds']} × {window}.",
        f"Versions: {packages}.",
    ]
    if spreads := [row["spread"] for row in result["summary"] if row["rounds"] > 1]:
        lines.append(f"Rates differed between rounds by {statistics.median(spreads):.0%} (median).")
    if settings["server_core"] == settings["client_core"]:
        lines.append("Both sides shared one core: these figures compare with nothing.")
    disturbance = max((row["disturbance"] for row in result["summary"]), default=0.0)
    if disturbance > DISTURBED:
        lines.append(f"Other programs took up to {disturbance:.0%} of the two cores at times.")
    if settings["urgent"]:
        lines.append("Both sides ran ahead of other programs (`--urgent`).")
    if result["left_out"]:
        lines.append(f"Left out: {'; '.join(result['left_out'])}.")
    return "\n".join(lines) + "\n"


def latency_table(result: Mapping[str, Any]) -> str:
    """Return the median times of W1 next to a C echo that waits in the same way; empty without measurements."""
    rows = {row["peer"]: row for row in result["summary"] if row["workload"] == "W1"}
    body = []
    for peer, limit in LATENCY_LIMITS.items():
        if peer in rows and limit in rows:
            ours, least = rows[peer]["p50_seconds"], rows[limit]["p50_seconds"]
            titles = (result["peers"][each]["title"] for each in (peer, limit))
            mine, limits = titles
            body.append(
                [mine, f"{ours * 1e6:,.1f} µs", limits, f"{least * 1e6:,.1f} µs", f"{ours / least:.2f} ×"]
            )
    return table(["", "p50", "held against", "p50", "that is"], body) if body else ""


def ratio_table(result: Mapping[str, Any], peer: str) -> str:
    """Return a row per workload of one peer: its rate and both ratios; empty without measurements."""
    body = []
    for row in result["summary"]:
        if row["peer"] == peer and row["workload"] in TABLE:
            workload = TABLE[row["workload"]]
            times, share = row["times_base"], row["share_of_limit"]
            multiple = f"{times_cell(times)} {workload.base_family}" if times else NOTHING
            cells = [multiple, share_cell(share) if share else NOTHING]
            body.append([workload.title, rate_cell(row, workload), *cells])
    return table(["", "measured", "that is", "of the C echo"], body) if body else ""


def _legend(workload: Workload) -> str:
    legend = f"- {workload.name}: {workload.title}"
    if workload.stand_in:
        legend += f"; held against {workload.stand_in} of those that have no such call"
    if workload.base_family != BASE_FAMILY:
        legend += f"; multiples are of {workload.base_family}"
    return legend


def _grid(
    peers: Mapping[str, str],
    workloads: Sequence[Workload],
    rows: Mapping[tuple[str, str], Mapping[str, Any]],
    cell: Cell,
) -> str:
    header = ["", *(workload.name for workload in workloads)]
    body = []
    for peer, title in peers.items():
        cells = [_cell_or_nothing(rows.get((peer, workload.name)), workload, cell) for workload in workloads]
        body.append([title, *cells])
    return table(header, body)


def _cell_or_nothing(row: Mapping[str, Any] | None, workload: Workload, cell: Cell) -> str:
    return cell(row, workload) if row else NOTHING


def _ratio_cell(row: Mapping[str, Any], workload: Workload) -> str:
    times, share = row["times_base"], row["share_of_limit"]
    parts = []
    if times is not None:
        parts.append(times_cell(times))
    if share is not None:
        parts.append(share_cell(share))
    return " · ".join(parts) or NOTHING


def _details(
    peers: Mapping[str, str],
    workloads: Sequence[Workload],
    rows: Mapping[tuple[str, str], Mapping[str, Any]],
) -> str:
    times = ["p50 µs", "p99 µs", "p99.9 µs", "client µs", "server µs"]
    header = ["", "", *times, "server MiB", "spread", "others"]
    body = [
        [workload.name, title, *_detail_cells(rows[peer, workload.name])]
        for workload in workloads
        for peer, title in peers.items()
        if (peer, workload.name) in rows
    ]
    return table(header, body)


def _detail_cells(row: Mapping[str, Any]) -> list[str]:
    times = ("p50_seconds", "p99_seconds", "p999_seconds", "client_cpu_per_call", "server_cpu_per_call")
    return [
        *(f"{row[time] * 1e6:,.2f}" if row[time] else NOTHING for time in times),
        f"{row['server_peak_bytes'] / 2**20:,.1f}",
        f"{row['spread']:.0%}",
        f"{row['disturbance']:.0%}",
    ]


def _failures(failures: Sequence[Mapping[str, Any]]) -> str:
    lines = ["Failed:\n"]
    for failure in failures:
        reason = failure["error"].strip().replace("\n", "\n  ")
        lines.append(f"- {failure['peer']} {failure['workload']}, round {failure['round']}: {reason}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(markdown(json.loads(Path(sys.argv[1]).read_text())))
