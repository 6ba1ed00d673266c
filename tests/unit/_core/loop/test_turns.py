"""Deferred work is done in slices, by turns, a few milliseconds in each turn of the loop."""

import asyncio
import contextvars
import time
from collections.abc import Callable
from typing import Any

import pytest

from fastrpc._core.loop.loop_state import loop_state
from fastrpc._core.loop.turns import SlicedWork, Turns, slices_ns, unanswered_share
from tests.support.blocking import keep_the_loop

STEP_SECONDS = 0.0002

MS = 1_000_000

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")


def burning(notes: list[Any], name: str, steps: int) -> Callable[[], bool]:
    """Return steps of work that take some time each, and are noted."""
    left = steps

    def step() -> bool:
        nonlocal left
        until = time.perf_counter() + STEP_SECONDS
        while time.perf_counter() < until:
            pass
        notes.append(name)
        left -= 1
        return left > 0

    return step


def turns_here() -> Turns:
    return loop_state(asyncio.get_running_loop()).turns


async def finished(turns: Turns) -> int:
    """Return once nothing waits, and after how many turns of the loop."""
    count = 0
    while len(turns):
        await asyncio.sleep(0)
        count += 1
    return count


async def test_short_work_is_done_at_once() -> None:
    turns = Turns(asyncio.get_running_loop())
    for _ in range(20):
        left = [False, True, True]
        SlicedWork(turns, left.pop).begin()
        if not left:
            break
        # The machine stalled: that was no short work.
        await finished(turns)
    assert left == []
    assert len(turns) == 0


async def test_long_work_continues_in_later_turns() -> None:
    notes: list[str] = []
    turns = Turns(asyncio.get_running_loop())
    SlicedWork(turns, burning(notes, "a", 200)).begin()
    assert len(notes) < 200
    assert await finished(turns) >= 5
    assert len(notes) == 200


async def test_many_short_pieces_of_work_together_take_at_most_a_turn() -> None:
    notes: list[str] = []
    turns = Turns(asyncio.get_running_loop())
    for number in range(100):
        SlicedWork(turns, burning(notes, str(number), 2)).begin()
    # Even on a slow machine a step takes at least its configured time.
    assert len(notes) * STEP_SECONDS <= 0.005
    await finished(turns)
    assert sorted(notes) == sorted(str(number) for number in range(100) for _ in range(2))


async def test_each_piece_of_work_gets_its_slice_by_turns() -> None:
    notes: list[str] = []
    turns = Turns(asyncio.get_running_loop())
    for name in "abcd":
        SlicedWork(turns, burning(notes, name, 60)).begin()
    await finished(turns)
    assert sorted(notes) == [name for name in "abcd" for _ in range(60)]
    # The last one began long before the first one ended.
    assert notes.index("d") < len(notes) - 1 - notes[::-1].index("a")


async def test_new_work_goes_before_that_which_had_its_slice() -> None:
    notes: list[str] = []
    turns = Turns(asyncio.get_running_loop())
    for name in "abcd":
        SlicedWork(turns, burning(notes, name, 100)).begin()
    while len(set(notes)) < 4:
        await asyncio.sleep(0)
    before = len(notes)
    SlicedWork(turns, burning(notes, "new", 1)).begin()
    await asyncio.sleep(0)
    assert notes[before] == "new"
    await finished(turns)


async def test_new_work_does_not_starve_that_which_had_its_slice() -> None:
    notes: list[str] = []
    turns = Turns(asyncio.get_running_loop())
    SlicedWork(turns, burning(notes, "old", 100)).begin()
    # Each turn has more new work than fits, and the old work still gets a step, if this process has the processor. What
    # is left of the new work shares these steps: where other processes have the processor, it would grow without end.
    for _ in range(5_000):
        if len(turns) < 10:
            SlicedWork(turns, burning(notes, "new", 10)).begin()
            SlicedWork(turns, burning(notes, "new", 10)).begin()
        await asyncio.sleep(0)
        if notes.count("old") == 100:
            break
    assert notes.count("old") == 100
    await finished(turns)


async def test_short_new_work_has_half_of_the_time_next_to_long_work() -> None:
    """Each does not wait for a slice of the long work."""
    spent = {"new": 0.0, "old": 0.0}
    is_over = False
    turns = Turns(asyncio.get_running_loop())

    def work(name: str, seconds: float) -> SlicedWork:
        def step() -> bool:
            began = time.perf_counter()
            keep_the_loop(seconds)
            spent[name] += time.perf_counter() - began
            return name == "old" and not is_over

        return SlicedWork(turns, step)

    work("old", 0.002).begin()
    for _ in range(100):
        while len(turns) < 20:
            work("new", 0.000_1).queue()
        await asyncio.sleep(0)
    is_over = True
    await finished(turns)
    assert spent["new"] >= 0.4 * spent["old"]


async def test_work_continues_in_its_own_context() -> None:
    seen: list[str] = []
    turns = Turns(asyncio.get_running_loop())
    burn = burning(seen, "", 100)

    def step() -> bool:
        more = burn()
        seen[-1] = variable.get("none")
        return more

    contextvars.copy_context().run(lambda: (variable.set("own"), SlicedWork(turns, step).begin()))
    await finished(turns)
    assert set(seen) == {"own"}


async def test_failing_work_is_reported_and_other_work_continues() -> None:
    notes: list[str] = []
    reports: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: reports.append(context))
    turns = Turns(loop)
    burn = burning(notes, "bad", 30)

    def step() -> bool:
        if len([note for note in notes if note == "bad"]) == 25:
            raise ValueError("no more")
        return burn()

    SlicedWork(turns, burning(notes, "good", 50)).begin()
    SlicedWork(turns, step).begin()
    await finished(turns)
    assert notes.count("good") == 50
    assert [str(report["exception"]) for report in reports] == ["no more"]


async def test_work_that_fails_at_once_is_not_stepped_again() -> None:
    steps: list[None] = []
    turns = Turns(asyncio.get_running_loop())

    def step() -> bool:
        steps.append(None)
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        SlicedWork(turns, step).begin()
    assert len(turns) == 0
    await asyncio.sleep(0)
    assert len(steps) == 1


async def test_all_of_a_loop_share_one_queue() -> None:
    assert turns_here() is turns_here()


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(TypeError):
        SlicedWork(None, print)  # type: ignore[arg-type]
    with pytest.raises(AttributeError):
        Turns(None)  # type: ignore[arg-type]


@pytest.mark.parametrize(("seconds", "least", "most"), [(0.0, 3, 6), (0.009, 8, 11), (0.2, 19, 22)])
async def test_slices_have_as_long_as_the_callbacks_before_them(
    seconds: float, least: int, most: int
) -> None:
    instants: list[float] = []
    turns = Turns(asyncio.get_running_loop())
    found: list[float] = []
    is_over = False

    def step() -> bool:
        instants.append(time.perf_counter())
        keep_the_loop(STEP_SECONDS)
        instants.append(time.perf_counter())
        return not is_over

    for _ in range(50):
        SlicedWork(turns, step).queue()
    for _ in range(200):
        # The slices end with the step in which their time is over: a stall of the machine then makes them longer. One
        # before them makes the callbacks longer. Neither comes in every turn.
        keep_the_loop(seconds)
        instants.clear()
        await asyncio.sleep(0)
        found += [(instants[-1] - instants[0]) * 1000] if instants else []
        if found and least <= found[-1] <= most:
            break
    else:
        pytest.fail(f"no slices of {least} to {most} ms: {found}")
    is_over = True
    await finished(turns)


@pytest.mark.parametrize(
    ("others", "length"),
    [(0, 4), (3, 4), (8, 8), (10, 10), (15, 5), (16, 4), (20, 4), (25, 5), (29, 5.8), (30, 20), (200, 20)],
)
def test_slices_are_no_stall_together_with_callbacks_that_are_none(others: int, length: float) -> None:
    assert slices_ns(others * MS, 0) == length * MS


def test_reads_of_a_turn_take_the_time_of_its_slices_but_for_a_millisecond() -> None:
    assert [slices_ns(0, spent * MS) // MS for spent in (0, 1, 3, 4, 90)] == [4, 3, 1, 1, 1]
    assert slices_ns(8 * MS, 8 * MS) == 8 * MS


def test_work_without_an_answer_has_a_quarter_of_all_slices() -> None:
    assert [unanswered_share(length * MS) // MS for length in (1, 4, 8, 20)] == [1, 1, 2, 5]
