"""The growth of stream windows: one rule, on each wire and in both roles."""

from collections.abc import AsyncIterator

import pytest

from tests.support.growing_lines import KINDS, POOL, SIZE, WINDOW, Line, growing_line

pytestmark = pytest.mark.one_loop

#: Messages of a quarter of a window, and of a whole window.
QUARTER, ALL = WINDOW // 4 // SIZE, WINDOW // SIZE


@pytest.fixture(params=KINDS)
async def line(request: pytest.FixtureRequest) -> AsyncIterator[Line]:
    async with growing_line(request.param) as found:
        yield found


async def keep_up(line: Line, rounds: int) -> list[int]:
    """Let a fast sender meet a reader that takes everything and waits; return the window after each round."""
    sizes = []
    for _ in range(rounds):
        await line.fill()
        await line.read()
        sizes.append(line.size)
    return sizes


async def test_a_window_doubles_up_to_a_quarter_of_the_pool_while_its_reader_keeps_up(line: Line) -> None:
    sizes = await keep_up(line, 20)
    assert sorted(set(sizes)) == [WINDOW << step for step in range(5)]
    assert sizes == sorted(sizes)
    assert sizes[-1] == POOL // 4


async def test_a_window_that_held_its_reader_up_once_does_not_grow(line: Line) -> None:
    assert await keep_up(line, 1) == [WINDOW]


async def test_a_slow_reader_gets_no_growth(line: Line) -> None:
    for _ in range(50):
        await line.fill()
        # The reader always finds messages, so it never has to wait.
        await line.read(QUARTER)
    assert line.size == WINDOW


async def test_a_reader_that_finds_nothing_once_in_a_while_gets_no_growth(line: Line) -> None:
    for _ in range(8):
        for _ in range(6):
            await line.fill()
            await line.read(QUARTER)
        await line.read()
        assert line.size == WINDOW


async def test_a_slow_sender_gets_no_growth(line: Line) -> None:
    for _ in range(5 * ALL):
        await line.send()
        await line.read()
    assert line.size == WINDOW


async def test_a_window_that_is_larger_than_needed_gives_half_back(line: Line) -> None:
    await keep_up(line, 4)
    sizes = [line.size]
    assert sizes[0] > WINDOW
    for _ in range(20 * sum(size // SIZE for size in (WINDOW, 2 * WINDOW, 4 * WINDOW))):
        await line.send()
        await line.read()
        if line.size != sizes[-1]:
            sizes.append(line.size)
    assert sizes == [sizes[0] >> step for step in range(len(sizes))]
    assert sizes[-1] == WINDOW


async def test_growth_goes_back_with_the_stream(line: Line) -> None:
    await keep_up(line, 6)
    assert line.size > WINDOW
    await line.end()
    assert line.size == WINDOW
