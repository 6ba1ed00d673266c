"""Runs of scheduled methods, in virtual time."""

import asyncio
import functools
import math
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any

import pytest

from fastrpc.coordination import Store
from fastrpc.coordination import schedules as schedules_module
from fastrpc.coordination.schedules import Schedules, current_store
from fastrpc.errors import BrokerError, ConfigError
from fastrpc.rpc.background.scheduling import scheduled
from fastrpc.stores.local import LocalStore
from tests.support.virtual_time import pass_time

pytestmark = pytest.mark.virtual_time


def clock() -> float:
    return asyncio.get_running_loop().time()


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    async with Store(LocalStore(clock=clock), clock=clock) as store:
        yield store


class Jobs:
    """A process: notes the instants of its runs in a list that all share."""

    def __init__(self, runs: list[float], seconds: float = 0) -> None:
        self.runs = runs
        self.seconds = seconds

    async def note(self) -> None:
        self.runs.append(clock())
        await pass_time(self.seconds)


class Skipping(Jobs):
    @scheduled(every=60)
    async def job(self) -> None:
        await self.note()


class CatchingUp(Jobs):
    @scheduled(every=60, missed="once")
    async def job(self) -> None:
        await self.note()


class Everywhere(Jobs):
    @scheduled(every=60, on="each")
    async def job(self) -> None:
        await self.note()


def process(store: Store | None, service: Any, offset: Callable[[], float] = lambda: 0.0) -> Schedules:
    schedules = Schedules(store, lambda: clock() + offset())
    schedules.add("jobs", service)
    return schedules


async def test_each_instant_starts_once_in_all_processes(store: Store) -> None:
    runs: list[float] = []
    processes = [process(store, Skipping(runs, 1)) for _ in range(3)]
    await pass_time(600)
    assert runs == [1_020 + 60 * number for number in range(10)]
    for one in processes:
        assert await one.stop()
    await pass_time(600)
    assert len(runs) == 10


async def test_next_leader_continues_with_the_next_instant(store: Store) -> None:
    runs: list[float] = []
    processes = [process(store, Skipping(runs, 30)) for _ in range(3)]
    for _ in range(20):
        await pass_time(47)
        leader = await store.leader("schedules/jobs.job")
        assert leader is not None
        items = await store.list("leaders/schedules/jobs.job/")
        first = min(items, key=lambda item: item.created)
        assert first.lease is not None
        await store.backend.revoke(first.lease)
    await pass_time(120)
    assert [(instant - 1_020) % 60 for instant in runs] == pytest.approx([0] * len(runs), abs=0.1)
    assert len(runs) == len({round(instant) for instant in runs})
    assert len(runs) >= 15
    for one in processes:
        await one.stop()


@pytest.mark.parametrize(("kind", "expected"), [(Skipping, 0), (CatchingUp, 1)])
async def test_outage_is_followed_by_at_most_one_run(store: Store, kind: type[Jobs], expected: int) -> None:
    runs: list[float] = []
    first = process(store, kind(runs))
    await pass_time(130)
    await first.stop()
    assert len(runs) == 2
    await pass_time(10_000)
    again = clock()
    second = process(store, kind(runs))
    await pass_time(5)
    assert len(runs) == 2 + expected
    await pass_time(60)
    await second.stop()
    assert len(runs) == 3 + expected
    assert not expected or runs[2] - again < 1


async def test_first_leader_of_all_has_missed_nothing(store: Store) -> None:
    runs: list[float] = []
    schedules = process(store, CatchingUp(runs))
    await pass_time(10)
    assert runs == []
    await schedules.stop()


@pytest.mark.parametrize(("kind", "expected"), [(Skipping, [0, 180, 360]), (CatchingUp, [0, 150, 300, 450])])
async def test_instants_during_a_run_count_as_missed(
    store: Store, kind: type[Jobs], expected: list[float]
) -> None:
    runs: list[float] = []
    schedules = process(store, kind(runs, 150))
    await pass_time(20 + 460)
    assert [instant - 1_020 for instant in runs] == expected
    await schedules.stop()


class Often(Jobs):
    @scheduled(every=10, on="each")
    async def skipping(self) -> None:
        await self.note()


class OftenCatchingUp(Jobs):
    @scheduled(every=10, on="each", missed="once")
    async def catching_up(self) -> None:
        await self.note()


@pytest.mark.parametrize("kind", [Often, OftenCatchingUp])
@pytest.mark.parametrize("seconds", [1, 12, 16, 55, 3_600, 86_400])
@pytest.mark.parametrize("moment", [0.5, 4, 9.5])
async def test_schedule_of_each_process_continues_within_a_minute_after_a_clock_is_set_back(
    kind: type[Jobs], seconds: float, moment: float, caplog: pytest.LogCaptureFixture
) -> None:
    runs: list[float] = []
    offset = 0.0
    await pass_time(200_000 - clock())
    schedules = process(None, kind(runs), lambda: offset)
    await pass_time(20 + moment)
    assert runs == [200_010, 200_020]
    offset = -seconds
    await pass_time(40)
    assert len(runs) >= 4
    count = len(runs)
    await pass_time(600)
    assert len(runs) == count + 60
    # A step that is shorter is waited for.
    assert caplog.text.count("the clock is set back") == int(seconds > 16)
    assert await schedules.stop()


@pytest.mark.parametrize("missed", ["skip", "once"])
@pytest.mark.parametrize("on", ["each", "leader"])
async def test_night_in_which_clocks_go_back_stops_no_server_and_starts_no_run_again(
    store: Store, on: Any, missed: Any
) -> None:
    class Nightly(Jobs):
        @scheduled("30 2 * * *", timezone="Europe/Berlin", on=on, missed=missed)
        async def job(self) -> None:
            await self.note()

    runs: list[float] = []
    begin = datetime.fromisoformat("2026-10-25T02:10+01:00").timestamp() - clock()
    schedules = process(store, Nightly(runs), lambda: begin)
    await pass_time(3_600)
    assert runs == []
    assert await schedules.stop()


class Source:
    """A schedule whose instants are any numbers."""

    def __init__(
        self, after: Callable[[float], float], latest: Callable[[float], float], missed: str
    ) -> None:
        self.after, self.latest = after, latest
        self.on, self.missed = "each", missed


@pytest.mark.parametrize("missed", ["skip", "once"])
@pytest.mark.parametrize("ahead", [-86_400, -2_400, 0, math.nan])
async def test_instant_that_is_not_later_starts_nothing_and_lets_the_loop_continue(
    missed: str, ahead: float, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    runs: list[float] = []
    source = Source(lambda instant: instant + ahead, lambda instant: instant - 86_400, missed)
    monkeypatch.setattr(schedules_module, "schedules_of", lambda cls: {"job": source})
    schedules = process(None, Everywhere(runs))
    await pass_time(100)
    assert runs == []
    assert 50 <= caplog.text.count("the schedule jobs.job is interrupted") <= 300
    assert await schedules.stop()


@pytest.mark.parametrize("missed", ["skip", "once"])
@pytest.mark.parametrize("latest", [-86_400.0, 86_400.0, math.nan])
async def test_invalid_latest_instant_is_replaced_by_the_due_one(
    missed: str, latest: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[float] = []
    source = Source(lambda instant: instant + 60, lambda instant: instant + latest, missed)
    monkeypatch.setattr(schedules_module, "schedules_of", lambda cls: {"job": source})
    schedules = process(None, Everywhere(runs))
    await pass_time(150)
    assert runs == [1_060, 1_120]
    assert await schedules.stop()


@pytest.mark.parametrize("jump", [86_400.0, -86_400.0])
async def test_wall_clock_that_jumps_starts_no_instant_twice(store: Store, jump: float) -> None:
    runs: list[float] = []
    offset = 0.0
    schedules = process(store, Skipping(runs), lambda: offset)
    await pass_time(125)
    assert len(runs) == 2
    offset = jump
    await pass_time(125)
    assert len(runs) == (4 if jump > 0 else 2)
    await schedules.stop()


async def test_instant_that_a_wrong_clock_wrote_is_reported_once_and_can_be_removed(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    runs: list[float] = []
    ahead = process(store, Skipping(runs), lambda: 86_400.0)
    await pass_time(65)
    assert len(runs) == 1
    assert await ahead.stop()
    schedules = process(store, Skipping(runs))
    await pass_time(300)
    assert len(runs) == 1
    assert caplog.text.count("the schedule jobs.job stands still until 1970-01-02 00:17:00+00:00") == 1
    assert "`fastrpc kv delete STORE schedules/jobs.job`" in caplog.text
    await store.delete("schedules/jobs.job")
    await pass_time(90)
    assert [(instant - 1_020) % 60 for instant in runs[1:]] == pytest.approx([0] * len(runs[1:]), abs=0.1)
    assert len(runs) >= 2
    assert caplog.text.count("stands still") == 1
    assert await schedules.stop()


async def test_instant_that_was_started_a_little_early_is_not_told(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    runs: list[float] = []
    early = process(store, Skipping(runs), lambda: 30.0)
    await pass_time(55)
    assert await early.stop()
    schedules = process(store, Skipping(runs))
    await pass_time(95)
    assert runs == [1_050, 1_140]
    assert caplog.text == ""
    assert await schedules.stop()


async def test_every_process_runs_without_a_store() -> None:
    runs: list[float] = []
    processes = [process(None, Everywhere(runs)) for _ in range(2)]
    await pass_time(130)
    assert runs == [1_020, 1_020, 1_080, 1_080]
    for one in processes:
        await one.stop()


def named_wrapper(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(*args: Any) -> Any:
        return function(*args)

    return wrapper


def nameless_wrapper(function: Any) -> Any:
    def wrapper(self: Any) -> Any:
        return function(self)

    return wrapper


@pytest.mark.parametrize("wrapper", [named_wrapper, nameless_wrapper])
async def test_job_inside_an_ordinary_wrapper_runs(wrapper: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def at_once(function: Callable[[], Any]) -> Any:
        return function()

    monkeypatch.setattr(asyncio, "to_thread", at_once)

    async def job(self: Jobs) -> None:
        await self.note()

    mark = scheduled(every=60, on="each")
    runs: list[float] = []
    schedules = process(None, type("Wrapped", (Jobs,), {"job": mark(wrapper(job))})(runs))
    await pass_time(130)
    await schedules.stop()
    assert runs == [1_020, 1_080]


async def test_leader_needs_a_store() -> None:
    with pytest.raises(
        ConfigError, match=r"jobs\.job is scheduled on the leader, but the server has no store"
    ):
        process(None, Skipping([]))


@pytest.mark.parametrize("error", [ZeroDivisionError, asyncio.CancelledError])
async def test_failed_run_is_logged_and_the_next_one_comes(
    store: Store, caplog: pytest.LogCaptureFixture, error: type[BaseException]
) -> None:
    class Failing(Skipping):
        async def note(self) -> None:
            await super().note()
            raise error

    runs: list[float] = []
    schedules = process(store, Failing(runs))
    await pass_time(130)
    assert len(runs) == 2
    assert caplog.text.count("the scheduled method jobs.job failed") == 2
    await schedules.stop()


async def test_failed_run_of_an_absent_broker_is_logged_without_a_traceback(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(Skipping):
        async def note(self) -> None:
            await super().note()
            raise BrokerError("the broker is away", retryable=True)

    runs: list[float] = []
    schedules = process(store, Failing(runs))
    await pass_time(130)
    told = [one for one in caplog.records if "scheduled" in one.getMessage()]
    assert [one.getMessage() for one in told] == [
        "the scheduled method jobs.job failed: BrokerError: the broker is away"
    ] * 2
    assert [one.exc_info for one in told] == [None, None]
    await schedules.stop()


async def test_schedule_continues_once_its_key_is_mended(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    runs: list[float] = []
    await store.put("schedules/jobs.job", "junk")
    schedules = process(store, Skipping(runs))
    await pass_time(70)
    assert runs == []
    assert "the schedule jobs.job is interrupted" in caplog.text
    await store.delete("schedules/jobs.job")
    await pass_time(60)
    assert runs == [1_080]
    assert await schedules.stop()


async def test_schedule_of_each_process_outlasts_an_error_of_its_clock(
    caplog: pytest.LogCaptureFixture,
) -> None:
    runs: list[float] = []
    is_broken = True

    def offset() -> float:
        if is_broken:
            raise ZeroDivisionError
        return 0.0

    schedules = process(None, Everywhere(runs), offset)
    await pass_time(5)
    assert "ZeroDivisionError" in caplog.text
    is_broken = False
    await pass_time(60)
    assert runs == [1_020]
    assert await schedules.stop()


async def test_run_knows_the_store(store: Store) -> None:
    found: list[Store] = []

    class Storing(Skipping):
        async def note(self) -> None:
            found.append(current_store())

    schedules = process(store, Storing([]))
    await pass_time(60)
    await schedules.stop()
    assert found == [store]
    with pytest.raises(LookupError):
        current_store()


async def test_drain_waits_for_a_run_and_then_cancels_it(store: Store) -> None:
    runs: list[float] = []
    schedules = process(store, Skipping(runs, 20))
    await pass_time(25)
    start = clock()
    assert await schedules.stop(seconds=30)
    assert clock() - start == 15
    schedules = process(store, Skipping(runs, 50))
    await pass_time(60)
    start = clock()
    assert not await schedules.stop(seconds=5)
    assert clock() - start == 5
    assert await store.leader("schedules/jobs.job") is None
