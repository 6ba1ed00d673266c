"""The choice of peers and workloads: by the command line, or the default."""

import resource
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.compare.generators import find_generator
from bench.compare.peers.base import Peer, PeerUnavailableError
from bench.compare.workloads import (
    CURVES,
    GRPC,
    HTTP,
    HTTP2,
    RPCX,
    STREAMS,
    TABLE,
    TAILS,
    WORKLOADS,
    Workload,
)

#: The peers that show whether a change helped; `--quick` measures these.
MAIN_PEERS = ("c_echo", "fastrpc", "grpc_asyncio", "grpc_uvloop")

#: Descriptors that a process needs in addition to its connections.
SPARE_DESCRIPTORS = 200

#: Names that mean several workloads.
GROUPS: Mapping[str, Sequence[str]] = {
    "table": tuple(TABLE),
    "streams": tuple(STREAMS),
    "tails": tuple(TAILS),
    "http": tuple(HTTP),
    "http2": tuple(HTTP2),
    "rpcx": tuple(RPCX),
    "grpc": tuple(GRPC),
    **{curve.name: tuple(curve.points.values()) for curve in CURVES.values()},
    "growth": tuple(name for curve in CURVES.values() for name in curve.points.values()),
}


class UnknownNameError(Exception):
    """The name of a peer or workload is unknown; the message lists the known ones."""


@dataclass(frozen=True)
class Assignment:
    """A workload and who is measured on it."""

    workload: Workload
    peers: Sequence[Peer]


def assign(
    found: Mapping[str, Peer],
    *,
    peers: Sequence[str] | None = None,
    workloads: Sequence[str] | None = None,
    quick: bool = False,
) -> list[Assignment]:
    """Return the measurements; workloads that no chosen peer offers are left out.

    Args:
        found: every peer there is, by name.
        peers: names, or `all`; without names each workload has its own peers.
        workloads: names of workloads, of curves, `table`, `streams`, `tails`, `http`, `http2`, `rpcx`, `grpc` or
            `growth`; without them the table, and for the whole default run the others too.
        quick: take the main peers and the table, unless other ones are named.

    Raises:
        UnknownNameError: a name is of nothing there is.
    """
    names = _workload_names(workloads, is_whole=peers is None and not quick)
    assignments = []
    for workload in (WORKLOADS[name] for name in names):
        chosen = _default_peers(found, workload, quick) if peers is None else _named_peers(found, peers)
        if offering := [peer for peer in chosen if peer.offers(workload)]:
            assignments.append(Assignment(workload, offering))
    return assignments


def lift_descriptor_limit() -> int:
    """Let this process and its children open as many files as the system permits; return the number."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return sys.maxsize if hard == resource.RLIM_INFINITY else hard


def within_descriptors(assignments: Sequence[Assignment], limit: int) -> tuple[list[Assignment], list[str]]:
    """Return the assignments whose connections fit the limit, and a text about the other ones."""
    fitting, too_large = [], []
    for assignment in assignments:
        if assignment.workload.connections + SPARE_DESCRIPTORS <= limit:
            fitting.append(assignment)
        else:
            too_large.append(f"{assignment.workload.name} (a process may open {limit} files: ulimit -n)")
    return fitting, too_large


def with_generators(assignments: Sequence[Assignment]) -> tuple[list[Assignment], list[str]]:
    """Return the assignments whose load generators are installed, and a text about the other ones."""
    fitting, missing = [], []
    for assignment in assignments:
        try:
            if assignment.workload.generator is not None:
                find_generator(assignment.workload.generator)
        except PeerUnavailableError as error:
            missing.append(f"{assignment.workload.name} ({error})")
        else:
            fitting.append(assignment)
    return fitting, missing


def _workload_names(asked: Sequence[str] | None, *, is_whole: bool) -> list[str]:
    if asked is None:
        return (
            [*TABLE, *STREAMS, *TAILS, *HTTP, *HTTP2, *RPCX, *GRPC, *GROUPS["growth"]]
            if is_whole
            else list(TABLE)
        )
    unknown = [name for name in asked if name not in GROUPS and name not in WORKLOADS]
    if unknown:
        known = ", ".join([*WORKLOADS, *GROUPS])
        raise UnknownNameError(f"no workload {', '.join(unknown)}; there are {known}; see --list")
    # A dictionary keeps the order and each name once.
    return list(dict.fromkeys(each for name in asked for each in GROUPS.get(name, (name,))))


def _named_peers(found: Mapping[str, Peer], names: Sequence[str]) -> list[Peer]:
    if list(names) == ["all"]:
        return list(found.values())
    unknown = [name for name in names if name not in found]
    if unknown:
        raise UnknownNameError(f"no peer {', '.join(unknown)}; there are {', '.join(found)}")
    return [found[name] for name in names]


def _default_peers(found: Mapping[str, Peer], workload: Workload, quick: bool) -> list[Peer]:
    if workload.only_peers is not None:
        return [found[name] for name in workload.only_peers if name in found]
    return [
        peer
        for peer in found.values()
        if (peer.name in MAIN_PEERS if quick else peer.by_default) or peer.name in workload.also_peers
    ]
