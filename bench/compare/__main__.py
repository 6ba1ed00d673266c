"""Command line: `python -m bench.compare [--quick] [--peers …] [--workloads …] [--readme]`.

Writes compare.json, compare.md and the plots and prints the tables; progress goes to standard error.
Ends with 1 if a measurement failed.
"""

import argparse
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from bench.compare.machine import describe_machine
from bench.compare.paths import RESULTS
from bench.compare.peers.base import Peer, PeerUnavailableError, find_peers
from bench.compare.plots import write_plots
from bench.compare.processes import choose_cores
from bench.compare.progress import Progress
from bench.compare.readme import write_readme
from bench.compare.report import PeerNames, build_result, markdown
from bench.compare.rounds import Plan, run_plan
from bench.compare.selection import (
    GROUPS,
    Assignment,
    UnknownNameError,
    assign,
    lift_descriptor_limit,
    with_generators,
    within_descriptors,
)
from bench.compare.workloads import GRPC, HTTP, HTTP2, RPCX, STREAMS, TABLE, TAILS

#: The seconds that a pair of processes takes to start and end, besides its windows, for the first estimate.
PAIR_SECONDS = 0.8


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and report; return the exit status."""
    options = _parse(arguments)
    found, left_out_files = find_peers()
    if options.list:
        _list_choices(found, left_out_files)
        return 0
    signal.signal(signal.SIGTERM, _end_in_order)
    if options.urgent:
        _raise_priority()
    left_out = [f"{module} ({reason})" for module, reason in left_out_files.items()]
    plan = _plan(options, _prepared(_assignments(found, options, left_out), left_out))
    conditions = {
        "machine": describe_machine(),
        "settings": {**_settings(plan), "urgent": options.urgent},
        "left_out": left_out,
    }
    count = len(list(plan.steps()))
    progress = Progress(count, sys.stderr, step_seconds=plan.warm_seconds + plan.seconds + PAIR_SECONDS)
    outcomes = run_plan(plan, progress)
    names = {
        peer.name: PeerNames(peer.title, peer.family)
        for assignment in plan.assignments
        for peer in assignment.peers
    }
    result = build_result(conditions, names, outcomes)
    _write(result, options)
    return 1 if result["failures"] or not outcomes else 0


def _write(result: Mapping[str, Any], options: argparse.Namespace) -> None:
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "compare.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.output / "compare.md").write_text(markdown(result))
    write_plots(result, options.output)
    print(markdown(result))
    if options.readme:
        write_readme(result)


def _plan(options: argparse.Namespace, assignments: Sequence[Assignment]) -> Plan:
    return Plan(
        assignments=assignments,
        rounds=options.rounds or (1 if options.quick else 3),
        warm_seconds=options.warm_seconds or (0.15 if options.quick else 0.3),
        seconds=options.seconds or (0.5 if options.quick else 1.0),
        cores=choose_cores(),
    )


def _settings(plan: Plan) -> dict[str, object]:
    return {
        "rounds": plan.rounds,
        "seconds": plan.seconds,
        "warm_seconds": plan.warm_seconds,
        "server_core": plan.cores.server,
        "client_core": plan.cores.client,
    }


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description=__doc__)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="one short round of the main peers within two minutes: a look, not a result",
    )
    parser.add_argument("--peers", type=_names, help="names with commas, or `all`; see --list")
    parser.add_argument("--workloads", type=_names, help="names with commas; see --list")
    parser.add_argument("--rounds", type=int, help="measurements of each, of which the median counts (3)")
    parser.add_argument("--seconds", type=float, help="length of a measurement (1)")
    parser.add_argument("--warm-seconds", type=float, help="load before it that does not count (0.3)")
    parser.add_argument(
        "--urgent", action="store_true", help="run ahead of other programs, where that is permitted"
    )
    parser.add_argument("--output", type=Path, default=RESULTS, help="where the results go (bench/results)")
    parser.add_argument(
        "--readme",
        action="store_true",
        help="renew the tables of README.md and bench/RESULTS.md, and bench/plots",
    )
    parser.add_argument("--list", action="store_true", help="show peers and workloads")
    return parser.parse_args(arguments)


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _list_choices(found: Mapping[str, Peer], left_out: Mapping[str, str]) -> None:
    for workload in (
        workload for table in (TABLE, STREAMS, TAILS, HTTP, HTTP2, RPCX, GRPC) for workload in table.values()
    ):
        print(f"workload  {workload.name:22} {workload.title}")
    for group, names in GROUPS.items():
        print(f"workloads {group:22} {', '.join(names)}")
    for peer in found.values():
        print(f"peer      {peer.name:22} {peer.title}{'' if peer.by_default else ' (only when named)'}")
    for module, reason in left_out.items():
        print(f"left out  {module:22} {reason}")


def _assignments(
    found: Mapping[str, Peer], options: argparse.Namespace, left_out: Sequence[str]
) -> list[Assignment]:
    try:
        return assign(found, peers=options.peers, workloads=options.workloads, quick=options.quick)
    except UnknownNameError as error:
        sys.exit("\n".join([str(error), *(f"left out: {reason}" for reason in left_out)]))


def _prepared(assignments: Sequence[Assignment], left_out: list[str]) -> list[Assignment]:
    """Return the workloads that can run here; the other ones are added to `left_out`."""
    assignments, too_large = within_descriptors(assignments, lift_descriptor_limit())
    assignments, unloaded = with_generators(assignments)
    left_out += [*too_large, *unloaded]
    missing = set()
    for peer in {peer.name: peer for assignment in assignments for peer in assignment.peers}.values():
        try:
            peer.prepare()
        except PeerUnavailableError as error:
            missing.add(peer.name)
            left_out.append(f"{peer.name} ({error})")
    for reason in left_out:
        print(f"left out: {reason}", file=sys.stderr)
    kept = [
        Assignment(each.workload, [peer for peer in each.peers if peer.name not in missing])
        for each in assignments
    ]
    return [assignment for assignment in kept if assignment.peers]


def _raise_priority() -> None:
    """Give this process, and its child processes, priority over others on a busy machine."""
    try:
        os.setpriority(os.PRIO_PROCESS, 0, -20)
    except PermissionError:
        sys.exit("--urgent needs the right to raise priorities (CAP_SYS_NICE)")


def _end_in_order(number: int, frame: object) -> NoReturn:
    """Turn SIGTERM into an exit that unwinds, so that all started processes are ended."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
