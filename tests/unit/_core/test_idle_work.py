"""Calls that come to nothing through their caller have a budget; honest ones never use it up."""

from collections.abc import Callable

import pytest

from fastrpc_harness.recording import RecordedCall, RecordingConnection
from tests.support.engine import engine_settings
from tests.support.frame_factory import answer, early_opening, opening, piece, request
from tests.support.wire_frames import Cancel, Goaway, SettingsFrame
from tests.support.wire_layout import FLAG_ONE_WAY, FLAG_STREAM_IN, Reason
from tests.support.wire_settings import Setting

#: MAX_CALLS in these tests, and how many calls may then come to nothing at once.
PLACES = 10
BUDGET = 1_000 + 4 * PLACES

CALM_DOWN = ("error", Reason.CALM_DOWN)


def server(*, is_acknowledged: bool = True) -> RecordingConnection:
    settings = {Setting.MAX_CALLS: PLACES, Setting.MAX_STREAMS: 2, Setting.MAX_MESSAGE: 4_096}
    connection = RecordingConnection(is_client=False, settings=engine_settings(True, settings))
    connection.receive_data((opening if is_acknowledged else early_opening)(False))
    return connection


def cancelled(connection: RecordingConnection, call: int, reason: int = 0) -> list[tuple[object, ...]]:
    """Open a call, cancel it and answer it as its handler does."""
    events = connection.receive_data(request(call) + Cancel(call, reason).encode())
    if connection.state_of(call) == "cancelled":
        connection.respond_error(call, 1)
    return events


def ids(count: int, first: int = 1) -> range:
    return range(first, first + 2 * count, 2)


FAULTS: dict[str, Callable[[int], bytes]] = {
    "cancelled": lambda call: request(call, total=100) + Cancel(call).encode(),
    "cancelled for a lost hedge": lambda call: request(call, total=100) + Cancel(call, 2).encode(),
    "overdue before its time": lambda call: (
        request(call, total=100, timeout_us=60_000_000) + Cancel(call, 1).encode()
    ),
    "overdue without a time": lambda call: request(call, total=100) + Cancel(call, 1).encode(),
    "overdue though it has no deadline": lambda call: (
        request(call, total=100, timeout_us=2**64 - 1) + Cancel(call, 1).encode()
    ),
    "malformed metadata": lambda call: request(call, metadata=b"\0"),
    "metadata over the limit": lambda call: request(call, metadata=bytes(9_000)),
    "a message over the limit": lambda call: request(call, total=5_000),
    "a one-way call with malformed metadata": lambda call: request(call, metadata=b"\0", flags=FLAG_ONE_WAY),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_the_caller_use_the_budget_up(fault: str) -> None:
    connection = server()
    for call in ids(BUDGET):
        assert CALM_DOWN not in connection.receive_data(FAULTS[fault](call))
        connection.data_to_send()
    assert connection.receive_data(FAULTS[fault](2 * BUDGET + 1))[-1] == CALM_DOWN


def test_handlers_that_are_cancelled_use_the_budget_up() -> None:
    connection = server()
    for call in ids(BUDGET):
        assert CALM_DOWN not in cancelled(connection, call)
        connection.data_to_send()
    assert cancelled(connection, 2 * BUDGET + 1)[-1] == CALM_DOWN


def test_more_calls_than_the_acknowledged_limit_use_the_budget_up() -> None:
    connection = server()
    connection.receive_data(b"".join(request(call) for call in ids(PLACES)))
    refused = ids(BUDGET + 1, first=2 * PLACES + 1)
    events = connection.receive_data(b"".join(request(call) for call in refused))
    assert events[0] == ("refused", refused[0], 8)
    assert events[-1] == CALM_DOWN


def test_more_streams_than_the_acknowledged_limit_use_the_budget_up() -> None:
    connection = server()
    calls = ids(BUDGET + 3)
    events = connection.receive_data(b"".join(request(call, flags=FLAG_STREAM_IN) for call in calls))
    assert events[-1] == CALM_DOWN


def test_calls_above_a_limit_that_is_not_acknowledged_are_free() -> None:
    connection = server(is_acknowledged=False)
    calls = ids(80)
    events = connection.receive_data(b"".join(request(call) for call in calls))
    assert sum(event[0] == "refused" for event in events) == 80 - PLACES
    connection.receive_data(SettingsFrame(ack=True).encode())
    # Nothing of the budget is gone.
    faults = b"".join(request(call, metadata=b"\0") for call in ids(BUDGET, first=1_001))
    assert CALM_DOWN not in connection.receive_data(faults)


def test_one_way_calls_without_a_place_are_free() -> None:
    connection = server()
    calls = ids(PLACES + 2 * BUDGET)
    events = connection.receive_data(b"".join(request(call, flags=FLAG_ONE_WAY) for call in calls))
    assert events[-1][0] == "dropped"


def test_calls_whose_deadline_passed_are_free() -> None:
    connection = server()
    for call in ids(2 * BUDGET):
        connection.receive_data(request(call, timeout_us=1_000))
        # As little as half of it may have passed here: its REQUEST may have come late.
        connection.now += 500_000
        connection.receive_data(Cancel(call, 1).encode())
        connection.respond_error(call, 4)
        connection.now -= 500_000
        assert not connection.is_closed


def test_budget_refills_with_time() -> None:
    connection = server()
    faults = (request(call, metadata=b"\0") for call in ids(3 * BUDGET))
    connection.receive_data(b"".join(next(faults) for _ in range(BUDGET)))
    connection.now += 50_000_000
    assert CALM_DOWN not in connection.receive_data(b"".join(next(faults) for _ in range(500)))
    assert connection.receive_data(next(faults))[-1] == CALM_DOWN


def test_each_answered_call_makes_room_for_one_idle_call() -> None:
    connection = server()
    calls = iter(ids(10 * BUDGET))
    for call in [next(calls) for _ in range(BUDGET)]:
        cancelled(connection, call)
    for _ in range(3 * BUDGET):
        call = next(calls)
        connection.receive_data(request(call))
        connection.respond(call)
        connection.data_to_send()
        assert CALM_DOWN not in cancelled(connection, next(calls))
    assert cancelled(connection, next(calls))[-1] == CALM_DOWN


def test_answers_make_no_room_above_the_size_of_the_budget() -> None:
    connection = server()
    calls = iter(ids(10 * BUDGET))
    for call in [next(calls) for _ in range(2 * BUDGET)]:
        connection.receive_data(request(call))
        connection.respond(call)
        connection.data_to_send()
    for call in [next(calls) for _ in range(BUDGET)]:
        assert CALM_DOWN not in cancelled(connection, call)
    assert cancelled(connection, next(calls))[-1] == CALM_DOWN


def test_ten_thousand_calls_cancelled_at_the_same_time_four_times_do_not_strike() -> None:
    connection = RecordingConnection(is_client=False, settings=engine_settings(True))
    connection.receive_data(opening(False))
    calls = iter(ids(40_000))
    for _ in range(4):
        group = [next(calls) for _ in range(10_000)]
        connection.receive_data(b"".join(map(request, group)))
        connection.receive_data(b"".join(Cancel(call).encode() for call in group))
        for call in group:
            connection.respond_error(call, 1)
        connection.data_to_send()
    assert not connection.is_closed


def client(places: int = PLACES) -> RecordingConnection:
    connection = RecordingConnection(is_client=True, settings=engine_settings(False))
    connection.receive_data(opening(True, {Setting.MAX_CALLS: places}))
    connection.data_to_send()
    return connection


def test_client_that_cancels_without_end_stays_within_the_budget() -> None:
    here, there = client(), server()
    there.data_to_send()
    for _ in range(3 * BUDGET):
        call = here.open_call(b"arith.mul")
        there.receive_data(here.data_to_send())
        here.cancel(call)
        there.receive_data(here.data_to_send())
        assert not there.is_closed
        if there.state_of(call.id) == "cancelled":
            there.respond_error(call.id, 1)
        else:
            there.respond(call.id)
        here.receive_data(there.data_to_send())


def test_answers_to_calls_that_were_not_cancelled_in_words_are_dropped_at_no_charge() -> None:
    here, told = client(), 0
    while told < 40_000:
        call = here.open_call(b"arith.mul")
        here.data_to_send()
        here.cancel(call)
        if not here.data_to_send():
            # The received part is large: had it been late, a window of it would have been too much.
            here.receive_data(answer(call.id, b"x" * 8, total=2**24 - 1))
            break
        here.receive_data(answer(call.id, status=1))
        told += 1
    assert 500 <= told < 40_000
    for _ in range(400):
        here.receive_data(piece(call.id, bytes(200_000), more=True))
        here.data_to_send()
    assert not here.is_closed
    here.receive_data(piece(call.id, b"x"))
    assert here.state_of(call.id) == "gone"


def test_calls_whose_request_is_not_whole_are_always_cancelled_in_words() -> None:
    here = client(places=50_000)
    sent = 0
    for _ in range(300_000):
        call = here.open_call(b"arith.mul", flags=FLAG_STREAM_IN)
        here.data_to_send()
        here.cancel(call)
        sent += bool(here.data_to_send())
        here.receive_data(answer(call.id, status=1))
        if sent == 3_000:
            break
    assert sent == 3_000


def is_told(here: RecordingConnection) -> bool:
    call = here.open_call(b"arith.mul")
    here.data_to_send()
    here.cancel(call)
    told = bool(here.data_to_send())
    here.receive_data(answer(call.id, status=1))
    return told


def refuse(here: RecordingConnection, count: int, **fields: int) -> None:
    for _ in range(count):
        call = here.open_call(b"arith.mul")
        here.data_to_send()
        here.receive_data(answer(call.id, outcome=1, **fields))


def test_refusals_for_load_leave_the_clients_count_alone() -> None:
    here = client()
    refuse(here, 5 * BUDGET, status=8)
    assert is_told(here)


@pytest.mark.parametrize("fields", [{"status": 3}, {"status": 8, "pushback_ms": 2**32 - 1}])
def test_refusals_of_faulty_calls_are_counted(fields: dict[str, int]) -> None:
    here = client()
    refuse(here, 500 + 3 * PLACES, **fields)
    assert not is_told(here)
    here.now += 1_000_000
    assert is_told(here)


def test_calls_that_reach_their_deadline_at_the_same_time_never_strike_even_if_read_late() -> None:
    here, there = client(), server()
    there.data_to_send()
    told = 0
    for _ in range(40 * BUDGET // PLACES):
        calls = [here.open_call(b"arith.mul", timeout_us=50_000) for _ in range(PLACES)]
        unread = here.data_to_send()
        for call in calls:
            here.cancel(call, 1)
        unread += here.data_to_send()
        # The server was blocked: it reads all bytes at once, and time has filled the client's count up.
        here.now = there.now = here.now + 100_000
        told += sum(event[0] == "cancel" for event in there.receive_data(unread))
        assert not there.is_closed
        for call in calls:
            there.respond_error(call.id, 1)
        here.receive_data(there.data_to_send())
    assert told >= BUDGET // 2


def test_a_call_whose_answer_has_begun_is_abandoned_in_silence_too() -> None:
    here = client()
    for _ in range(2 * BUDGET):
        call = here.open_call(b"arith.mul")
        here.data_to_send()
        here.receive_data(answer(call.id, b"x", total=2))
        here.cancel(call)
        was_told = bool(here.data_to_send())
        here.receive_data(piece(call.id, b"x"))
        if not was_told:
            break
    assert not was_told
    assert here.state_of(call.id) == "gone"
    assert not here.is_closed


def used_up() -> tuple[RecordingConnection, list[RecordedCall]]:
    """Return a client whose server has no room left for calls that come to nothing, and calls of it under way."""
    here = client()
    calls = [here.open_call(b"arith.mul") for _ in range(PLACES - 1)]
    here.data_to_send()
    refuse(here, 500 + 3 * PLACES, status=3)
    return here, calls


def later(here: RecordingConnection, calls: int) -> list[tuple[int, int]]:
    """Let the budget grow by the given number of calls; return ids and reasons of the CANCELs that are sent then."""
    here.now += calls * 100_000
    data = here.data_to_send()
    size = len(Cancel(1).encode())
    frames = [data[start : start + size] for start in range(0, len(data), size)]
    found = [(int.from_bytes(frame[8:16], "little"), frame[16]) for frame in frames]
    assert data == b"".join(Cancel(call, reason).encode() for call, reason in found)
    return found


def test_cancels_are_sent_as_soon_as_there_is_room_for_them_the_last_first() -> None:
    here, calls = used_up()
    for number, call in enumerate(calls):
        here.cancel(call, number % 3)
    assert here.data_to_send() == b""
    expected = [(call.id, number % 3) for number, call in enumerate(calls)][::-1]
    assert later(here, 2) == expected[:2]
    assert later(here, 0) == []
    assert later(here, 3) == expected[2:5]
    assert later(here, 1_000) == expected[5:]
    assert later(here, 1_000) == []


def test_calls_that_ended_meanwhile_are_not_cancelled() -> None:
    here, calls = used_up()
    for call in calls:
        here.cancel(call)
    for call in calls[1:]:
        assert here.receive_data(answer(call.id)) == [("freed", call.id)]
    assert later(here, 1_000) == [(calls[0].id, 0)]


def test_a_call_that_is_cancelled_later_is_cancelled_once() -> None:
    here, calls = used_up()
    here.cancel(calls[0])
    here.cancel(calls[0], 1)
    assert later(here, 1_000) == [(calls[0].id, 0)]
    here.cancel(calls[0])
    assert later(here, 1_000) == []


def test_only_frames_after_a_delayed_cancel_use_the_late_budget() -> None:
    here, calls = used_up()
    here.cancel(calls[0])
    here.receive_data(answer(calls[0].id, b"x", total=2**24 - 1))
    for _ in range(100):
        here.receive_data(piece(calls[0].id, bytes(200_000), more=True))
        here.data_to_send()
    assert later(here, 1_000) == [(calls[0].id, 0)]
    # One window of it may still come.
    for _ in range(80):
        here.receive_data(piece(calls[0].id, bytes(200_000), more=True))
        here.data_to_send()
    assert not here.is_closed
    assert here.receive_data(answer(calls[0].id, status=1)) == [("freed", calls[0].id)]


def test_cancels_that_wait_end_with_the_connection() -> None:
    here, calls = used_up()
    for call in calls:
        here.cancel(call)
    here.receive_data(Goaway(0, final=True).encode())
    here.close(0)
    assert Cancel(calls[0].id).encode() not in here.data_to_send()


@pytest.mark.parametrize("microseconds", [5, 50])
def test_wrong_calls_of_an_honest_client_never_strike(microseconds: float) -> None:
    """All of them at once, and as many more as places come free; the last is answered as the first."""
    here, there = client(), server()
    there.data_to_send()
    calls = [here.open_call(b"arith.mul", metadata=b"\0") for _ in range(10 * BUDGET)]
    answers = turns = 0
    while answers < len(calls):
        there.receive_data(here.data_to_send())
        assert not there.is_closed
        answers += sum(event[0] == "response" for event in here.receive_data(there.data_to_send()))
        here.now = there.now = here.now + round(microseconds * 1_000)
        turns += 1
        assert turns < 10_000_000
    assert here.waiting == 0


def test_valid_calls_of_a_batch_are_sent_despite_wrong_ones() -> None:
    here, there = client(), server()
    there.data_to_send()
    for number in range(3 * BUDGET):
        here.open_call(b"arith.mul", metadata=b"" if number % 3 else b"\0")
    answers = 0
    while answers < 3 * BUDGET:
        for event in there.receive_data(here.data_to_send()):
            if event[0] == "request":
                there.respond(event[1])
        assert not there.is_closed
        answers += sum(event[0] == "response" for event in here.receive_data(there.data_to_send()))
    assert here.now == 0
