"""Four workers that publish and handle messages, each with a line in a file, and the counters that they show."""

import asyncio
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from fastrpc import Client
from tests.support.admin_pages import fetch
from tests.support.program import Program
from tests.support.scrapes import Samples, samples_of
from tests.support.waiting import eventually

__all__ = ["TOPIC", "CountedWorkers", "calls_in", "counted_workers", "outcomes_in", "scrape"]

TOPIC: Final = "counted.numbers"

#: Of ten messages one is retried, and one is dead at once.
PROGRAM = f"""
import os

import fastrpc
from fastrpc import Backoff, CallError, Message, Status
from fastrpc.brokers import current_broker


@fastrpc.service("counted")
class Counted:
    @fastrpc.method
    async def publish(self, first: int, count: int) -> None:
        for number in range(first, first + count):
            await current_broker().publish("{TOPIC}", number)

    @fastrpc.subscriber("{TOPIC}", backoff=Backoff(first=0.01, factor=1, longest=0.01), start="oldest")
    async def handle(self, message: Message[int]) -> None:
        outcome = "acked"
        if message.value % 10 == 1 and message.delivery == 1:
            outcome = "retried"
        elif message.value % 10 == 2:
            outcome = "dead"
        os.write(ledger, f"{{message.value}} {{outcome}}\\n".encode())
        if outcome == "retried":
            raise LookupError("no database")
        if outcome == "dead":
            raise CallError(Status.INVALID_ARGUMENT, "no such number")


ledger = os.open("ledger", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
app = fastrpc.App([Counted], broker=os.environ["BROKER"])
"""


class CountedWorkers:
    """The program, once it serves."""

    def __init__(self, program: Program, folder: Path) -> None:
        self._program = program
        self._folder = folder
        self._published = 0
        self.admin = int(program.wait_errors(r"admin pages at tcp://127\.0\.0\.1:(\d+)")[1])
        self.address = program.wait_output(r"serving at (\S+) with 4 workers")[1]

    async def publish(self, count: int) -> None:
        """Publish over several connections, each to a worker."""
        async with asyncio.TaskGroup() as group:
            for first in range(self._published, self._published + count, 10):
                group.create_task(self._publish(first, 10))
        self._published += count

    async def _publish(self, first: int, count: int) -> None:
        async with Client(self.address) as client:
            await client.with_options(timeout=60).call("counted.publish", first, count)

    async def roll_under_load(self, count: int) -> None:
        """Replace all workers by new ones while messages are published."""
        self._program.errors = ""
        self._program.signal(signal.SIGHUP)
        rolled = asyncio.to_thread(self._program.wait_errors, "new workers serve, the old ones drain")
        await asyncio.gather(rolled, self.publish(count))

    def ledger(self) -> Counter[str]:
        """Return the numbers of messages by their outcome, as publishers and handlers noted them."""
        lines = [line.split() for line in (self._folder / "ledger").read_text().splitlines()]
        noted = Counter(outcome for _, outcome in lines)
        handled = {number for number, outcome in lines if outcome != "retried"}
        return +(noted + Counter(published=self._published, unhandled=self._published - len(handled)))

    async def until_quiet(self) -> None:
        """Wait until all messages are handled."""
        await eventually(lambda: (self._folder / "ledger").exists() and not self.ledger()["unhandled"])


@contextmanager
def counted_workers(folder: Path, broker: str) -> Iterator[CountedWorkers]:
    """Run four workers with a broker."""
    (folder / "counted.py").write_text(PROGRAM)
    arguments = ["-m", "fastrpc", "run", "counted:app", "-w", "4", "-a", "tcp://127.0.0.1:0"]
    environment = {"BROKER": broker, "FASTRPC_ADMIN_ADDRESS": "tcp://127.0.0.1:0"}
    with Program([*arguments, "--log-level", "info"], folder, environment) as program:
        yield CountedWorkers(program, folder)


def scrape(port: int) -> Samples:
    """Return the samples of a page of metrics."""
    return samples_of(fetch(port, "/metrics").text)


def outcomes_in(samples: Samples) -> Counter[str]:
    """Return the messages by outcome that a page of metrics shows."""
    found: Counter[str] = Counter()
    for (name, labels), value in samples.items():
        if name == "fastrpc_messages_total" and ("topic", TOPIC) in labels:
            found[dict(labels)["outcome"]] += int(value)
    return +found


def calls_in(samples: Samples) -> Counter[str]:
    """Return the handlers by the status of their calls that a page of metrics shows."""
    found: Counter[str] = Counter()
    for (name, labels), value in samples.items():
        if name == "fastrpc_server_calls_total" and ("protocol", "messages") in labels:
            found[dict(labels)["status"]] += int(value)
    return +found
