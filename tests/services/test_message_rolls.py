"""Servers with subscribers that are rolled, and a broker that is restarted, under 500 messages a second."""

import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import SCALE
from tests.support.kept_process import KeptProcess, accepts
from tests.support.messages.broker_process import HostedBroker
from tests.support.messages.killing import RATE, Worker
from tests.support.messages.ledger import Unhandled, problems, read_events
from tests.support.ports import free_ports

ROLLS = 5 if SCALE <= 1 else 20
RESTARTS = 3
WAIT_SECONDS = 60.0

#: The line by which a supervisor reports the end of a roll.
ROLLED = "new workers serve, the old ones drain"


class RolledServer(KeptProcess):
    """`fastrpc run` with two workers, whose subscribers note their handled messages in a folder."""

    def __init__(self, url: str, folder: Path, number: int) -> None:
        super().__init__(folder / f"server-{number}.log")
        (self._port,) = free_ports(1)
        self._url = url
        self._folder = folder

    def command(self) -> list[str]:
        service = "tests.support.messages.rolled:Handling"
        return [
            *("env", f"LEDGER={self._folder}", sys.executable, "-m", "fastrpc", "run", service),
            *("-w", "2", "-a", f"tcp://127.0.0.1:{self._port}", "--broker", self._url),
        ]

    def is_ready(self) -> bool:
        return accepts("127.0.0.1", self._port)

    @property
    def rolls(self) -> int:
        return self.written().count(ROLLED)


class Fleet:
    """A broker, three servers and two publishers, with the ledger of all."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.broker = stack.enter_context(HostedBroker(folder).running())
        self.folder = folder / "events"
        self.folder.mkdir()
        self.servers = [RolledServer(self.broker.url, self.folder, number) for number in range(3)]
        publishers = [
            Worker("publisher", self.broker.url, self.folder, f"p{number}", [str(RATE / 2), "25"])
            for number in range(2)
        ]
        self._publishers = publishers
        processes = [*self.servers, *publishers]
        for process in processes:
            stack.callback(process.kill)
        with ThreadPoolExecutor(len(processes)) as threads:
            for started in [threads.submit(process.start) for process in processes]:
                started.result()

    def handle(self, more: int) -> None:
        """Wait until `more` further messages are handled."""
        wanted = self.count("done") + more
        self.until(lambda: self.count("done") >= wanted, "no more messages are handled")

    def roll(self) -> None:
        """Roll all servers at once."""
        rolls = [server.rolls for server in self.servers]
        for server in self.servers:
            server.signal(signal.SIGHUP)
        self.until(
            lambda: all(now.rolls > before for now, before in zip(self.servers, rolls, strict=True)),
            "the servers are not rolled",
        )

    def end(self) -> None:
        """Publish no more, and wait until all that the broker kept is handled."""
        for publisher in self._publishers:
            publisher.kill()
        unhandled = Unhandled(self.folder)
        self.until(lambda: not unhandled.now(), "messages are not handled")

    def repeats(self) -> list[str]:
        """Return the ids of messages that were started more than once."""
        starts = Counter(event.id for event in read_events(self.folder) if event.kind == "start")
        return [id for id, times in starts.items() if times > 1]

    def count(self, kind: str) -> int:
        """Return the number of events of a kind."""
        word = f" {kind} ".encode()
        return sum(file.read_bytes().count(word) for file in self.folder.glob("*.events"))

    @staticmethod
    def until(holds: Callable[[], object], failure: str) -> None:
        end = time.monotonic() + WAIT_SECONDS
        while not holds():
            assert time.monotonic() < end, f"{failure} within {WAIT_SECONDS} s"
            time.sleep(0.05)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with ExitStack() as stack:
        yield Fleet(tmp_path, stack)


def test_rolls_of_servers_and_restarts_of_the_broker_lose_no_message(fleet: Fleet) -> None:
    for _ in range(ROLLS):
        fleet.handle(RATE)
        fleet.roll()
    fleet.handle(RATE)
    # While the broker is left alone, no message is handled twice.
    assert fleet.repeats() == []
    # Each roll has new workers, and all of them have handled messages.
    assert len(list(fleet.folder.glob("worker-*.events"))) == 6 * (ROLLS + 1)
    for _ in range(RESTARTS):
        fleet.broker.stop()
        fleet.broker.start()
        fleet.handle(RATE)
    fleet.end()
    # Repeats have no ack that the broker kept.
    assert problems(read_events(fleet.folder)) == []
    assert fleet.count("acked") > RATE
    # Publishers see no error.
    assert fleet.count("error") == 0
