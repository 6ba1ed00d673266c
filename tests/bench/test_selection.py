import resource
from pathlib import Path

import pytest

from bench.compare import generators
from bench.compare.measurement import LoadOrder
from bench.compare.peers import c_echo, fastrpc
from bench.compare.processes import Cores
from bench.compare.rounds import Plan
from bench.compare.selection import (
    MAIN_PEERS,
    SPARE_DESCRIPTORS,
    Assignment,
    UnknownNameError,
    assign,
    lift_descriptor_limit,
    with_generators,
    within_descriptors,
)
from bench.compare.workloads import TABLE, TAILS, WORKLOADS, Workload


class Offering:
    """A peer that is never started."""

    def __init__(self, name: str, *, by_default: bool = True, operations: str = "echo") -> None:
        self.name = name
        self.title = name
        self.family = name
        self.by_default = by_default
        self._operations = operations.split()

    def offers(self, workload: Workload) -> bool:
        return workload.operation in self._operations

    def prepare(self) -> None:
        raise NotImplementedError

    def server_command(self, directory: Path, workload: Workload) -> list[str]:
        raise NotImplementedError

    def client_command(self, order: LoadOrder) -> list[str]:
        raise NotImplementedError


EVERYTHING = "echo mul record echo_batch echo_metadata echo_def echo_connections echo_methods"
STREAMING = "server_stream client_stream both_ways"
FOUND = {
    peer.name: peer
    for peer in (
        Offering("c_echo"),
        Offering("c_echo_spin", by_default=False),
        Offering("c_sink", operations="server_stream client_stream"),
        Offering("fastrpc", operations=f"{EVERYTHING} {STREAMING} server_stream_many"),
        Offering("fastrpc_blocking", by_default=False, operations=STREAMING),
        Offering("fastrpc_unix", by_default=False),
        Offering("grpc_uvloop", operations=f"echo mul record {STREAMING}"),
        Offering("nats", operations="echo record"),
    )
}


def chosen(assignments: list[Assignment]) -> dict[str, list[str]]:
    return {each.workload.name: [peer.name for peer in each.peers] for each in assignments}


def test_a_default_run_takes_the_table_the_streams_the_tails_and_the_growth() -> None:
    assignments = chosen(assign(FOUND))
    assert assignments["W2"] == ["c_echo", "fastrpc", "grpc_uvloop", "nats"]
    assert assignments["many"] == ["fastrpc"]
    assert set(TABLE) < set(assignments)
    assert assignments["server_stream"] == ["c_sink", "fastrpc", "fastrpc_blocking", "grpc_uvloop"]
    assert assignments["both_ways_64K"] == ["fastrpc", "fastrpc_blocking", "grpc_uvloop"]
    assert assignments["server_stream_many"] == ["fastrpc"]
    assert assignments["tail@5000"] == ["fastrpc", "grpc_uvloop"]
    assert assignments["tail@100000"] == ["fastrpc"]
    assert assignments["payload@0"] == ["c_echo", "fastrpc", "grpc_uvloop"]
    assert assignments["methods@1000"] == ["fastrpc"]


def test_a_workload_can_ask_for_peers_in_addition_to_the_default_ones() -> None:
    assert chosen(assign(FOUND))["W1"] == ["c_echo", "c_echo_spin", "fastrpc", "grpc_uvloop", "nats"]


def test_a_quick_run_takes_the_main_peers_and_the_table() -> None:
    assignments = chosen(assign(FOUND, quick=True))
    assert set(assignments) == set(TABLE)
    assert {peer for peers in assignments.values() for peer in peers} <= {*MAIN_PEERS, "c_echo_spin"}


def test_streams_are_a_group_of_workloads() -> None:
    assignments = chosen(assign(FOUND, peers=["c_sink", "nats"], workloads=["streams"]))
    assert assignments == {
        name: ["c_sink"]
        for name in ("server_stream", "server_stream_64K", "client_stream", "client_stream_64K")
    }


def test_only_clients_that_need_not_wait_for_answers_take_a_rate() -> None:
    peers = {peer.name: peer for peer in (*c_echo.PEERS, *fastrpc.PEERS)}
    tails = chosen(assign(peers, peers=["c_echo", "fastrpc", "fastrpc_blocking"], workloads=["tails"]))
    assert tails == {name: ["fastrpc"] for name in TAILS}


def test_named_peers_run_the_workloads_that_they_offer() -> None:
    assignments = chosen(assign(FOUND, peers=["fastrpc_unix", "nats"]))
    assert assignments["W2"] == ["fastrpc_unix", "nats"]
    assert assignments["W4"] == ["nats"]
    assert "many" not in assignments
    assert set(assignments) <= set(TABLE)


def test_all_names_every_peer_that_offers_the_workload() -> None:
    offering = [name for name, peer in FOUND.items() if peer.offers(WORKLOADS["W2"])]
    assert "fastrpc_unix" in offering
    assert chosen(assign(FOUND, peers=["all"], workloads=["W2"])) == {"W2": offering}


def test_a_group_stands_for_its_workloads_and_each_runs_once() -> None:
    assignments = assign(FOUND, peers=["fastrpc"], workloads=["methods@10", "methods", "W2"])
    assert list(chosen(assignments)) == ["methods@10", "methods@1", "methods@100", "methods@1000", "W2"]


@pytest.mark.parametrize(
    ("peers", "workloads", "message"),
    [(["nobody"], None, "no peer nobody"), (None, ["W9"], "no workload W9")],
)
def test_unknown_names_are_refused(
    peers: list[str] | None, workloads: list[str] | None, message: str
) -> None:
    with pytest.raises(UnknownNameError, match=message):
        assign(FOUND, peers=peers, workloads=workloads)


def test_workloads_with_too_many_connections_are_left_out_by_name() -> None:
    assignments = assign(FOUND, workloads=["W2", "connections"])
    fitting, left_out = within_descriptors(assignments, 1_000 + SPARE_DESCRIPTORS)
    assert [each.workload.name for each in fitting][-1] == "connections@1000"
    assert left_out == [
        f"connections@10000 (a process may open {1_000 + SPARE_DESCRIPTORS} files: ulimit -n)"
    ]


def test_workloads_without_their_load_generator_are_left_out_by_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(generators, "ROOT", tmp_path)
    assignments = [Assignment(WORKLOADS[name], [FOUND["c_echo"]]) for name in ("W2", "http_record_wrk")]
    fitting, left_out = with_generators(assignments)
    assert [each.workload.name for each in fitting] == ["W2"]
    assert left_out == ["http_record_wrk (no wrk found (make compare fetches it))"]


def test_the_descriptor_limit_is_lifted_as_far_as_permitted() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
    try:
        assert lift_descriptor_limit() >= 256
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_peers_take_turns_and_each_round_begins_with_another() -> None:
    assignment = Assignment(WORKLOADS["W2"], [FOUND["c_echo"], FOUND["fastrpc"]])
    plan = Plan(assignments=[assignment], rounds=3, warm_seconds=0, seconds=1, cores=Cores(0, 1))
    assert [(step.round, step.peer.name) for step in plan.steps()] == [
        (1, "c_echo"),
        (1, "fastrpc"),
        (2, "fastrpc"),
        (2, "c_echo"),
        (3, "c_echo"),
        (3, "fastrpc"),
    ]
