"""The adaptive limit, driven by servers that are a formula."""

import math

import pytest

from fastrpc._core.limiting.adaptive_limit import AdaptiveLimit

SECOND = 1_000_000_000
START = 7 * SECOND
WINDOW = SECOND // 10


class Machine:
    """A server that works on so many calls at once, each for 10 ms; more of them wait for each other."""

    def __init__(self, width: int, *, initial: int = 20, floor: int = 4, ceiling: int = 1_000) -> None:
        self.limit = AdaptiveLimit(initial, floor, ceiling)
        self.width = width
        self.now = START

    def run(self, seconds: float, offered: float = math.inf, late: float = 0.0) -> list[int]:
        """Run under a load of so many calls at once; return the limit at the end of each window."""
        limits = []
        for _ in range(round(seconds * 10)):
            calls = max(1, int(min(offered, self.limit.allowed)))
            held = int(10_000_000 * max(1.0, calls / self.width))
            for index in range(20):
                self.limit.note_call(self.now, held, is_late=index < late * 20, calls=calls)
            self.now += WINDOW
            self.limit.note_call(self.now, held, calls=calls)
            limits.append(self.limit.allowed)
        return limits


def test_limit_rises_to_what_the_server_does_well_and_stays_there() -> None:
    limits = Machine(100).run(30)
    assert 100 <= limits[-1] <= 250
    assert max(limits) <= 250


def test_limit_falls_when_the_server_gets_slower() -> None:
    machine = Machine(200)
    machine.run(20)
    before = machine.limit.allowed
    machine.width = 20
    machine.run(5)
    assert machine.limit.allowed < before / 2


def test_limit_does_not_creep_upwards_under_a_load_that_never_ends() -> None:
    limits = Machine(50).run(120)
    assert max(limits[600:]) <= 1.3 * max(limits[:300])
    assert sum(limits[600:]) / 600 >= 40


def test_limit_that_is_not_used_does_not_grow() -> None:
    assert Machine(100).run(20, offered=3)[-1] <= 20


def test_missed_deadlines_lower_the_limit_to_its_floor() -> None:
    machine = Machine(1_000, initial=500)
    limits = machine.run(3, late=1.0)
    assert limits[-1] == 4
    assert limits == sorted(limits, reverse=True)
    # And it comes back.
    assert machine.run(20)[-1] > 100


def test_a_single_missed_deadline_costs_little() -> None:
    machine = Machine(1_000, initial=500)
    machine.run(0.1, late=0.05)
    assert machine.limit.allowed >= 480


def test_limit_keeps_its_bounds() -> None:
    assert max(Machine(1_000, ceiling=64).run(20)) == 64
    assert min(Machine(100, floor=8).run(5, late=1.0)) == 8


def test_calls_whose_time_says_nothing_change_nothing() -> None:
    limit = AdaptiveLimit(20, 4, 1_000)
    for window in range(50):
        limit.note_call(START + window * WINDOW, 0, calls=20)
    assert limit.allowed == 20


@pytest.mark.parametrize(("initial", "floor", "ceiling"), [(3, 4, 10), (11, 4, 10), (0, 0, 10)])
def test_numbers_out_of_their_order_are_refused(initial: int, floor: int, ceiling: int) -> None:
    with pytest.raises(ValueError, match="are not in this order"):
        AdaptiveLimit(initial, floor, ceiling)
