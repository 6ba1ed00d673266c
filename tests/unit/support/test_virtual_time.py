"""The loop of tests marked `virtual_time`."""

import asyncio
import time

import pytest

import fastrpc
from fastrpc.testing import connected
from tests.support.virtual_time import VirtualTimeLoop, pass_time


@fastrpc.service("late")
class Late:
    @fastrpc.method
    async def never(self) -> None:
        await asyncio.Event().wait()


@pytest.mark.parametrize("ahead", [-10, 3_600])
def test_timers_of_the_core_never_come(ahead: float) -> None:
    loop = VirtualTimeLoop()
    loop.now = time.monotonic() + ahead

    async def pass_an_hour() -> bool:
        began = loop.time()
        async with connected(Late()) as client:
            call = asyncio.ensure_future(client.with_options(timeout=30).call(Late.never))
            for _ in range(900):
                await pass_time(4)
            assert loop.time() == pytest.approx(began + 3_600)
            return call.cancel()

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        assert runner.run(pass_an_hour()), "the call has ended"


def test_a_wait_that_only_a_timer_of_the_core_would_end_raises() -> None:
    async def wait() -> None:
        async with connected(Late()) as client:
            await client.with_options(timeout=30).call(Late.never)

    with (
        pytest.raises(RuntimeError, match="waits for an event that no timer brings"),
        asyncio.Runner(loop_factory=VirtualTimeLoop) as runner,
    ):
        runner.run(wait())
