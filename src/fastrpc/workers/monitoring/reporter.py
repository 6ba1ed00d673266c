"""Reports of one process to the others: its heartbeats, its counts, and answers to questions."""

import asyncio
import contextlib
import json
import logging
import os
import time
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

from fastrpc.gauges import Gauge, gauges
from fastrpc.workers.monitoring.scoreboard import Kind, ProcessPlace, kind_of

if TYPE_CHECKING:
    from fastrpc.workers.monitoring.counted import Counted

__all__ = ["Reporter"]

logger = logging.getLogger("fastrpc.server")

#: Seconds between two reports. If a process is killed, at most the counts of this time are lost.
REPORT_SECONDS = 1.0

#: Seconds after which a report that is still being written is logged as late.
LATE_SECONDS = 10.0

#: Seconds for the final report of a process that ends. They must be fewer than the crew's `LATE_SECONDS`, after which
#: the supervisor kills the process although it has drained.
LAST_SECONDS = 1.5

#: The largest share of time that reports may take, if there are very many methods.
REPORT_SHARE = 0.05

#: The most bytes of a question, which is a name and an argument. The longest argument is the subject of an act.
QUESTION_BYTES = 4_096


class Reporter:
    """Writes reports into the process's place on the scoreboard, from the process's event loop.

    Args:
        name: the name of the process for people.
        is_ready: returns whether the process accepts calls now.
        answer: a coroutine function that returns the values for a question: the name of an admin page, or another name
            with a space and an argument. None: there are no pages, and only heartbeats are written.
        on_beat: called once a second.
    """

    def __init__(
        self,
        place: ProcessPlace,
        name: str,
        is_ready: Callable[[], bool],
        answer: Callable[[str], Awaitable[dict[str, Any]]] | None,
        on_beat: Callable[[], None] = lambda: None,
    ) -> None:
        self._place = place
        self._is_ready = is_ready
        self._on_beat = on_beat
        # The function that returns the numbers of connections accepted so far and open now.
        self._connections: Callable[[], tuple[int, int]] | None = None
        self._is_counting = False
        self._answer = answer
        self._answering: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._next_report = 0.0
        self._is_writing = False
        # The instant from which the report being written counts as late; None: this was logged already.
        self._late_at: float | None = None
        self._counted: Counted | None = None
        # `_counting`, `_telling`: separate threads for counts and for answers. A collector of the program may hang, and
        # an answer then shows where.
        self._counting: ThreadPoolExecutor | None = None
        self._telling: ThreadPoolExecutor | None = None
        if answer is not None:
            # Imported on first use: most servers have no admin pages.
            from fastrpc.workers.monitoring import counted

            self._counted = counted.Counted(name, os.getpid(), place.read(Kind.COUNTED))
            self._counting = ThreadPoolExecutor(1, thread_name_prefix="fastrpc-report")
            self._telling = ThreadPoolExecutor(1, thread_name_prefix="fastrpc-answer")

    def start(self) -> None:
        """Start to report. Call it on the loop."""
        self._loop = asyncio.get_running_loop()
        if self._counted is not None:
            self._loop.add_reader(self._place.answering.fileno(), self._hear)
        self._tick()

    def close(self) -> None:
        """Write the final counts and stop. The loop may already be closed."""
        for task in self._answering:
            task.cancel()
        if self._timer is not None:
            self._timer.cancel()
        if self._counted is not None and self._counting is not None and self._telling is not None:
            if self._timer is not None:  # It was started.
                with contextlib.suppress(RuntimeError):  # The loop is closed.
                    self._loop.remove_reader(self._place.answering.fileno())
            self._telling.shutdown()
            self._write_last(self._counting)
        self._place.set_ready(False)

    def _write_last(self, thread: ThreadPoolExecutor) -> None:
        """Write the final counts, but do not wait for a collector of the program that hangs."""
        try:
            writing = thread.submit(self._write, (), b"")
        except RuntimeError:  # No thread can be started now.
            self._write((), b"")
            return
        try:
            writing.result(LAST_SECONDS)
        except TimeoutError:
            logger.error("the last counts of this process are lost: a collector of the program hangs")
        thread.shutdown(wait=False, cancel_futures=True)

    def beat(self) -> None:
        """Write a heartbeat, and whether the process accepts calls."""
        self._place.beat()
        self._place.set_ready(self._is_ready())

    def count_connections(self, connections: Callable[[], tuple[int, int]]) -> None:
        """Set the function that returns the numbers of connections accepted so far and open now."""
        self._connections = connections

    def connections_changed(self) -> None:
        """Report the number of connections soon, once for all changes of a loop iteration."""
        if not self._is_counting:
            self._is_counting = True
            self._loop.call_soon(self._count)

    def _count(self) -> None:
        self._is_counting = False
        if self._connections is not None:
            self._place.set_connections(*self._connections())

    def _tick(self) -> None:
        # Set the timer first: if a beat raised an exception and no further beat followed, the process would be killed
        # as hung.
        self._timer = self._loop.call_later(REPORT_SECONDS, self._tick)
        self.beat()
        self._count()
        self._on_beat()
        now = time.monotonic()
        if self._is_writing:
            self._judge_report(now)
        elif self._counted is not None and now >= self._next_report:
            self._report(b"")

    def _judge_report(self, now: float) -> None:
        """Log once that a report is late. Until it is written, readers get the previous counts."""
        if self._late_at is not None and now >= self._late_at:
            self._late_at = None
            logger.error(
                "this process cannot report its counts: a collector of the program takes longer than %g s; "
                "/stacks shows where",
                LATE_SECONDS,
            )

    def _hear(self) -> None:
        """Receive a question, which follows its number."""
        try:
            number, _, question = self._place.answering.recv(QUESTION_BYTES).partition(b" ")
        except OSError:
            return
        if question == b"metrics":
            self._report(number)
        else:
            task = self._loop.create_task(self._answer_to(question.decode(), number))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)

    def _report(self, number: bytes) -> None:
        if not self._is_writing:
            self._is_writing, self._late_at = True, time.monotonic() + LATE_SECONDS
        elif self._late_at is None:
            # Not queued: questions would pile up behind a report that hangs.
            return
        # Gauges are read here, on the loop, because their objects could change or end while the thread reads them.
        self._submit(self._counting, partial(self._write, list(gauges()), number))

    async def _answer_to(self, question: str, number: bytes) -> None:
        assert self._answer is not None
        try:
            values = await self._answer(question)
        except Exception:
            logger.exception("this process cannot answer the monitor")
        else:
            self._submit(self._telling, partial(self._write_answer, values, number, kind_of(question)))

    def _submit(self, thread: ThreadPoolExecutor | None, work: Callable[[], None]) -> None:
        assert thread is not None
        try:
            thread.submit(work)
        except RuntimeError as error:
            # The process is ending, or no thread can be started now.
            self._is_writing = False
            logger.warning("this process cannot report its counts: %s", error)

    # In the threads

    def _write(self, told: Iterable[Gauge], number: bytes) -> None:
        began = time.monotonic()
        assert self._counted is not None
        try:
            self._place.write(Kind.COUNTED, self._counted.record(told))
        except Exception:
            logger.exception("this process cannot write its counts")
        ended = time.monotonic()
        self._next_report = ended + (ended - began) / REPORT_SHARE - REPORT_SECONDS
        self._is_writing = False
        self._tell(number)

    def _write_answer(self, values: dict[str, Any], number: bytes, kind: Kind) -> None:
        answer = {"number": int(number), "values": values}
        try:
            self._place.write(kind, json.dumps(answer, default=str).encode())
        except Exception:
            logger.exception("this process cannot answer the monitor")
            return
        self._tell(number)

    def _tell(self, number: bytes) -> None:
        if number:
            with contextlib.suppress(OSError):  # The monitor has ended, or has too many unread answers.
                self._place.answering.send(number)
