"""Medians, ratios and the Markdown tables; `python -m bench.compare.report RESULT.json` prints them again."""

import json
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.compare.rounds import Outcome
from bench.compare.workloads import WORKLOADS, Workload

#: Shares are of this family, multiples of that one.
LIMIT_FAMILY = "C echo"
BASE_FAMILY = "grpc.aio"

#: A share of the cores gone to other programs that is worth a line of its own.
DISTURBED = 0.05

NOTHING = "–"


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
    server_resident_bytes: float
    #: Share of the two cores that other programs took; above a few percent the figures are too low.
    disturbance: float


@dataclass(frozen=True)
class PeerNames:
    """What the tables need to know of a peer."""

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
        server_resident_bytes=statistics.median(outcome.server_resident_bytes for outcome in outcomes),
        disturbance=statistics.median(outcome.disturbance for outcome in outcomes),
    )


def best_of_family(
    summary: Summary, peers: Mapping[str, PeerNames], family: str, workload: Workload
) -> Figures | None:
    """Return the fastest member's figures, or of the workload that stands in where none offers this one."""
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
    base = best_of_family(summary, peers, BASE_FAMILY, workload)
    limit = best_of_family(summary, peers, LIMIT_FAMILY, workload)
    rate = summary[place].calls_per_second
    return (
        rate / base.calls_per_second if base else None,
        rate / limit.calls_per_second if limit else None,
    )


def build_result(
    conditions: Mapping[str, Any], peers: Mapping[str, PeerNames], outcomes: Sequence[Outcome]
) -> dict[str, Any]:
    """Return the whole run as plain data: what the JSON file holds and the tables are made from.

    `conditions` are the machine, the settings and what was left out.
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
                "times_grpc_aio": times_base,
                "share_of_c_echo": share_of_limit,
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
    """Render a result: conditions, rates, ratios, details, failures."""
    rows = {(row["peer"], row["workload"]): row for row in result["summary"]}
    measured = {name for place in rows for name in place}
    peers = {name: names["title"] for name, names in result["peers"].items() if name in measured}
    workloads = [workload for workload in WORKLOADS.values() if workload.name in measured]
    parts = [
        _conditions(result),
        "Calls/s; MB/s each way for large payloads; (p50) with one in flight.\n",
        _grid(peers, workloads, rows, _rate_cell),
        "Against the same run: × the faster loop of grpc.aio, % of the C echo.\n",
        _grid(peers, workloads, rows, _ratio_cell),
        "Latency, CPU per call (client + server) and the server's memory.\n",
        _details(peers, workloads, rows),
        "\n".join(_legend(workload) for workload in workloads) + "\n",
    ]
    if result["failures"]:
        parts.append(_failures(result["failures"]))
    return "\n".join(parts)


def _conditions(result: Mapping[str, Any]) -> str:
    machine, settings = result["machine"], result["settings"]
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    place = f"{machine['processor']}, {machine['processors']} cores, {machine['system']}, {machine['python']}"
    cores = f"server on core {settings['server_core']}, client on core {settings['client_core']}"
    window = f"{settings['seconds']:g} s after {settings['warm_seconds']:g} s of warm-up"
    lines = [
        f"{machine['date']}, {place}, {packages}, commit {machine['commit']}: `{machine['command']}`;",
        f"{cores}; medians of {settings['rounds']} × {window}.",
    ]
    if settings["server_core"] == settings["client_core"]:
        lines.append("Both sides shared one core: these figures compare with nothing.")
    disturbance = max((row["disturbance"] for row in result["summary"]), default=0.0)
    if disturbance > DISTURBED:
        lines.append(f"Other programs took up to {disturbance:.0%} of the two cores (column `others`).")
    if settings["urgent"]:
        lines.append("Both sides ran ahead of other programs (`--urgent`).")
    if result["left_out"]:
        lines.append(f"Left out: {'; '.join(result['left_out'])}.")
    return "\n".join(lines) + "\n"


def _legend(workload: Workload) -> str:
    legend = f"- {workload.name}: {workload.title}"
    if workload.stand_in:
        legend += f"; held against {workload.stand_in} of those that have no such call"
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
    return _table(header, body)


def _cell_or_nothing(row: Mapping[str, Any] | None, workload: Workload, cell: Cell) -> str:
    return cell(row, workload) if row else NOTHING


def _rate_cell(row: Mapping[str, Any], workload: Workload) -> str:
    if workload.payload_bytes >= 4096:
        return f"{row['megabytes_per_second']:,.0f} MB/s"
    rate = f"{row['calls_per_second']:,.0f}"
    if workload.in_flight * workload.batch == 1:
        return f"{rate} ({row['p50_seconds'] * 1e6:,.1f} µs)"
    return rate


def _ratio_cell(row: Mapping[str, Any], workload: Workload) -> str:
    times, share = row["times_grpc_aio"], row["share_of_c_echo"]
    parts = []
    if times is not None:
        parts.append(f"{times:,.2f} ×" if times < 10 else f"{times:,.0f} ×")
    if share is not None:
        parts.append(f"{share:.1%}" if share < 0.1 else f"{share:.0%}")
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
    return _table(header, body)


def _detail_cells(row: Mapping[str, Any]) -> list[str]:
    times = ("p50_seconds", "p99_seconds", "p999_seconds", "client_cpu_per_call", "server_cpu_per_call")
    return [
        *(f"{row[time] * 1e6:,.2f}" if row[time] else NOTHING for time in times),
        f"{row['server_resident_bytes'] / 2**20:,.1f}",
        f"{row['spread']:.0%}",
        f"{row['disturbance']:.0%}",
    ]


def _failures(failures: Sequence[Mapping[str, Any]]) -> str:
    lines = ["Failed:\n"]
    for failure in failures:
        reason = failure["error"].strip().replace("\n", "\n  ")
        lines.append(f"- {failure['peer']} {failure['workload']}, round {failure['round']}: {reason}")
    return "\n".join(lines) + "\n"


def _table(header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


if __name__ == "__main__":
    print(markdown(json.loads(Path(sys.argv[1]).read_text())))
