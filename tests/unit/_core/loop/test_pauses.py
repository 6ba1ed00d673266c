"""The pause that a call offers to interceptors and fail modes."""

import asyncio
import time
from typing import Any

import pytest
import uvloop

from fastrpc._core.loop.loop_state import slept


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_pause_is_never_shorter_than_it_was_asked_for(factory: Any) -> None:
    async def main() -> list[float]:
        early = []
        for number in range(40):
            seconds = 0.0004 + number / 10_000
            # The turn began some time ago: timers of uvloop count from its beginning.
            until = time.monotonic() + 0.0007
            while time.monotonic() < until:
                pass
            until = time.monotonic() + seconds
            await slept(seconds)
            if until > time.monotonic():
                early.append(seconds)
        return early

    with asyncio.Runner(loop_factory=factory) as runner:
        assert runner.run(main()) == []


@pytest.mark.parametrize("seconds", [0, -1])
def test_a_pause_of_zero_seconds_gives_other_tasks_a_turn(seconds: float) -> None:
    async def main() -> list[str]:
        order: list[str] = []

        async def other() -> None:
            order.append("other")

        task = asyncio.ensure_future(other())
        await slept(seconds)
        order.append("slept")
        await task
        return order

    assert asyncio.run(main()) == ["other", "slept"]
