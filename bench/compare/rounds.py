"""Runs every peer on every workload, round after round, one pair of processes at a time.

Peers take turns within each workload of each round, so a machine that drifts drifts for all; a pair is started for one
measurement only, so no peer competes with another or inherits its own past.
"""

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec

from bench.compare.disturbance import watch_disturbance
from bench.compare.measurement import LoadOrder, Measurement
from bench.compare.peers.base import Peer
from bench.compare.processes import Cores, ProcessFailedError, run_client, running_server
from bench.compare.selection import Assignment
from bench.compare.workloads import Workload


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The measurements of one run, and their duration."""

    assignments: Sequence[Assignment]
    rounds: int
    warm_seconds: float
    seconds: float
    cores: Cores

    def steps(self) -> Iterator["Step"]:
        """Give the measurements in the order they are taken; each round begins with another peer."""
        for number in range(self.rounds):
            for assignment in self.assignments:
                turn = number % len(assignment.peers)
                for peer in (*assignment.peers[turn:], *assignment.peers[:turn]):
                    yield Step(number + 1, assignment.workload, peer)


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
    server_peak_bytes: int = 0
    #: The share of the two cores that other programs used meanwhile.
    disturbance: float = 0.0
    error: str | None = None


class Observer(Protocol):
    """Gets every measurement."""

    def begin(self, step: Step) -> None: ...

    def end(self, step: Step, outcome: Outcome) -> None: ...


def run_plan(plan: Plan, observer: Observer) -> list[Outcome]:
    """Take every measurement; a peer that fails costs only its own."""
    outcomes = []
    for step in plan.steps():
        observer.begin(step)
        outcome = _take(step, plan)
        observer.end(step, outcome)
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
            server_peak_bytes=server.peak_bytes(),
            disturbance=disturbance.share,
        )
