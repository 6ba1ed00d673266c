"""Command line: `python -m bench.compare [--quick] [--peers …] [--workloads …]`.

Writes compare.json and compare.md and prints the tables; progress goes to standard error.
Ends with 1 if a measurement failed.
"""

import argparse
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from bench.compare.machine import describe_machine
from bench.compare.paths import RESULTS
from bench.compare.peers.base import Peer, PeerUnavailableError, find_peers
from bench.compare.processes import choose_cores
from bench.compare.report import PeerNames, build_result, markdown
from bench.compare.rounds import Outcome, Plan, run_plan
from bench.compare.workloads import WORKLOADS


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
    plan = _plan(options, _prepared(_chosen(found, options.peers), left_out))
    conditions = {
        "machine": describe_machine(),
        "settings": {**_settings(plan), "urgent": options.urgent},
        "left_out": left_out,
    }
    outcomes = run_plan(plan, _show_progress)
    peers = {peer.name: PeerNames(peer.title, peer.family) for peer in plan.peers}
    result = build_result(conditions, peers, outcomes)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "compare.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.output / "compare.md").write_text(markdown(result))
    print(markdown(result))
    return 1 if result["failures"] or not outcomes else 0


def _plan(options: argparse.Namespace, peers: Sequence[Peer]) -> Plan:
    return Plan(
        peers=peers,
        workloads=[WORKLOADS[name] for name in options.workloads or WORKLOADS],
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
        "--quick", action="store_true", help="one short round within 60 s: a look, not a result"
    )
    parser.add_argument("--peers", type=_names, help="names with commas, or `all`; see --list")
    parser.add_argument("--workloads", type=_workload_names, help="names with commas; see --list")
    parser.add_argument("--rounds", type=int, help="measurements of each, of which the median counts (3)")
    parser.add_argument("--seconds", type=float, help="length of a measurement (1)")
    parser.add_argument("--warm-seconds", type=float, help="load before it that does not count (0.3)")
    parser.add_argument(
        "--urgent", action="store_true", help="run ahead of other programs, where that is permitted"
    )
    parser.add_argument("--output", type=Path, default=RESULTS, help="where the results go (bench/results)")
    parser.add_argument("--list", action="store_true", help="show peers and workloads")
    return parser.parse_args(arguments)


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _workload_names(text: str) -> list[str]:
    names = _names(text)
    unknown = sorted(set(names) - set(WORKLOADS))
    if unknown:
        raise argparse.ArgumentTypeError(
            f"no workload {', '.join(unknown)}; there are {', '.join(WORKLOADS)}"
        )
    return names


def _list_choices(found: Mapping[str, Peer], left_out: Mapping[str, str]) -> None:
    for workload in WORKLOADS.values():
        print(f"workload {workload.name:22} {workload.title}")
    for peer in found.values():
        print(f"peer     {peer.name:22} {peer.title}{'' if peer.by_default else ' (only when named)'}")
    for module, reason in left_out.items():
        print(f"left out {module:22} {reason}")


def _chosen(found: Mapping[str, Peer], names: Sequence[str] | None) -> list[Peer]:
    if names is None:
        return [peer for peer in found.values() if peer.by_default]
    if names == ["all"]:
        return list(found.values())
    unknown = [name for name in names if name not in found]
    if unknown:
        sys.exit(f"no peer {', '.join(unknown)}; there are {', '.join(found)}")
    return [found[name] for name in names]


def _prepared(peers: Sequence[Peer], left_out: list[str]) -> list[Peer]:
    """Return the peers that can run here; the others join `left_out`."""
    ready = []
    for peer in peers:
        try:
            peer.prepare()
        except PeerUnavailableError as error:
            left_out.append(f"{peer.name} ({error})")
        else:
            ready.append(peer)
    for reason in left_out:
        print(f"left out: {reason}", file=sys.stderr)
    return ready


def _show_progress(index: int, count: int, outcome: Outcome) -> None:
    if outcome.measurement is None:
        rate = f"failed: {outcome.error}"
    else:
        rate = f"{outcome.measurement.calls / outcome.measurement.seconds:>12,.0f} calls/s"
    place = f"round {outcome.round}  {outcome.workload:7} {outcome.peer:22}"
    print(f"[{index:{len(str(count))}}/{count}] {place} {rate}", file=sys.stderr, flush=True)


def _raise_priority() -> None:
    """Put this process, and so all it starts, before others on a machine that is not idle."""
    try:
        os.setpriority(os.PRIO_PROCESS, 0, -20)
    except PermissionError:
        sys.exit("--urgent needs the right to raise priorities (CAP_SYS_NICE)")


def _end_in_order(number: int, frame: object) -> NoReturn:
    """Turn SIGTERM into an exit that unwinds, so that what was started is ended."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
