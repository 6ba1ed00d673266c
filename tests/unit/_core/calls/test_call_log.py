"""The log of ended calls, and its records."""

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

import fastrpc
from fastrpc._core.calls.call import Call
from fastrpc._core.calls.call_log import AccessRecords, CallLog, request_id_of
from fastrpc._core.server.served_call import ServerCall, detached_call
from fastrpc.status import Status
from fastrpc.testing import connected
from tests.support.forking import in_child


def unserved() -> Call:
    return detached_call(ServerCall, None, None, None)


def written(sample: float, slow_seconds: float | None, status: int = Status.OK, count: int = 1) -> int:
    found: list[Any] = []
    log = CallLog(lambda *ended: found.append(ended), sample, slow_seconds)
    for _ in range(count):
        log.note_end(unserved(), status)
    return len(found)


@pytest.mark.parametrize(
    ("sample", "slow_seconds", "status", "expected"),
    [
        (1, None, Status.OK, 1),
        (0, None, Status.OK, 0),
        (0, None, Status.NOT_FOUND, 1),
        (0, 0, Status.OK, 1),
        (0, 3_600, Status.OK, 0),
    ],
)
def test_calls_are_written_by_sample_length_and_status(
    sample: float, slow_seconds: float | None, status: Status, expected: int
) -> None:
    assert written(sample, slow_seconds, status) == expected


@pytest.mark.parametrize("share", [0.01, 0.25, 0.99])
def test_a_sample_has_its_share_with_ids_and_without(share: float) -> None:
    assert abs(written(share, None, count=20_000) / 20_000 - share) < 0.02
    found: list[Any] = []
    log = CallLog(lambda *ended: found.append(ended), share, None)
    for _ in range(20_000):
        one = unserved()
        request_id_of(one)
        log.note_end(one, Status.OK)
    assert abs(len(found) / 20_000 - share) < 0.02


def test_a_record_tells_the_call_its_status_and_how_long_it_took() -> None:
    found: list[Any] = []
    one = unserved()
    CallLog(lambda *ended: found.append(ended), 1, None).note_end(one, Status.ABORTED)
    ((told, status, nanoseconds),) = found
    assert told is one
    assert status == Status.ABORTED
    assert nanoseconds >= 0


def test_ids_are_kept_and_differ_from_call_to_call() -> None:
    calls = [unserved() for _ in range(1_000)]
    ids = [request_id_of(one) for one in calls]
    assert len(set(ids)) == 1_000
    assert [request_id_of(one) for one in calls] == ids


pytestmark = pytest.mark.one_loop

SOURCE = "/somewhere/access.py"
FIELDS = {"side", "service", "method", "status", "peer", "identity", "duration_ms", "bytes", "trace_id"}

#: Attributes of a record that differ from one record to the next.
ITS_OWN = {"msg", "created", "msecs", "relativeCreated"}


class Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[Any] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(record)


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def records(kept: Kept) -> Iterator[AccessRecords]:
    logger = logging.getLogger("of.a.test")
    logger.propagate = False
    logger.addHandler(kept)
    yield AccessRecords(logger, logging.WARNING, SOURCE)
    logger.removeHandler(kept)


@fastrpc.service("shop")
class Shop:
    def __init__(self) -> None:
        self.calls: list[Call] = []

    @fastrpc.method
    async def buy(self) -> None:
        self.calls.append(fastrpc.current_call())


@pytest.fixture
async def call() -> Call:
    shop = Shop()
    async with connected(shop) as client:
        await client.call(Shop.buy)
    return shop.calls[0]


@pytest.fixture
def own_factory() -> Iterator[type[logging.LogRecord]]:
    class Marked(logging.LogRecord):
        mark = "made by the program"

    before = logging.getLogRecordFactory()
    logging.setLogRecordFactory(Marked)
    yield Marked
    logging.setLogRecordFactory(before)


def ordinary_record() -> logging.LogRecord:
    return logging.LogRecord("of.a.test", logging.WARNING, SOURCE, 0, "", (), None, "AccessLog")


async def test_a_record_is_an_ordinary_one_with_the_fields_of_the_call(
    call: Call, records: AccessRecords, kept: Kept
) -> None:
    for _ in range(2):  # The second one is a copy of the result for the first.
        records.write(call, Status.NOT_FOUND, 1_234_567)
    expected = vars(ordinary_record())
    for record in kept.found:
        assert type(record) is logging.LogRecord
        # Attributes that a formatter adds, such as the formatter of the test's own log.
        added = vars(record).keys() - expected.keys() - {"message", "asctime"}
        assert added == FIELDS | {"request_id"}
        assert {key: vars(record)[key] for key in expected.keys() - ITS_OWN} == {
            key: expected[key] for key in expected.keys() - ITS_OWN
        }
        assert record.getMessage() == "shop.buy NOT_FOUND 1.235 ms"
        assert (record.status, record.duration_ms, record.service) == ("NOT_FOUND", 1.235, "shop")


async def test_a_record_has_the_time_at_which_it_is_made(
    call: Call, records: AccessRecords, kept: Kept
) -> None:
    for _ in range(3):
        before, earliest = time.time(), ordinary_record()
        records.write(call, Status.OK, 0)
        latest, after = ordinary_record(), time.time()
        (record,) = kept.found
        kept.found.clear()
        assert before <= record.created <= after
        assert earliest.relativeCreated - 0.01 <= record.relativeCreated <= latest.relativeCreated + 0.01
        assert record.msecs == int(record.created % 1 * 1000)


async def test_changes_of_a_record_by_a_handler_are_not_seen_in_the_next_record(
    call: Call, records: AccessRecords, kept: Kept
) -> None:
    records.write(call, Status.OK, 0)
    kept.found[0].threadName = "changed"
    kept.found[0].added = 1
    records.write(call, Status.OK, 0)
    assert kept.found[1].threadName == threading.current_thread().name
    assert not hasattr(kept.found[1], "added")


async def test_a_record_names_the_thread_and_the_process_that_make_it(
    call: Call, records: AccessRecords, kept: Kept
) -> None:
    records.write(call, Status.OK, 0)
    thread = threading.Thread(target=records.write, args=(call, Status.OK, 0), name="another")
    thread.start()
    thread.join()
    assert [record.threadName for record in kept.found] == [threading.current_thread().name, "another"]
    assert kept.found[1].thread == thread.ident

    def check_child() -> None:
        records.write(call, Status.OK, 0)
        assert kept.found[2].process == os.getpid()

    in_child(check_child)


async def test_the_factory_of_the_program_makes_the_records(
    own_factory: type[logging.LogRecord], call: Call, records: AccessRecords, kept: Kept
) -> None:
    records.write(call, Status.OK, 2_000_000)
    (record,) = kept.found
    assert type(record) is own_factory
    assert (record.mark, record.method, record.duration_ms) == ("made by the program", "shop.buy", 2.0)
    assert vars(record).keys() >= FIELDS


async def test_no_record_is_made_for_a_level_that_is_not_logged(
    own_factory: type[logging.LogRecord], call: Call, records: AccessRecords, kept: Kept
) -> None:
    records.write(call, Status.OK, 0)
    logging.disable(logging.WARNING)
    try:
        records.write(call, Status.OK, 0)
    finally:
        logging.disable(logging.NOTSET)
    assert len(kept.found) == 1


async def test_many_methods_keep_their_own_names(records: AccessRecords, kept: Kept) -> None:
    calls: list[Call] = []

    async def keep(call: Call, proceed: fastrpc.Proceed) -> Any:
        calls.append(call)
        return await proceed(call)

    names = [f"shop.m{number}" for number in range(1_500)]
    async with connected(Shop(), client_interceptors=[keep]) as client:
        for name in names:
            with pytest.raises(fastrpc.CallError):
                await client.call(name)
    for one in [*calls, *calls]:
        records.write(one, Status.OK, 0)
    assert [record.method for record in kept.found] == [*names, *names]
    assert {record.side for record in kept.found} == {"client"}


def functions_run(action: Callable[[], object]) -> list[str]:
    """Return the names of the functions of Python that an action runs."""
    run: list[str] = []

    def note(frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            run.append(frame.f_code.co_qualname)

    sys.setprofile(note)
    try:
        action()
    finally:
        sys.setprofile(None)
    return run


async def test_a_record_runs_little_more_of_python_than_its_logger(
    call: Call, records: AccessRecords, kept: Kept
) -> None:
    records.write(call, Status.OK, 0)
    handled = functions_run(lambda: logging.getLogger("of.a.test").handle(kept.found[0]))
    written = functions_run(lambda: records.write(call, Status.OK, 0))
    # Whether the level is logged, and who makes the records; but not the lambda.
    assert len(written) - len(handled) <= 2, written
