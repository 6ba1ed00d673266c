"""Reports of one process to the others: its heartbeat, its counts, answers to their questions."""

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

#: Seconds between two reports: a killed process loses the figures of this time at most.
REPORT_SECONDS = 1.0

#: Seconds after which a report that is still being written is logged as late.
LATE_SECONDS = 10.0

#: Seconds for the final report of a process that ends: fewer than `LATE_SECONDS` of the crew, after which its
#: supervisor kills it although it has drained.
LAST_SECONDS = 1.5

#: The largest share of the time for reports of very many methods.
REPORT_SHARE = 0.05

#: Bytes of a question: its name and an argument; the longest argument is the subject of an act.
QUESTION_BYTES = 4_096


class Reporter:
    """Writes into the process's place on the scoreboard, from its event loop.

    Args:
        name: of the process, as people know it.
        is_ready: returns whether the process takes calls now.
        answer: returns the values for a question, when they are made. A question is the name of an admin page, or
            another name with a space and its argument. None: there are no pages, and only signs of life are written.
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
        # The function that counts the connections: those taken so far, those open now.
        self._connections: Callable[[], tuple[int, int]] | None = None
        self._is_counting = False
        self._answer = answer
        self._answering: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._next_report = 0.0
        self._is_writing = False
        # The instant at which the report that is being written is late; None: it is logged already.
        self._late_at: float | None = None
        self._counted: Counted | None = None
        # The threads of counts and of answers: a collector of the program may hang, and the answers show where.
        self._counting: ThreadPoolExecutor | None = None
        self._telling: ThreadPoolExecutor | None = None
        if answer is not None:
            # Imported on first use: most servers have no admin pages.
            from fastrpc.workers.monitoring import counted

            self._counted = counted.Counted(name, os.getpid(), place.read(Kind.COUNTED))
            self._counting = ThreadPoolExecutor(1, thread_name_prefix="fastrpc-report")
            self._telling = ThreadPoolExecutor(1, thread_name_prefix="fastrpc-answer")

    def start(self) -> None:
        """Report from now on; call it on the loop."""
        self._loop = asyncio.get_running_loop()
        if self._counted is not None:
            self._loop.add_reader(self._place.answering.fileno(), self._hear)
        self._tick()

    def close(self) -> None:
        """Write the final counts, and stop. The loop may be closed."""
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
        """Write the final counts, unless a collector of the program hangs: it must not hold up the end."""
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
        """Tell that this process lives, and whether it takes calls."""
        self._place.beat()
        self._place.set_ready(self._is_ready())

    def count_connections(self, connections: Callable[[], tuple[int, int]]) -> None:
        """Report these numbers from now on: the connections taken so far, and those open now."""
        self._connections = connections

    def connections_changed(self) -> None:
        """Report the number of connections soon, once for all changes of a turn."""
        if not self._is_counting:
            self._is_counting = True
            self._loop.call_soon(self._count)

    def _count(self) -> None:
        self._is_counting = False
        if self._connections is not None:
            self._place.set_connections(*self._connections())

    def _tick(self) -> None:
        # The timer is set first: if a beat raised an exception and no other followed, the process would be killed as
        # hung.
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
        """Log once that a report is late: until it is written, readers get the previous counts."""
        if self._late_at is not None and now >= self._late_at:
            self._late_at = None
            logger.error(
                "this process cannot report its counts: a collector of the program takes longer than %g s; "
                "/stacks shows where",
                LATE_SECONDS,
            )

    def _hear(self) -> None:
        """Take a question, which comes after its number."""
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
            # Questions would pile up behind a report that hangs.
            return
        # Objects of this loop report their gauges here: in the thread they could change, or end, meanwhile.
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
            # The process ends, or no thread can be started now.
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
            with contextlib.suppress(OSError):  # The monitor is gone, or has too many answers to read.
                self._place.answering.send(number)
