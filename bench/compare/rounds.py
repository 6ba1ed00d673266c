"""Runs every peer on every workload, round after round, one pair of processes at a time.

Peers take turns within each workload of each round, so a machine that drifts drifts for all; a pair is
started for one measurement only, so no peer competes with another or inherits its own past.
"""

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bench.compare.disturbance import watch_disturbance
from bench.compare.measurement import LoadOrder, Measurement
from bench.compare.peers.base import Peer
from bench.compare.processes import Cores, ProcessFailedError, run_client, running_server
from bench.compare.workloads import Workload


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What one run measures, and for how long."""

    peers: Sequence[Peer]
    workloads: Sequence[Workload]
    rounds: int
    warm_seconds: float
    seconds: float
    cores: Cores

    def steps(self) -> Iterator["Step"]:
        """Give the measurements in the order they are taken; each round begins with another peer."""
        for number in range(self.rounds):
            turn = number % max(1, len(self.peers))
            for workload in self.workloads:
                for peer in (*self.peers[turn:], *self.peers[:turn]):
                    if peer.offers(workload):
                        yield Step(number + 1, workload, peer)


@dataclass(frozen=True)
class Step:
    """One measurement to take."""

    round: int
    workload: Workload
    peer: Peer


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One measurement taken, or why it could not be."""

    peer: str
    workload: str
    round: int
    measurement: Measurement | None = None
    server_resident_bytes: int = 0
    #: Share of the two cores that other programs took meanwhile.
    disturbance: float = 0.0
    error: str | None = None


def run_plan(plan: Plan, progress: Callable[[int, int, Outcome], None]) -> list[Outcome]:
    """Take every measurement; a peer that fails costs only its own."""
    steps = list(plan.steps())
    outcomes = []
    for index, step in enumerate(steps, 1):
        outcome = _take(step, plan)
        progress(index, len(steps), outcome)
        outcomes.append(outcome)
    return outcomes


def _take(step: Step, plan: Plan) -> Outcome:
    try:
        return _measure(step, plan)
    except (ProcessFailedError, OSError, msgspec.DecodeError, json.JSONDecodeError) as error:
        reason = f"{type(error).__name__}: {error}"
        return Outcome(peer=step.peer.name, workload=step.workload.name, round=step.round, error=reason)


def _measure(step: Step, plan: Plan) -> Outcome:
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="fastrpc-bench-"))
        command = step.peer.server_command(Path(directory), step.workload)
        server = stack.enter_context(running_server(command, plan.cores.server))
        order = LoadOrder(
            address=server.address,
            workload=step.workload.name,
            warm_seconds=plan.warm_seconds,
            seconds=plan.seconds,
            server_processes=server.processes,
        )
        client_command = step.peer.client_command(order)
        with watch_disturbance(plan.cores, server.processes) as disturbance:
            result = run_client(client_command, plan.cores.client, plan.warm_seconds + plan.seconds)
        return Outcome(
            peer=step.peer.name,
            workload=step.workload.name,
            round=step.round,
            measurement=msgspec.convert(result, Measurement),
            server_resident_bytes=server.resident_bytes(),
            disturbance=disturbance.share,
        )
