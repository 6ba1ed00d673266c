"""Instants of scheduled methods."""

import functools
import math
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from fastrpc import ConfigError
from fastrpc.rpc.background.scheduling import MethodSchedule, scheduled, schedules_of

BERLIN = ZoneInfo("Europe/Berlin")


def schedule_of(*arguments: Any, **options: Any) -> MethodSchedule:
    class Jobs:
        @scheduled(*arguments, **options)
        async def job(self) -> None: ...

    return schedules_of(Jobs)["job"]


def at(*moment: int, zone: Any = UTC, fold: int = 0) -> float:
    year, month, day, *rest = moment
    return datetime(year, month, day, *rest, tzinfo=zone, fold=fold).timestamp()  # type: ignore[misc,arg-type]


def instants(schedule: MethodSchedule, begin: float, end: float) -> list[float]:
    found = []
    while (begin := schedule.after(begin)) <= end:
        found.append(begin)
    return found


def test_multiples_count_from_1970() -> None:
    schedule = schedule_of(every=90)
    assert [schedule.after(0), schedule.after(89.9), schedule.after(90)] == [90, 90, 180]
    assert [schedule.latest(90), schedule.latest(179), schedule.latest(180.5)] == [90, 90, 180]
    tenths = schedule_of(every=0.1)
    instant = 1_700_000_000.0
    for _ in range(1_000):
        assert tenths.after(instant) > instant
        instant = tenths.after(instant)
    assert instant == pytest.approx(1_700_000_100)


@pytest.mark.parametrize("begin", [0.0, 1_795_000_000.0, 1_795_000_000.37, 4_000_000_000.01])
def test_every_instant_of_a_fraction_comes_once(begin: float) -> None:
    for hundredths in range(10, 400):
        every = hundredths / 100
        schedule = schedule_of(every=every)
        instant = schedule.after(begin)
        for _ in range(10):
            following = schedule.after(instant)
            assert following - instant == pytest.approx(every, abs=1e-6)
            assert schedule.latest(following) == following
            assert schedule.latest(math.nextafter(following, 0)) == instant
            assert schedule.after(math.nextafter(following, 0)) == following
            instant = following


def test_instant_beyond_all_clocks_has_an_end() -> None:
    assert schedule_of(every=0.11).after(1e300) == math.inf


def test_instants_of_cron_are_in_the_time_of_a_zone() -> None:
    schedule = schedule_of("30 8 * * MON-FRI", timezone="Europe/Berlin")
    friday, monday = at(2026, 11, 27, 8, 30, zone=BERLIN), at(2026, 11, 30, 8, 30, zone=BERLIN)
    assert schedule.after(friday - 1) == friday
    assert schedule.after(friday) == schedule.after(friday + 0.5) == monday
    assert schedule.latest(friday - 0.001) == at(2026, 11, 26, 8, 30, zone=BERLIN)
    assert schedule.latest(friday) == schedule.latest(friday + 0.5) == friday
    assert schedule.latest(monday - 1) == friday


def test_hour_that_a_year_leaves_out_and_the_one_it_repeats_have_one_instant_of_a_daily_job() -> None:
    schedule = schedule_of("30 2 * * *", timezone="Europe/Berlin")
    spring = instants(schedule, at(2026, 3, 28, zone=BERLIN), at(2026, 3, 31, zone=BERLIN))
    assert [datetime.fromtimestamp(one, BERLIN).day for one in spring] == [28, 29, 30]
    assert datetime.fromtimestamp(spring[1], BERLIN).hour == 3
    autumn = instants(schedule, at(2026, 10, 24, zone=BERLIN), at(2026, 10, 27, zone=BERLIN))
    assert [datetime.fromtimestamp(one, BERLIN).day for one in autumn] == [24, 25, 26]
    year = instants(schedule, at(2026, 1, 1, zone=BERLIN), at(2026, 12, 31, 23, zone=BERLIN))
    assert len(year) == 365
    assert year == sorted(set(year))


def test_half_hours_have_their_instants_in_both_hours_of_autumn() -> None:
    schedule = schedule_of("*/30 * * * *", timezone="Europe/Berlin")
    begin = at(2026, 10, 25, zone=BERLIN)
    assert instants(schedule, begin, begin + 6 * 3_600) == [begin + 1_800 * n for n in range(1, 13)]
    begin = at(2026, 3, 29, zone=BERLIN)
    assert instants(schedule, begin, begin + 6 * 3_600) == [begin + 1_800 * n for n in range(1, 13)]


def test_text_that_names_its_minute_and_hour_runs_once_and_another_one_follows_the_clock() -> None:
    def texts(cron: str, day: int, month: int) -> list[str]:
        begin = at(2026, month, day, zone=BERLIN)
        found = instants(schedule_of(cron, timezone="Europe/Berlin"), begin, begin + 4 * 3_600)
        return [datetime.fromtimestamp(one, BERLIN).strftime("%H:%M%z") for one in found]

    assert texts("15,45 2 * * *", 25, 10) == ["02:15+0200", "02:45+0200"]
    assert texts("15,45 2 * * *", 29, 3) == ["03:00+0200"]
    assert texts("*/30 2 * * *", 25, 10) == ["02:00+0200", "02:30+0200", "02:00+0100", "02:30+0100"]
    assert texts("*/30 2 * * *", 29, 3) == []
    assert texts("15 * * * *", 25, 10) == ["00:15+0200", "01:15+0200", "02:15+0200", "02:15+0100"]
    assert texts("15 * * * *", 29, 3) == ["00:15+0100", "01:15+0100", "03:15+0200", "04:15+0200"]


def test_cron_text_at_the_end_of_all_dates_has_no_further_instant() -> None:
    assert schedule_of("* * * * *").after(1e300) == math.inf


@pytest.mark.parametrize(
    ("arguments", "options", "text"),
    [
        ((), {}, "either cron or every"),
        (("* * * * *",), {"every": 1}, "either cron or every"),
        ((schedule_of,), {}, "cron is <function"),
        ((), {"every": 0}, "every is 0"),
        ((), {"every": True}, "every is True, it must be"),
        ((), {"every": "1"}, "every is '1', it must be"),
        ((), {"every": timedelta(minutes=1)}, "as a number of seconds"),
        ((), {"every": float("inf")}, "every is inf"),
        (("* * *",), {}, r"cron is '\* \* \*', which has no instant"),
        (("61 * * * *",), {}, "Bad minute"),
        (("0 0 30 2 *",), {}, "has no instant"),
        # In New York clocks go forward over this hour.
        (("*/30 2 * 3 SUN#2",), {"timezone": "America/New_York"}, "has no instant"),
        (("* * * * *",), {"timezone": "Mars/Base"}, "timezone is 'Mars/Base'"),
        (("* * * * *",), {"on": "one"}, "on is 'one'"),
        (("* * * * *",), {"missed": "all"}, "missed is 'all'"),
    ],
)
def test_wrong_options_are_refused(arguments: Any, options: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        schedule_of(*arguments, **options)


def test_method_has_no_parameters() -> None:
    with pytest.raises(TypeError, match="so it takes no parameters"):

        @scheduled(every=1)
        async def job(self: Any, day: str) -> None: ...

    with pytest.raises(TypeError, match="so it takes no parameters"):
        scheduled(every=1)(3)  # type: ignore[type-var]


def test_method_yields_nothing() -> None:
    with pytest.raises(TypeError, match="job is scheduled, so it yields nothing"):

        @scheduled(every=1)
        async def job(self: Any) -> Any:
            yield 1

    @functools.wraps(job_that_yields)
    def wrapper(self: Any) -> Any:
        return job_that_yields(self)

    for handler in (job_that_yields, wrapper):
        with pytest.raises(TypeError, match="job_that_yields is scheduled, so it yields nothing"):
            scheduled(every=1)(handler)


def job_that_yields(self: Any) -> Any:
    yield 1


def test_subclass_that_overrides_a_method_decides_on_its_schedule() -> None:
    class Jobs:
        @scheduled(every=1)
        async def job(self) -> None: ...

    class Same(Jobs): ...

    class Without(Jobs):
        async def job(self) -> None: ...

    assert schedules_of(Same) == schedules_of(Jobs)
    assert schedules_of(Without) == {}
