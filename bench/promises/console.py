"""`fastrpc console` over a thousand simulated servers: memory, processor time, age of its data, its views."""

import asyncio
import contextlib
import http.client
import json
import os
import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from bench.compare.processes import choose_cores, peak_bytes_of, running_server
from bench.promises.finding import Finding
from bench.promises.simulated_fleet import HANGING, SERVERS, SERVICES, service_name
from fastrpc.console.views.service import ENDPOINTS_TITLE
from fastrpc.endpoint import Endpoint
from fastrpc.registries import open_registry
from fastrpc.server.admin.figures import process_facts

__all__ = [
    "SIMULATED_FLEET",
    "ConsoleFigures",
    "ConsoleViews",
    "console",
    "findings_of",
    "running_console",
    "wait_for_fleet",
    "watched",
]

SECONDS = 180.0
#: Seconds in which a console must know its fleet; the measurement begins after them.
KNOWN_SECONDS = 120.0
#: Readers of views, and the seconds between two views of one.
READERS, EVERY_SECONDS = 3, 2.0
#: Seconds between two changes, and between two looks for one.
CHANGE_SECONDS, LOOK_SECONDS = 10.0, 1.0

MIB = 1024 * 1024

#: The command of the simulated servers.
SIMULATED_FLEET = [sys.executable, "-m", "bench.promises.simulated_fleet"]
_STARTED = re.compile(r"console at http://127\.0\.0\.1:(\d+)/#token=(\S+)")


@dataclass
class ConsoleFigures:
    """The measured figures."""

    #: Bytes resident at most, and after each sixth of the time.
    peak_bytes: int = 0
    resident: list[int] = field(default_factory=list)
    #: The share of one core.
    processor_share: float = 0.0
    #: Until a change of a record was shown, and until newer counts of a server were.
    change_seconds: list[float] = field(default_factory=list)
    #: For each view, as its reader sees it.
    view_seconds: list[float] = field(default_factory=list)
    largest_view: int = 0
    #: The last facts of the view of the console.
    facts: dict[str, Any] = field(default_factory=dict)


def console() -> list[Finding]:
    """A console over 1,000 servers for three minutes, with three readers."""
    return findings_of(watched(SECONDS), SECONDS)


def findings_of(found: ConsoleFigures, seconds: float) -> list[Finding]:
    """Return the measurements as findings about promises."""
    details = f"{SERVERS:,} servers, {SERVICES} services, {seconds:g} s, {READERS} readers"
    views = statistics.quantiles(found.view_seconds, n=100)[98] * 1e3
    return [
        Finding("memory of a console", found.peak_bytes / MIB, 300, "MiB at most", details),
        Finding("processor time of a console", found.processor_share * 100, 20, "% of a core", details),
        Finding("a change until a console shows it", max(found.change_seconds), 5, "s at most", details),
        Finding("the largest view", found.largest_view / 1e3, 200, "KB", details),
        Finding(f"{len(found.view_seconds):,} views", views, 150, "ms at p99", details),
    ]


def watched(seconds: float) -> ConsoleFigures:
    """Run a console over the simulated servers, and return the measurements of this time."""
    cores, found = choose_cores(), ConsoleFigures()
    with (
        running_server(SIMULATED_FLEET, cores.client) as fleet,
        running_console(fleet.address, cores.server) as shown,
        contextlib.ExitStack() as stack,
    ):
        process, asking = shown
        wait_for_fleet(asking)
        views = [stack.enter_context(contextlib.closing(ConsoleViews(asking))) for _ in range(READERS + 1)]
        over = threading.Event()
        began, spent = time.monotonic(), _used(process, "processor_seconds")
        with ThreadPoolExecutor(READERS + 1) as threads:
            readers = [threads.submit(_read, views[number], number, found, over) for number in range(READERS)]
            changing = threads.submit(asyncio.run, _change(views[READERS], fleet.address, found, over))
            try:
                for _ in range(6):
                    time.sleep(seconds / 6)
                    found.resident.append(int(_used(process, "resident_bytes")))
                found.processor_share = (_used(process, "processor_seconds") - spent) / (
                    time.monotonic() - began
                )
            finally:
                over.set()
            for one in (*readers, changing):
                one.result()
        found.peak_bytes = peak_bytes_of(process)
        found.facts = views[0].facts()
    return found


@contextlib.contextmanager
def running_console(registry: str, core: int) -> Iterator[tuple[int, tuple[int, str]]]:
    """Run a console, and yield its process, its port and its token."""
    command = [sys.executable, "-m", "fastrpc", "console", "--registry", registry]
    command += ["--servers", "127.0.0.0/8", "--address", "http://127.0.0.1:0", "--log-level", "error"]
    # A slow view counts as such, and is not refused.
    environment = os.environ | {"FASTRPC_ADMISSION_QUEUE_AGE": "30"}
    running = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True, env=environment
    )
    try:
        os.sched_setaffinity(running.pid, {core})
        assert running.stdout is not None
        started = _STARTED.match(running.stdout.readline())
        if started is None:
            raise RuntimeError("the console did not start")
        yield running.pid, (int(started[1]), started[2])
    finally:
        running.terminate()
        running.wait()
        assert running.stdout is not None
        running.stdout.close()


class ConsoleViews:
    """A reader of views, with one connection."""

    def __init__(self, asking: tuple[int, str]) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", asking[0], timeout=60)
        self._fields = {"Authorization": f"Bearer {asking[1]}", "Content-Type": "application/json"}

    def view(self, name: str, **arguments: str) -> tuple[dict[str, Any], int, float]:
        """Return a view, its bytes and the seconds that it took."""
        body = json.dumps({"name": name, "arguments": arguments})
        began = time.monotonic()
        self._http.request("POST", "/fastrpc.console.detail/view", body, self._fields)
        answer = self._http.getresponse()
        content = answer.read()
        seconds = time.monotonic() - began
        if answer.status != 200:
            raise RuntimeError(f"{name} {arguments}: {answer.status} {content!r}")
        found: dict[str, Any] = json.loads(content)
        return found, len(content), seconds

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def facts(self) -> dict[str, Any]:
        """Return the facts that the console reports about itself."""
        facts: dict[str, Any] = self.view("console")[0]["blocks"][0]["facts"]
        return facts

    def rows(self, title: str, name: str, **arguments: str) -> list[list[Any]]:
        """Return the rows of a table of a view."""
        blocks = self.view(name, **arguments)[0]["blocks"]
        rows: list[list[Any]] = next(one["rows"] for one in blocks if one.get("title") == title)
        return rows


def wait_for_fleet(asking: tuple[int, str]) -> None:
    """Wait until every server that answers has been read, and all series have begun with a second reading."""
    until = time.monotonic() + KNOWN_SECONDS
    with contextlib.closing(ConsoleViews(asking)) as views:
        while True:
            facts = views.facts()
            known = facts.get("servers ready", 0)
            if known >= SERVERS - HANGING and facts["polls"] >= 3 * SERVERS:
                return
            if time.monotonic() > until:
                raise TimeoutError(f"the console knows {known} of {SERVERS - HANGING} servers")
            time.sleep(LOOK_SECONDS)


def _read(views: ConsoleViews, number: int, found: ConsoleFigures, over: threading.Event) -> None:
    """Read one view after another, like a person who looks for a failing method."""
    service = service_name(number)
    server = views.rows("by server, since it started", "method", service=service, method="method_00")[0][0]
    asked: list[tuple[str, dict[str, str]]] = [
        ("services", {"sort": "-errors"}),
        ("service", {"service": service}),
        ("method", {"service": service, "method": "method_00"}),
        ("server", {"server": server}),
        ("console", {}),
    ]
    turn = 0
    while not over.wait(EVERY_SECONDS):
        name, arguments = asked[turn % len(asked)]
        _, size, seconds = views.view(name, **arguments)
        found.view_seconds.append(seconds)
        found.largest_view = max(found.largest_view, size)
        turn += 1


async def _change(views: ConsoleViews, url: str, found: ConsoleFigures, over: threading.Event) -> None:
    """Add a record and take it away, and note how long each change is not shown, and newer counts of a server."""
    service = service_name(7)
    server = views.rows("by server, since it started", "method", service=service, method="method_00")[0][0]
    place = "tcp://127.0.0.1:9"

    def is_shown() -> bool:
        return any(row[0] == place for row in views.rows(ENDPOINTS_TITLE, "service", service=service))

    def counted() -> list[Any]:
        return [row[4] for row in views.rows("methods since it started", "server", server=server)]

    async with contextlib.aclosing(open_registry(url)) as registry:
        while not over.is_set():
            async with registry.register(service, Endpoint(place)):
                found.change_seconds.append(await _seconds_until(is_shown))
                before = await asyncio.to_thread(counted)
                has_changed = partial(_differs, counted, before)
                found.change_seconds.append(await _seconds_until(has_changed))
            found.change_seconds.append(await _seconds_until(lambda: not is_shown()))
            await asyncio.to_thread(over.wait, CHANGE_SECONDS)


def _differs(now: Callable[[], Any], before: Any) -> bool:
    return bool(now() != before)


async def _seconds_until(is_so: Callable[[], bool]) -> float:
    began = time.monotonic()
    while not await asyncio.to_thread(is_so):
        await asyncio.sleep(LOOK_SECONDS)
        if time.monotonic() - began > 60:
            raise TimeoutError("a change was not shown within a minute")
    return time.monotonic() - began


def _used(process: int, name: str) -> float:
    return float(process_facts(process)[name])
