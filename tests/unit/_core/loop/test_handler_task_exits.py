"""KeyboardInterrupt and SystemExit in a HandlerTask: the one has the effect of Ctrl-C, the other ends nothing."""

import asyncio
from collections.abc import Iterator

import pytest

from fastrpc_harness.driven_task import DrivenTask
from tests.support.handler_tasks import LOOP_FACTORIES, new_loop

Loop = asyncio.AbstractEventLoop


@pytest.fixture(params=LOOP_FACTORIES)
def loop(request: pytest.FixtureRequest) -> Iterator[Loop]:
    yield from new_loop(request.param)


async def fail(error: BaseException) -> None:
    raise error


def test_an_interrupt_in_the_first_step_leaves_the_loop(loop: Loop) -> None:
    error = KeyboardInterrupt("now")
    task = DrivenTask(loop)
    loop.call_soon(task.run_first_step, fail(error))
    with pytest.raises(KeyboardInterrupt) as caught:
        loop.run_forever()
    assert caught.value is error
    assert task.exception() is error
    assert asyncio.current_task(loop) is None


@pytest.mark.parametrize("waits", [False, True])
def test_system_exit_ends_the_task_and_not_the_loop(loop: Loop, waits: bool) -> None:
    error = SystemExit(3)

    async def handler() -> None:
        if waits:
            await asyncio.sleep(0)
        raise error

    task = DrivenTask(loop)

    async def main() -> None:
        loop.call_soon(task.run_first_step, handler())
        for _ in range(5):
            await asyncio.sleep(0)

    loop.run_until_complete(main())
    assert task.exception() is error
    assert task.finished_calls == waits


def test_an_interrupt_after_a_suspension_is_seen_by_the_hook_and_has_the_effect_of_ctrl_c(loop: Loop) -> None:
    error = KeyboardInterrupt("now")

    async def handler() -> None:
        await asyncio.sleep(0)
        raise error

    task = DrivenTask(loop)
    loop.call_soon(task.run_first_step, handler())
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    assert task.exception() is error
    assert task.finished_calls == 1
