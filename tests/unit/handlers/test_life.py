"""Records of events that come in floods."""

import pytest

from fastrpc.handlers.life import MinuteLog

pytestmark = pytest.mark.one_loop


def test_the_first_event_is_told_at_once_and_further_ones_a_minute_later_as_a_count() -> None:
    now = 0.0
    told: list[tuple[float, int, str]] = []
    log = MinuteLog(lambda count, last: told.append((now, count, last)), lambda: now)
    dues = [log.due]
    log.note("10.0.0.1", "denied")
    dues.append(log.due)
    for now in (1.0, 2.0):
        log.note(f"10.0.0.{now:g}", "too quick")
        dues.append(log.due)
    now = 59.9
    log.tell_due()
    assert told == [(0.0, 1, "10.0.0.1: denied")]
    now = 60.0
    log.tell_due()
    dues.append(log.due)
    assert told[1:] == [(60.0, 2, "10.0.0.2: too quick")]
    # A minute counts from the last record.
    now = 119.0
    log.note("10.0.0.3", "denied")
    dues.append(log.due)
    assert dues == [None, None, 60.0, 60.0, None, 120.0]
    log.close()
    log.close()
    assert told[2:] == [(119.0, 1, "10.0.0.3: denied")]


def test_an_event_after_a_quiet_minute_is_told_at_once() -> None:
    times = [0.0, 30.0, 60.0, 300.0]
    told: list[tuple[float, int]] = []
    log = MinuteLog(lambda count, _: told.append((times[0], count)), lambda: times[0])
    while times:
        log.note("10.0.0.1", "denied")
        times.pop(0)
    assert told == [(0.0, 1), (60.0, 2), (300.0, 1)]
