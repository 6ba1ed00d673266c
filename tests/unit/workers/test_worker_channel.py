"""What a supervisor and a worker say to each other."""

import socket
from collections.abc import Iterator

import pytest

from fastrpc.workers.worker_channel import DRAIN, QUIT, SupervisorEnd, WorkerEnd

Ends = tuple[SupervisorEnd, WorkerEnd]


@pytest.fixture
def ends() -> Iterator[Ends]:
    ours, theirs = socket.socketpair()
    pair = SupervisorEnd(ours), WorkerEnd(theirs)
    yield pair
    for end in pair:
        end.close()


def test_commands_arrive_one_by_one(ends: Ends) -> None:
    supervisor, worker = ends
    assert supervisor.tell(DRAIN)
    assert supervisor.tell(QUIT)
    assert [worker.receive(), worker.receive(), worker.receive()] == [(DRAIN, None), (QUIT, None), None]


def test_connections_arrive_with_the_address_they_came_to(ends: Ends) -> None:
    supervisor, worker = ends
    clients = []
    for index in range(3):
        client, accepted = socket.socketpair()
        clients.append(client)
        with accepted:
            assert supervisor.hand_over(index, accepted)
    for index, client in enumerate(clients):
        received = worker.receive()
        assert received is not None
        assert received[0] == index
        assert received[1] is not None
        with client, received[1] as connection:
            assert not connection.get_inheritable()
            connection.send(b"hello")
            assert client.recv(5) == b"hello"


def test_stuck_worker_takes_no_more_connections(ends: Ends) -> None:
    supervisor, _ = ends
    client, accepted = socket.socketpair()
    with client, accepted:
        taken = 0
        while supervisor.hand_over(0, accepted):
            taken += 1
            assert taken < 100_000
    assert taken > 0


def test_reports_arrive_whole(ends: Ends) -> None:
    supervisor, worker = ends
    worker.report(started={"a": 1})
    worker.report(leaving=True)
    assert supervisor.reports() == [{"started": {"a": 1}}, {"leaving": True}]
    assert supervisor.reports() == []


def test_lost_supervisor_means_drain(ends: Ends) -> None:
    supervisor, worker = ends
    supervisor.close()
    assert worker.receive() == (DRAIN, None)
    assert not worker.is_open
    worker.report(leaving=True)


def test_lost_worker_gets_no_commands(ends: Ends) -> None:
    supervisor, worker = ends
    worker.report(failed={})
    worker.close()
    client, accepted = socket.socketpair()
    with client, accepted:
        assert not supervisor.tell(DRAIN)
        assert not supervisor.hand_over(0, accepted)
    assert supervisor.reports() == [{"failed": {}}]
