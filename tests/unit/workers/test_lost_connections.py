"""A worker that has no descriptor for the connections that it is handed."""

import asyncio
import logging
import os
import resource
import socket

import pytest

from fastrpc.endpoint import Address
from fastrpc.workers.monitoring import reporter
from fastrpc.workers.monitoring.scoreboard import Role, Scoreboard
from fastrpc.workers.plan import Plan
from fastrpc.workers.worker_channel import SupervisorEnd, WorkerEnd
from fastrpc.workers.worker_process import Worker
from tests.support.forking import in_child
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

ADDRESS = Address.parse("tcp://127.0.0.1:0")


class Records(logging.Handler):
    """Keeps the texts of records."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


async def hand_over_without_descriptors() -> None:
    """Hand over three connections to a worker without a descriptor, which has some again later."""
    reporter.REPORT_SECONDS = 0.01
    records = Records()
    logging.getLogger("fastrpc.server").addHandler(records)
    (place,) = Scoreboard(1).places
    place.prepare(Role.WORKER)
    ours, theirs = socket.socketpair()
    supervisor, channel = SupervisorEnd(ours), WorkerEnd(theirs)
    plan = Plan(load=list, addresses=(ADDRESS,), workers=2)
    worker = Worker(plan, channel, [ADDRESS], ("worker 1", place))
    worker._reporter.count_connections(worker._connections)
    client, accepted = socket.socketpair()
    least, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (os.dup(0) + 1, most))
    for _ in range(3):
        assert supervisor.hand_over(0, accepted)
    worker._receive()
    worker._reporter.start()
    assert place.connections(3) == 3
    # Not before: its descriptor would be free for one of them.
    accepted.close()
    client.settimeout(20)
    assert client.recv(1) == b"", "a connection is still open"
    resource.setrlimit(resource.RLIMIT_NOFILE, (least, most))
    await eventually(lambda: place.connections(3) == 0)
    assert len([text for text in records.texts if "too many open files" in text]) == 1


def test_lost_connections_count_as_open_only_until_there_are_descriptors() -> None:
    in_child(lambda: asyncio.run(hand_over_without_descriptors()))
