"""An hour of figures in arrays: sums, rates, percentiles, bounds."""

from collections import Counter

import pytest

from fastrpc._core.base.histogram import waits_snapshot
from fastrpc.console import history as histories
from fastrpc.console.history import (
    DOUBLINGS,
    FigureHistory,
    Totals,
    doubling_of,
    percentiles_of,
)
from tests.conftest import Scale
from tests.support.figure_series import add_series

KEY = ("method", "arith", "mul")


class Clock:
    def __init__(self, now: float = 100_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def test_calls_are_spread_over_the_time_in_which_they_were_counted() -> None:
    clock = Clock()
    history = FigureHistory(clock)
    add_series(history, KEY, clock.now - 15, clock.now + 5, Totals(20, 10, 2.0, 40))
    assert history.totals(KEY, 60) == pytest.approx(Totals(20, 10, 2.0, 40))
    # Twenty seconds in all.
    assert history.rates(KEY, 60) == pytest.approx(Totals(1.0, 0.5, 0.1, 2.0))
    # The last two slots may get more: servers are read every ten seconds.
    clock.now += 10
    assert history.points(KEY, "calls", 4) == pytest.approx([0.5])
    clock.now += 14
    assert history.points(KEY, "calls", 4) == pytest.approx([0.5, 1.0, 0.5])
    assert history.points(KEY, "errors", 2) == pytest.approx([0.5, 0.25])


def test_minutes_have_no_gap_where_calls_were_counted() -> None:
    clock = Clock()
    history = FigureHistory(clock)
    for _ in range(70):
        add_series(history, KEY, clock.now, clock.now + 60, Totals(1), {5: 1})
        clock.now += 60
    for _ in range(60):
        clock.now += 1
        add_series(history, KEY, clock.now - 1, clock.now, Totals(1), {5: 1})
        minutes = history.minutes(KEY)
        assert len(minutes) in (58, 59)
        assert all(one[5] for one in minutes)


def test_an_hour_is_kept() -> None:
    clock = Clock()
    history = FigureHistory(clock)
    counts = {5: 1}
    for _ in range(500):
        add_series(history, KEY, clock.now, clock.now + 10, Totals(10), counts)
        clock.now += 10
    assert history.totals(KEY, 3_600).calls == pytest.approx(3_590)
    assert history.points(KEY, "calls", 357) == [1.0] * 357
    assert sum(history.durations(3_600, KEY)) in range(348, 361)
    # After two hours without a call nothing is left of them.
    clock.now += 7_200
    assert history.totals(KEY, 3_600) == Totals()
    assert history.points(KEY, "calls", 3) == [0.0] * 3
    assert sum(history.durations(3_600, KEY)) == 0
    add_series(history, KEY, clock.now - 7_200, clock.now, Totals(720), counts)
    assert history.totals(KEY, 3_600).calls == pytest.approx(720)
    assert history.durations(3_600, KEY)[5] == 1


def test_the_rate_of_a_series_without_news_falls() -> None:
    clock = Clock()
    history = FigureHistory(clock)
    add_series(history, KEY, clock.now - 60, clock.now, Totals(60))
    assert history.rates(KEY, 60).calls == pytest.approx(1.0)
    clock.now += 40
    assert history.rates(KEY, 60).calls < 0.6
    clock.now += 60
    assert history.rates(KEY, 60).calls == 0.0


def test_over_the_bound_only_series_without_figures_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(histories, "MOST_SERIES", 10)
    monkeypatch.setattr(histories, "MOST_BEGUN", 10)
    clock = Clock()
    history = FigureHistory(clock)

    def add(*numbers: int) -> list[str]:
        for number in numbers:
            add_series(history, ("service", str(number)), clock.now, clock.now + 10, Totals(1))
        clock.now += 10
        return [key[1] for key in history.keys("service")]

    first = [str(number) for number in range(10)]
    assert add(*range(10)) == first
    assert add(10, 11) == first
    assert (len(history), history.dropped) == (10, 2)
    clock.now += 1_800
    assert add(0, 1) == first
    clock.now += 1_790
    assert add(10, 11) == ["0", "1", "10", "11"]
    assert (len(history), history.dropped) == (4, 2)
    assert history.bytes == 4 * 360 * 4 * 8


def test_a_server_begins_a_part_of_all_series(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(histories, "MOST_BEGUN", 3)
    clock = Clock()
    history = FigureHistory(clock)
    for owner in ("a", "b"):
        for number in range(4):
            add_series(history, (owner, str(number)), clock.now, clock.now, Totals(1), owner=owner)
    assert [(len(history.keys(owner)), history.dropped) for owner in ("a", "b")] == [(3, 2)] * 2
    # A series that another server began takes the figures of all.
    add_series(history, ("a", "0"), clock.now, clock.now, Totals(1), owner="b")
    assert history.totals(("a", "0"), 60).calls == 2
    history.forget(("a", "1"))
    add_series(history, ("a", "3"), clock.now, clock.now, Totals(1), owner="a")
    assert len(history.keys("a")) == 3


def test_counts_stop_at_their_largest() -> None:
    clock = Clock()
    history = FigureHistory(clock)
    for _ in range(2):
        add_series(history, KEY, clock.now, clock.now, Totals(1), dict.fromkeys(range(DOUBLINGS), 1 << 53))
    assert history.durations(60, KEY) == [0xFFFF_FFFF] * DOUBLINGS


def test_percentiles_match_raw_durations_within_one_doubling(scale: Scale) -> None:
    bounds = [bound for bound, _ in waits_snapshot()["buckets"]]
    clock = Clock()
    for seed in scale.seeds(200):
        random = scale.random(seed)
        raw = [10 ** random.uniform(-6, 1.5) for _ in range(random.randint(1, 500))]
        history = FigureHistory(clock)
        # As three servers, and in two minutes.
        for key, minute in ((KEY, 0), (KEY, 60), (("method", "arith", "add"), 0)):
            counts = Counter(doubling_of(next(one for one in bounds if duration <= one)) for duration in raw)
            add_series(history, key, clock.now - minute, clock.now - minute, Totals(len(raw)), counts)
        found = percentiles_of(history.durations(120, KEY, ("method", "arith", "add")), 0.5, 0.95, 0.99)
        for share, percentile in zip((0.5, 0.95, 0.99), found, strict=True):
            exact = sorted(raw)[max(0, -int(-share * len(raw) // 1) - 1)]
            assert percentile is not None
            assert exact / 2.001 <= percentile <= max(2.001 * exact, bounds[0])


def test_percentiles_of_nothing_are_unknown() -> None:
    assert percentiles_of([0] * DOUBLINGS, 0.5) == [None]
    assert doubling_of(None) == DOUBLINGS - 1
    assert percentiles_of([0] * (DOUBLINGS - 1) + [3], 0.5) == [65.536 / 1.0]
