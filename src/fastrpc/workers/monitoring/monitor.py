"""The monitor: the process that serves the admin pages of several workers.

It is a separate process, because the supervisor has no loop, and a worker may be blocked or dead just when the pages
are needed. It reads the records that workers write to the scoreboard, and asks the workers for momentary values.
"""

import asyncio
import contextlib
import itertools
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from fastrpc._version import __version__
from fastrpc.config import ServerConfig
from fastrpc.metrics.exposition import Exposition
from fastrpc.metrics.prometheus import metrics_of
from fastrpc.server.admin.figures import Figures, process_facts
from fastrpc.server.admin.opening import Admin
from fastrpc.server.admin.start_instant import StartInstant
from fastrpc.server.admin.state import method_rows, shown_settings, with_records
from fastrpc.time_limit import time_limit
from fastrpc.workers.monitoring.acted_workers import ActedWorkers
from fastrpc.workers.monitoring.counted import CountedSum, counted_before
from fastrpc.workers.monitoring.merging import merge_of
from fastrpc.workers.monitoring.scoreboard import Kind, ProcessPlace, Role, Scoreboard, kind_of
from fastrpc.workers.plan import ExitCode, Plan
from fastrpc.workers.process import loop_factory, signals_handled
from fastrpc.workers.worker_channel import DRAIN, QUIT, WorkerEnd

__all__ = ["Workers", "run_monitor"]

logger = logging.getLogger("fastrpc.server")

#: Seconds that workers have for an answer. The page shows the answers received in this time.
ANSWER_SECONDS = 0.2

#: Seconds without a beat after which a process counts as not ready: several intervals of its beats.
SILENT_SECONDS = 5.0

#: Commands that show the content of a page for a process that does not answer.
HINTS = {"stacks": "py-spy dump --pid {}"}

#: Metrics whose names begin with this text describe one process, so no counts from before the fork are subtracted.
OF_PROCESS = "process_"


def run_monitor(
    plan: Plan, channel: WorkerEnd, board: Scoreboard, sockets: Sequence[socket.socket]
) -> ExitCode:
    """Serve the admin pages until the supervisor orders the end or has ended."""
    # Ignore signals to the whole process group, which only the supervisor handles.
    with (
        signals_handled(lambda _: None, signal.SIGINT, signal.SIGTERM),
        asyncio.Runner(loop_factory=loop_factory()) as runner,
    ):
        return runner.run(_serve(plan, channel, board, sockets))


async def _serve(
    plan: Plan, channel: WorkerEnd, board: Scoreboard, sockets: Sequence[socket.socket]
) -> ExitCode:
    workers = Workers(plan.config, board)
    ended = asyncio.get_running_loop().create_future()

    def receive() -> None:
        while (order := channel.receive()) is not None:
            if order[0] == DRAIN:
                workers.is_draining = True
            if order[0] == QUIT or not channel.is_open:
                asyncio.get_running_loop().remove_reader(channel.fileno())
                ended.set_result(None)
                return

    has_registry = plan.registry is not None
    admin = Admin(plan.config, has_registry=has_registry)
    acted = ActedWorkers(workers, board, has_registry=has_registry)
    asyncio.get_running_loop().add_reader(channel.fileno(), receive)
    try:
        await admin.show(workers, sockets, acted)
        channel.report(started={"addresses": [str(admin.address)]})
        await ended
    finally:
        await admin.close()
    return ExitCode.DONE


class Workers:
    """The state of several workers, for the pages."""

    def __init__(self, config: ServerConfig, board: Scoreboard) -> None:
        self.is_draining = False
        self._config = config
        self._board = board
        self._began = StartInstant()
        self._failing: set[str] = set()
        self._exposition = Exposition()
        # The last complete record of each place.
        self._records: dict[int, bytes] = {}
        # Begin with a number that no previous monitor used, whose answers may still be on the scoreboard.
        self._numbers = itertools.count(time.monotonic_ns())
        # A process keeps only its last answer of each kind, so only one question of a kind is asked at a time.
        self._asking = {kind: asyncio.Lock() for kind in Kind}
        # Number of a pending question -> the places that have not answered yet, and the waiter.
        self._questions: dict[int, tuple[set[int], asyncio.Future[None]]] = {}
        # The counts inherited from the supervisor: the monitor reports them, and each worker subtracts them.
        before = counted_before(self._failing)
        before["families"] = [one for one in before["families"] if not one[0].startswith(OF_PROCESS)]
        self._before = before
        for place in board.places:
            asyncio.get_running_loop().add_reader(place.asking.fileno(), self._hear, place)

    @property
    def is_ready(self) -> bool:
        """Whether at least one worker accepts calls and, if required, the registry has the server's records."""
        if self.is_draining:
            return False
        ready = {
            place.role
            for place in self._board.living()
            if place.is_ready and place.silent_seconds < SILENT_SECONDS
        }
        return Role.WORKER in ready and (not self._config.ready_needs_registry or Role.ANNOUNCER in ready)

    async def values(self, name: str) -> Callable[[], dict[str, Any]]:
        """Return the function that makes the values of the named page."""
        if name == "config":
            return lambda: {"config": shown_settings(self._config)}
        workers = [place for place in self._board.living() if place.role == Role.WORKER]
        if name == "overview":
            await self._ask("metrics", self._board.living())
        asked = [place.process for place in workers]
        if name == "services":
            return await self._services(workers)
        answers = await self.answers(name, workers)
        merge = self._overview if name == "overview" else merge_of(name)
        return lambda: merge(answers) | _missing(asked, answers, HINTS.get(name))

    async def _services(self, workers: Sequence[ProcessPlace]) -> Callable[[], dict[str, Any]]:
        """Return the function that makes the services page from the workers' answers and the announcer's records."""
        asked = {place.process: place for place in self._board.living() if place.role == Role.ANNOUNCER}
        asked |= {place.process: place for place in workers}
        answers = await self.answers("services", list(asked.values()))

        def made() -> dict[str, Any]:
            merged, _ = _with_records("services", answers)
            return merged | _missing(asked, answers)

        return made

    async def figures(self) -> Callable[[], Figures]:
        """Return the function that makes the figures of each method."""
        living = self._board.living()
        asked = {place.process: Role(place.role).name.lower() for place in living if place.process}
        await self._ask("metrics", living)
        answers = await self.answers("figures", living)
        # A process that answered may have been replaced at its place meanwhile.
        return lambda: self._figures(asked, answers)

    async def answers(
        self, question: str, places: Sequence[ProcessPlace], seconds: float | None = None
    ) -> dict[str, dict[str, Any]]:
        """Return the answers to a question that were received in time, by process id.

        Args:
            question: the name of a page, or another name with a space and its argument.
            seconds: the time to wait; None: as long as for a page.
        """
        answers: dict[str, dict[str, Any]] = {}
        kind = kind_of(question)
        async with self._asking[kind]:
            number = await self._ask(question, places, seconds)
            for place in places:
                answer = json.loads(place.read(kind) or b"{}")
                if answer.get("number") == number:
                    answers[str(place.process)] = answer["values"]
        return answers

    async def metrics(self) -> Callable[[], bytes]:
        """Return the function that makes the page of metrics."""
        await self._ask("metrics", self._board.living())
        return self._page_of_metrics

    def _page_of_metrics(self) -> bytes:
        total = self._sum()
        ours = metrics_of(total.figures.counters(), total.figures.process())
        return self._exposition.page(itertools.chain(total.families.metrics(), ours))

    def _sum(self) -> CountedSum:
        total = CountedSum()
        total.add_values(self._before)
        total.figures.add_refused(self._board.refused())
        for place in self._board.places:
            # A record that is rewritten all the time cannot be read. Then the last record read is used, so that no
            # count falls.
            record = place.read(Kind.COUNTED) or self._records.get(place.index)
            if record:
                self._records[place.index] = record
                total.add(record, place.process)
        return total

    async def _ask(self, question: str, places: Sequence[ProcessPlace], seconds: float | None = None) -> int:
        """Ask a question. Return its number after all have answered, or the time is over."""
        number = next(self._numbers)
        asked: set[int] = set()
        for place in places:
            with contextlib.suppress(OSError):  # The process has not read the questions before this one.
                place.asking.send(f"{number} {question}".encode())
                asked.add(place.index)
        answered = asyncio.get_running_loop().create_future()
        if asked:
            self._questions[number] = asked, answered
            try:
                async with time_limit(ANSWER_SECONDS if seconds is None else seconds):
                    await answered
            except TimeoutError:
                logger.debug("processes that did not answer in time: %d", len(asked))
            finally:
                del self._questions[number]
        return number

    def _hear(self, place: ProcessPlace) -> None:
        with contextlib.suppress(OSError, ValueError):
            asked, answered = self._questions.get(int(place.asking.recv(32)), (set(), None))
            asked.discard(place.index)
            if answered is not None and not asked and not answered.done():
                answered.set_result(None)

    def _overview(self, answers: dict[str, dict[str, Any]]) -> dict[str, Any]:
        total = self._sum()
        process = total.figures.process()
        sums = ("connections", "calls", "waiting")
        shown = ("process_id", "ready", "draining", *sums)
        return {
            **self._facts(),
            "process_id": os.getppid(),
            **{name: sum(answer[name] for answer in answers.values()) for name in sums},
            "refused": {reason: count for reason, count in process["refused"].items() if count},
            "loop_lag_seconds": process["lag_seconds"],
            "loop_blocked_seconds": process["blocked_seconds"],
            "workers": [{name: answer[name] for name in shown} for answer in answers.values()],
            "methods": method_rows(total.figures.counters()),
        }

    def _facts(self) -> dict[str, Any]:
        return {
            "fastrpc": __version__,
            "python": ".".join(map(str, sys.version_info[:3])),
            "time": time.time(),
            "started": self._began.seconds(),
            "ready": self.is_ready,
            "draining": self.is_draining,
        }

    def _figures(self, asked: dict[int, str], answers: dict[str, dict[str, Any]]) -> Figures:
        of_workers, records = _with_records("figures", answers)
        processes = [
            process_facts(process)
            | {"role": role, "loop_lag_seconds": answers.get(str(process), {}).get("loop_lag_seconds")}
            for process, role in asked.items()
        ]
        for role, process in (("supervisor", os.getppid()), ("monitor", os.getpid())):
            processes.append(process_facts(process) | {"role": role, "loop_lag_seconds": None})
        facts = {
            "server": self._board.identity,
            **self._facts(),
            **of_workers,
            "records": records or [],
            "processes": processes,
        }
        return Figures(facts | _missing(asked, answers), self._sum().figures.counters())


def _with_records(
    name: str, answers: dict[str, dict[str, Any]]
) -> tuple[dict[str, Any], list[dict[str, Any]] | None]:
    """Return the services page with the announcer's records added, and these records, or None."""
    of_workers = {process: answer for process, answer in answers.items() if "services" in answer}
    merged = merge_of(name)(of_workers)
    of_others = [answer["records"] for answer in answers.values() if "services" not in answer]
    records = [row for rows in of_others for row in rows] if of_others else None
    return merged | {"services": with_records(merged["services"], records)}, records


def _missing(
    asked: Iterable[int], answers: dict[str, dict[str, Any]], hint: str | None = None
) -> dict[str, Any]:
    """Return the processes that did not answer in time, each with a hint, if there are any."""
    missing = [process for process in asked if str(process) not in answers]
    if not missing:
        return {}
    hints = {} if hint is None else {"hints": [hint.format(process) for process in missing]}
    return {"without": missing} | hints
