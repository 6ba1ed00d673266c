"""A limit of time for a block, in a task that is cancelled and in one that is not."""

import asyncio

import pytest

from fastrpc import time_limit as module
from fastrpc.time_limit import time_limit

pytestmark = pytest.mark.parametrize("is_reliable", [False, True], ids=["own", "asyncio"])


@pytest.fixture(autouse=True)
def chosen(is_reliable: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if is_reliable and not module._IS_RELIABLE:
        pytest.skip("this CPython has none that holds in a cancelled task")
    monkeypatch.setattr(module, "_IS_RELIABLE", is_reliable)


async def test_clean_up_of_a_cancelled_task_ends_by_its_limit() -> None:
    noted = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            with pytest.raises(TimeoutError):
                async with time_limit(0.0):
                    await asyncio.Event().wait()
            noted.append("clean")

    task = asyncio.ensure_future(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert noted == ["clean"]


async def test_a_block_within_its_limit_ends_normally() -> None:
    async with time_limit(60.0) as limit:
        pass
    assert not limit.expired()
    with pytest.raises(ZeroDivisionError):
        async with time_limit(None):
            raise ZeroDivisionError


async def test_cancelling_a_block_is_no_end_of_its_time() -> None:
    async def work() -> None:
        async with time_limit(60.0):
            await asyncio.Event().wait()

    task = asyncio.ensure_future(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_of_a_block_that_is_over_time_comes_through() -> None:
    with pytest.raises(KeyError):
        async with time_limit(0.0):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise KeyError from None
