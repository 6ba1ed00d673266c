"""The timer wheel, example by example and against a sorted list."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from fastrpc._core.base.timer_wheel import Schedule, ScheduledValue, TimerWheel
from fastrpc_harness import hot_loops

TICK = 2**20
SECOND = 10**9
LAST_TICK = 2**44 - 1

#: Distances that fall into each level of the wheel, next to its edges and beyond its last level.
distances = st.one_of(
    *(st.integers(0, 2**bits) for bits in (21, 28, 36, 44, 52, 60)),
    st.builds(
        lambda bits, ticks, offset: max(0, ((1 << bits) + ticks) * TICK + offset),
        st.sampled_from([0, 8, 16, 24, 32]),
        st.integers(-2, 2),
        st.sampled_from([-1, 0, 1]),
    ),
)


def tick_of(due_ns: int) -> int:
    return min(-(-due_ns // TICK), LAST_TICK)


def test_new_wheel_has_no_due_timer() -> None:
    schedule = Schedule()
    assert schedule.next_due_ns() == 0
    assert schedule.expired(2**63) == []
    assert len(schedule) == 0


def test_timer_expires_at_its_time_and_not_before() -> None:
    schedule = Schedule()
    schedule.schedule(5 * TICK, "value")
    assert schedule.expired(5 * TICK - 1) == []
    assert schedule.expired(5 * TICK) == ["value"]
    assert schedule.expired(5 * TICK) == []


def test_due_time_is_rounded_up_to_a_tick() -> None:
    schedule = Schedule()
    schedule.schedule(5 * TICK + 1, "value")
    assert schedule.expired(6 * TICK - 1) == []
    assert schedule.expired(6 * TICK) == ["value"]


def test_timer_due_in_the_past_expires_without_time_passing() -> None:
    schedule = Schedule(now_ns=SECOND)
    schedule.schedule(1, "late")
    assert 0 < schedule.next_due_ns() <= SECOND
    expired = schedule.pop_expired()
    assert expired is not None
    assert expired.value == "late"


def test_timer_due_at_time_zero_is_not_mistaken_for_no_timer() -> None:
    schedule = Schedule()
    schedule.schedule(0, "at once")
    assert schedule.next_due_ns() == 1


def test_timers_expire_in_the_order_of_their_ticks() -> None:
    schedule = Schedule()
    for tick in (70_000, 3, 300, 20_000_000, 1, 2**33, 299):
        schedule.schedule(tick * TICK, tick)
    assert schedule.expired(2**34 * TICK) == [1, 3, 299, 300, 70_000, 20_000_000, 2**33]


def test_timers_of_one_tick_expire_in_the_order_they_were_added() -> None:
    schedule = Schedule()
    schedule.schedule(1_000 * TICK, "first, cascades")
    schedule.advance(900 * TICK)
    schedule.schedule(1_000 * TICK, "second, does not")
    assert schedule.expired(1_000 * TICK) == ["first, cascades", "second, does not"]


def test_cancelled_timer_never_expires() -> None:
    schedule = Schedule()
    cancelled = schedule.schedule(5 * TICK, "cancelled")
    schedule.schedule(5 * TICK, "kept")
    schedule.cancel(cancelled)
    assert schedule.expired(SECOND) == ["kept"]


def test_cancelling_the_only_timer_leaves_nothing_due() -> None:
    schedule = Schedule()
    schedule.cancel(schedule.schedule(5 * SECOND, "cancelled"))
    assert schedule.next_due_ns() == 0


def test_expired_timer_can_be_cancelled_before_it_is_popped() -> None:
    schedule = Schedule()
    first = schedule.schedule(TICK, "first")
    second = schedule.schedule(TICK, "second")
    schedule.advance(TICK)
    schedule.cancel(first)
    assert schedule.pop_expired() is second
    assert schedule.pop_expired() is None


def test_cancelling_twice_counts_once() -> None:
    schedule = Schedule()
    cancelled = schedule.schedule(TICK, "cancelled")
    schedule.schedule(TICK, "kept")
    schedule.cancel(cancelled)
    schedule.cancel(cancelled)
    assert len(schedule) == 1


def test_rescheduling_moves_a_timer() -> None:
    schedule = Schedule()
    moved = schedule.schedule(2 * TICK, "moved")
    schedule.reschedule(moved, 9 * TICK)
    assert len(schedule) == 1
    assert schedule.expired(8 * TICK) == []
    assert schedule.expired(9 * TICK) == ["moved"]


def test_expired_timer_can_be_used_again() -> None:
    schedule = Schedule()
    again = schedule.schedule(TICK, "again")
    assert schedule.expired(TICK) == ["again"]
    schedule.reschedule(again, 3 * TICK)
    assert schedule.expired(3 * TICK) == ["again"]


def test_time_does_not_run_backwards() -> None:
    schedule = Schedule(now_ns=SECOND)
    schedule.advance(0)
    schedule.schedule(SECOND // 2, "overdue")
    assert schedule.pop_expired() is not None


def test_live_counts_expired_timers_until_they_are_popped() -> None:
    schedule = Schedule()
    schedule.schedule(TICK, "value")
    schedule.advance(TICK)
    assert schedule.wheel.live == 1
    schedule.pop_expired()
    assert schedule.wheel.live == 0


@pytest.mark.parametrize("distance", [1, 255, 256, 65_535, 65_536, 2**24, 2**32 - 1, 2**32, 2**33 + 5])
def test_waking_at_each_next_due_time_reaches_a_timer_in_few_steps(distance: int) -> None:
    start = 0x1234_5678 * TICK
    schedule = Schedule(start)
    schedule.schedule(start + distance * TICK, "value")
    wakings = 0
    expired: list[str] = []
    while not expired:
        now = schedule.next_due_ns()
        expired = schedule.expired(now)
        wakings += 1
    assert now == start + distance * TICK
    # Once for each level below its own, and twice in the list of distant timers.
    assert wakings <= 6


def test_latest_possible_due_time_is_kept() -> None:
    schedule = Schedule()
    schedule.schedule(2**64 - 1, "at the end of time")
    assert schedule.expired(2**64 - 1 - TICK) == []
    assert schedule.expired(2**64 - 1) == ["at the end of time"]


def test_hundred_thousand_timers_expire_once_each() -> None:
    schedule = Schedule(now_ns=7 * SECOND)
    numbers = range(100_000)
    kept = [schedule.schedule(7 * SECOND + number * 50_000, number) for number in numbers]
    for scheduled in kept[::2]:
        schedule.cancel(scheduled)
    assert len(schedule) == 50_000
    assert schedule.expired(13 * SECOND) == list(numbers[1::2])
    assert len(schedule) == 0


def test_schedule_keeps_its_values_alive_only_while_they_wait() -> None:
    schedule = Schedule()
    schedule.schedule(TICK, object())
    scheduled = schedule.schedule(TICK, "kept alive by the schedule alone")
    del scheduled
    assert schedule.expired(TICK)[1] == "kept alive by the schedule alone"


def test_bench_hooks_leave_the_wheel_empty() -> None:
    wheel = TimerWheel()
    hot_loops.add_and_cancel(wheel, 1_000, SECOND)
    assert wheel.live == 0
    hot_loops.expire(wheel, 1_000, 0, SECOND)
    assert wheel.live == 0


class WheelAgainstSortedList(RuleBasedStateMachine):
    """The model: waiting timers in a list sorted by tick, expired ones in a list of their own."""

    scheduled = Bundle("scheduled")

    @initialize(now=st.integers(0, 2**62))
    def start(self, now: int) -> None:
        self.now = now
        self.schedule = Schedule(now)
        self.waiting: list[tuple[int, ScheduledValue]] = []
        self.expired: list[ScheduledValue] = []

    def note(self, scheduled: ScheduledValue, due: int) -> None:
        tick = tick_of(due)
        if tick <= self.now // TICK:
            self.expired.append(scheduled)
        else:
            self.waiting.append((tick, scheduled))
            self.waiting.sort(key=lambda item: item[0])

    def forget(self, scheduled: ScheduledValue) -> None:
        self.waiting = [item for item in self.waiting if item[1] is not scheduled]
        self.expired = [item for item in self.expired if item is not scheduled]

    @rule(target=scheduled, distance=distances)
    def add(self, distance: int) -> ScheduledValue:
        scheduled = self.schedule.schedule(self.now + distance, distance)
        self.note(scheduled, self.now + distance)
        return scheduled

    @rule(target=scheduled, distance=distances, count=st.integers(2, 5))
    def add_several_at_once(self, distance: int, count: int) -> object:
        return multiple(*(self.add(distance) for _ in range(count)))

    @rule(scheduled=scheduled, distance=distances)
    def move(self, scheduled: ScheduledValue, distance: int) -> None:
        self.forget(scheduled)
        self.schedule.reschedule(scheduled, self.now + distance)
        self.note(scheduled, self.now + distance)

    @rule(scheduled=scheduled, earlier=distances)
    def make_overdue(self, scheduled: ScheduledValue, earlier: int) -> None:
        self.forget(scheduled)
        due = max(0, self.now - earlier)
        self.schedule.reschedule(scheduled, due)
        self.note(scheduled, due)

    @rule(scheduled=consumes(scheduled))
    def cancel(self, scheduled: ScheduledValue) -> None:
        self.forget(scheduled)
        self.schedule.cancel(scheduled)

    @rule(scheduled=scheduled)
    def cancel_and_keep(self, scheduled: ScheduledValue) -> None:
        self.cancel(scheduled)

    def pass_time_until(self, now: int) -> None:
        self.now = max(self.now, now)
        self.schedule.advance(now)
        self.expired += [item for tick, item in self.waiting if tick <= self.now // TICK]
        self.waiting = [(tick, item) for tick, item in self.waiting if tick > self.now // TICK]

    @rule(distance=distances)
    def pass_time(self, distance: int) -> None:
        self.pass_time_until(min(self.now + distance, 2**63))

    @rule(distance=distances)
    def look_back(self, distance: int) -> None:
        self.pass_time_until(max(0, self.now - distance))

    @rule()
    def wake_up_when_told(self) -> None:
        self.pass_time_until(self.schedule.next_due_ns())

    @rule()
    def pop_one(self) -> None:
        assert self.schedule.pop_expired() is (self.expired.pop(0) if self.expired else None)

    @rule()
    def pop_all(self) -> None:
        while self.expired:
            self.pop_one()
        self.pop_one()

    @invariant()
    def agree(self) -> None:
        assert len(self.schedule) == len(self.waiting) + len(self.expired)
        due = self.schedule.next_due_ns()
        if self.expired:
            assert 0 < due <= max(1, self.now)
        elif self.waiting:
            assert self.now // TICK * TICK < due <= self.waiting[0][0] * TICK
        else:
            assert due == 0


TestWheelAgainstSortedList = WheelAgainstSortedList.TestCase
TestWheelAgainstSortedList.settings = settings(
    max_examples=2 * settings().max_examples, stateful_step_count=40, deadline=None
)
