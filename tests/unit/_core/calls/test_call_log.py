"""Which ended calls a log has written."""

from typing import Any

import pytest

from fastrpc import Call
from fastrpc._core.calls.call_log import CallLog, request_id_of
from fastrpc._core.server.served_call import ServerCall, detached_call
from fastrpc.status import Status


def call() -> Call:
    return detached_call(ServerCall, None, None, None)


def written(sample: float, slow_seconds: float | None, status: int = Status.OK, count: int = 1) -> int:
    found: list[Any] = []
    log = CallLog(lambda *ended: found.append(ended), sample, slow_seconds)
    for _ in range(count):
        log.note_end(call(), status)
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
        one = call()
        request_id_of(one)
        log.note_end(one, Status.OK)
    assert abs(len(found) / 20_000 - share) < 0.02


def test_a_record_tells_the_call_its_status_and_how_long_it_took() -> None:
    found: list[Any] = []
    one = call()
    CallLog(lambda *ended: found.append(ended), 1, None).note_end(one, Status.ABORTED)
    ((told, status, nanoseconds),) = found
    assert told is one
    assert status == Status.ABORTED
    assert nanoseconds >= 0


def test_ids_are_kept_and_differ_from_call_to_call() -> None:
    calls = [call() for _ in range(1_000)]
    ids = [request_id_of(one) for one in calls]
    assert len(set(ids)) == 1_000
    assert [request_id_of(one) for one in calls] == ids
