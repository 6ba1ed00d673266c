"""A program with several workers and admin pages, and the requests of a test to it."""

import json
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.admin_pages import Answer, fetch, operators_file, post_act
from tests.support.program import Program
from tests.support.scrapes import Samples, samples_of

__all__ = ["WORK", "WorkerPages", "worker_pages"]

PROGRAM = """
import asyncio
import logging
import os
import sys
import threading

import prometheus_client

import fastrpc
from fastrpc.workers.monitoring import acted_workers, monitor, reporter

# A busy machine holds a worker up for longer than 0.2 s: the page would have its figures of a second ago.
monitor.ANSWER_SECONDS = 2.0
acted_workers.SILENT_SECONDS = float("inf")
reporter.LATE_SECONDS = 1.0

shipped = prometheus_client.Counter("orders_shipped", "Of the program.", ["kind"])
shipped.labels("before the fork").inc(3)
depth = prometheus_client.Gauge("shelf_depth", "Of the program.")
sizes = prometheus_client.Histogram("parcel_sizes", "Of the program.", buckets=(1, 10))


@fastrpc.service("work")
class Work:
    @fastrpc.method
    async def where(self) -> int:
        shipped.labels("tea").inc()
        sizes.observe(5)
        depth.set(os.getpid())
        return os.getpid()

    @fastrpc.method
    async def fail(self) -> None:
        raise fastrpc.CallError(fastrpc.Status.NOT_FOUND, "nothing here")

    @fastrpc.method
    async def wait(self) -> None:
        await asyncio.Event().wait()

    @fastrpc.method
    async def hang_collector(self) -> None:
        depth.set_function(lambda: threading.Event().wait())

    @fastrpc.method
    async def hang(self) -> None:
        import time
        while True:
            time.sleep(1)


logging.basicConfig(level=logging.INFO)
if __name__ == "__main__":
    values = eval(sys.argv[2])
    fastrpc.serve(
        Work,
        address="tcp://127.0.0.1:0",
        workers=int(sys.argv[1]),
        registry=values.pop("registry", None),
        config=fastrpc.ServerConfig(admin_address="tcp://127.0.0.1:0", **values),
    )
"""

#: The labels of the calls that the tests count.
WORK = {"service": "work", "method": "where", "status": "OK", "protocol": "native"}


class WorkerPages:
    """The program, once it serves."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.port = int(program.wait_errors(r"admin pages at tcp://127\.0\.0\.1:(\d+)")[1])
        self.address = program.wait_errors(r"listening at (\S+)")[1]

    def workers(self) -> list[int]:
        """Return the process of each worker started so far, by the log."""
        return [int(found) for found in re.findall(r"worker \d+ is process (\d+)", self.program.errors)]

    def monitor(self) -> int:
        """Return the process that has the pages."""
        return int(re.findall(r"monitor is process (\d+)", self.program.errors)[-1])

    def scrape(self) -> Samples:
        """Return the samples of the page of metrics."""
        answer = fetch(self.port, "/metrics")
        assert answer.status == 200
        lines = [line.rpartition(" ")[0] for line in answer.text.splitlines() if not line.startswith("#")]
        assert len(lines) == len(set(lines)), "a series is there twice"
        return samples_of(answer.text)

    def calls(self, **labels: str) -> float:
        """Return the calls that ended."""
        return self.scrape().get(("fastrpc_server_calls_total", frozenset((WORK | labels).items())), 0.0)

    def page(self, path: str) -> Any:
        """Return the values of a page."""
        answer = fetch(self.port, path, Accept="application/json")
        assert answer.status == 200
        return json.loads(answer.content)

    def act(self, name: str, **values: Any) -> Answer:
        """Ask for an act, as the operator."""
        return post_act(self.port, name, **values)

    def state_of(self, service: str) -> str:
        """Return the state of a service, of several workers the different ones."""
        [state] = [one["state"] for one in self.page("/services")["services"] if one["name"] == service]
        return str(state)

    def probe(self, path: str) -> int:
        return fetch(self.port, path).status

    def roll(self) -> list[int]:
        """Replace the workers, and return the processes of the new ones once the old ones are gone."""
        old = self.workers()
        self.program.errors = ""
        self.program.signal(signal.SIGHUP)
        self.program.wait_errors("new workers serve, the old ones drain")
        fresh = self.workers()
        assert not set(old) & set(fresh)
        return fresh


@contextmanager
def worker_pages(folder: Path, workers: int = 4, config: str = "{}") -> Iterator[WorkerPages]:
    """Start the program with the given number of workers."""
    (folder / "paged.py").write_text(PROGRAM)
    operators_file(folder)
    with Program(["paged.py", str(workers), config], folder) as program:
        yield WorkerPages(program)
