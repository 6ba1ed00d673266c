"""The reporter: a process keeps reporting that it lives, whatever fails while it reports."""

import asyncio
import json
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from fastrpc.workers import crew
from fastrpc.workers.monitoring import reporter
from fastrpc.workers.monitoring.reporter import Reporter
from fastrpc.workers.monitoring.scoreboard import Kind, ProcessPlace, Scoreboard
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop


@pytest.fixture
def place() -> Iterator[ProcessPlace]:
    board = Scoreboard(1)
    yield board.places[0]
    board.close()


async def test_a_beat_that_fails_is_not_the_last(
    place: ProcessPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporter, "REPORT_SECONDS", 0.001)
    beats: list[int] = []
    second = asyncio.Event()
    failures: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: failures.append(context))

    def on_beat() -> None:
        beats.append(1)
        if len(beats) == 1:
            raise LookupError("no database")
        second.set()

    telling = Reporter(place, "worker 1", lambda: True, None, on_beat)
    asyncio.get_running_loop().call_soon(telling.start)
    async with asyncio.timeout(20):
        await second.wait()
    telling.close()
    assert [str(one["exception"]) for one in failures] == ["no database"]


@pytest.mark.parametrize("fault", ["unwritable", "no room", "no answer"])
async def test_an_answer_that_cannot_be_written_is_logged(
    fault: str, place: ProcessPlace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("prometheus_client")
    if fault == "no room":
        monkeypatch.setattr("fastrpc.workers.monitoring.scoreboard.RECORD_BYTES", 40)
    # A key that JSON has no form for.
    values: dict[Any, Any] = {(1, 2): 3} if fault == "unwritable" else {"calls": ["a"] * 100}

    async def answer(page: str) -> dict[Any, Any]:
        if fault == "no answer":
            raise LookupError("no database")
        return values

    telling = Reporter(place, "worker 1", lambda: True, answer)
    telling.start()
    place.asking.send(b"7 calls")
    logged = asyncio.Event()
    loop = asyncio.get_running_loop()

    class Noticing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "cannot answer" in record.getMessage():
                loop.call_soon_threadsafe(logged.set)

    handler = Noticing()
    reporter.logger.addHandler(handler)
    try:
        async with asyncio.timeout(20):
            await logged.wait()
    finally:
        reporter.logger.removeHandler(handler)
        telling.close()
    assert place.read(Kind.ANSWER) == b""


async def test_an_answer_that_waits_delays_no_other(place: ProcessPlace) -> None:
    pytest.importorskip("prometheus_client")
    is_there, answered = asyncio.Event(), asyncio.Queue[bytes]()

    async def answer(question: str) -> dict[str, Any]:
        if question == "act slow":
            await is_there.wait()
        return {"question": question}

    telling = Reporter(place, "announcer", lambda: True, answer)
    telling.start()
    loop = asyncio.get_running_loop()
    loop.add_reader(place.asking.fileno(), lambda: answered.put_nowait(place.asking.recv(32)))
    try:
        async with asyncio.timeout(20):
            place.asking.send(b"7 act slow")
            place.asking.send(b"8 services")
            assert await answered.get() == b"8"
            assert json.loads(place.read(Kind.ANSWER))["values"] == {"question": "services"}
            is_there.set()
            assert await answered.get() == b"7"
            assert json.loads(place.read(Kind.ACT)) == {"number": 7, "values": {"question": "act slow"}}
    finally:
        loop.remove_reader(place.asking.fileno())
        telling.close()


async def test_questions_do_not_pile_up_behind_a_collector_that_hangs(
    place: ProcessPlace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("prometheus_client")
    monkeypatch.setattr(reporter, "REPORT_SECONDS", 0.01)
    monkeypatch.setattr(reporter, "LATE_SECONDS", 0.0)
    may_end, reports = threading.Event(), list[int]()

    def record(*_: Any) -> bytes:
        reports.append(1)
        may_end.wait(20)
        return b"{}"

    monkeypatch.setattr("fastrpc.workers.monitoring.counted.Counted.record", record)

    async def answer(question: str) -> dict[str, Any]:
        return {}

    telling, answered = Reporter(place, "worker 1", lambda: True, answer), asyncio.Queue[bytes]()
    telling.start()
    loop = asyncio.get_running_loop()
    loop.add_reader(place.asking.fileno(), lambda: answered.put_nowait(place.asking.recv(32)))
    try:
        async with asyncio.timeout(20):
            await eventually(lambda: "cannot report its counts" in caplog.text)
            for number in (1, 2, 3):
                place.asking.send(b"%d metrics" % number)
            place.asking.send(b"4 services")
            assert await answered.get() == b"4"
            monkeypatch.setattr(reporter, "LATE_SECONDS", 20.0)
            may_end.set()
            await eventually(lambda: len(reports) > 1)
            place.asking.send(b"5 metrics")
            assert await answered.get() == b"5"
    finally:
        loop.remove_reader(place.asking.fileno())
        telling.close()


def test_a_process_gives_its_last_report_up_before_it_is_killed() -> None:
    assert reporter.LAST_SECONDS < crew.LATE_SECONDS
