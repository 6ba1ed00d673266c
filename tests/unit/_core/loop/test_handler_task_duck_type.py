"""A HandlerTask seen from outside: callbacks, waiting for it, its name, its repr and its stack."""

import asyncio
import contextvars
import io
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from fastrpc._core.loop.handler_task import HandlerTask
from fastrpc_harness.driven_task import DrivenTask
from tests.support.handler_tasks import LOOP_FACTORIES, begin, new_loop, outside_tasks

Loop = asyncio.AbstractEventLoop
color: contextvars.ContextVar[str] = contextvars.ContextVar("color", default="none")


@pytest.fixture(params=LOOP_FACTORIES)
def loop(request: pytest.FixtureRequest) -> Iterator[Loop]:
    yield from new_loop(request.param)


async def echo(value: Any) -> Any:
    return value


async def fail(error: BaseException) -> None:
    raise error


def test_done_callbacks_get_the_task_and_their_context(loop: Loop) -> None:
    calls = []

    def called(task: HandlerTask) -> None:
        calls.append((task, color.get()))

    async def handler() -> None:
        task: Any = asyncio.current_task()
        color.set("inside")
        task.add_done_callback(called)

    async def main() -> None:
        context = contextvars.copy_context()
        context.run(color.set, "given")
        task = DrivenTask(loop)
        await outside_tasks(task.run_first_step, handler())
        task.add_done_callback(called, context=context)
        color.set("outside")
        task.add_done_callback(called)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert calls == [(task, "inside"), (task, "given"), (task, "outside")]

    loop.run_until_complete(main())


def test_a_removed_done_callback_is_not_called(loop: Loop) -> None:
    calls: list[HandlerTask] = []
    others: list[HandlerTask] = []

    async def main() -> None:
        released = asyncio.Event()
        task = await begin(released.wait())
        assert task.remove_done_callback(calls.append) == 0
        for callback in (calls.append, others.append, calls.append):
            task.add_done_callback(callback)
        assert task.remove_done_callback(calls.append) == 2
        released.set()
        await task
        await asyncio.sleep(0)
        assert (calls, others) == ([], [task])

    loop.run_until_complete(main())


def test_several_tasks_may_await_a_handler_task(loop: Loop) -> None:
    async def wait_for(task: Any) -> Any:
        return await task

    async def delegate(task: Any) -> AsyncIterator[Any]:
        yield await task

    async def main() -> None:
        released = asyncio.Event()
        task: Any = await begin(released.wait())
        other = await begin(wait_for(task))
        released.set()
        values = await asyncio.gather(task, other, wait_for(task), asyncio.shield(task))
        assert list(values) == [True] * 4
        assert [value async for value in delegate(task)] == [True]
        done, pending = await asyncio.wait([task, other])
        assert (done, pending) == ({task, other}, set())

    loop.run_until_complete(main())


def test_cancelling_a_waiting_task_cancels_the_handler_task_it_waits_for(loop: Loop) -> None:
    async def wait_for(task: Any) -> None:
        await task

    async def main() -> None:
        inner = await begin(asyncio.Event().wait())
        outer = await begin(wait_for(inner))
        outer.cancel("outer")
        with pytest.raises(asyncio.CancelledError, match="outer"):
            await outer
        assert inner.cancelled()
        assert outer.cancelled()

    loop.run_until_complete(main())


def test_the_name_is_made_when_asked_for_and_can_be_set(loop: Loop) -> None:
    async def main() -> None:
        task = await begin(echo(1))
        assert task.get_name() == "driven:echo"
        task.set_name(7)
        assert task.get_name() == "7"

    loop.run_until_complete(main())
    assert HandlerTask(loop).get_name() == "rpc"


def test_repr_has_state_name_coroutine_and_the_awaited_future(loop: Loop) -> None:
    async def waiting() -> None:
        await loop.create_future()

    async def main() -> None:
        task = DrivenTask(loop)
        assert repr(task) == "<DrivenTask idle>"
        await outside_tasks(task.run_first_step, waiting())
        text = repr(task)
        assert text.startswith("<DrivenTask pending name='driven:")
        assert "wait_for=<Future pending" in text
        assert "waiting() running at" in text
        task.cancel()
        assert repr(task).startswith("<DrivenTask cancelling name=")
        await asyncio.wait([task])  # type: ignore[type-var]
        assert repr(task).startswith("<DrivenTask cancelled name=")
        assert "finished" in repr(await begin(echo(1)))
        assert "exception=ValueError" in repr(await begin(fail(ValueError())))

    loop.run_until_complete(main())


def test_get_stack_shows_where_the_handler_waits_and_where_it_failed(loop: Loop) -> None:
    async def waiting() -> None:
        await loop.create_future()

    async def main() -> None:
        task = await begin(waiting())
        assert [frame.f_code.co_name for frame in task.get_stack()] == ["waiting"]
        printed = io.StringIO()
        task.print_stack(file=printed)
        assert printed.getvalue().startswith("Stack for <DrivenTask pending")
        task.cancel()
        await asyncio.wait([task])  # type: ignore[type-var]
        failed = await begin(fail(ValueError()))
        assert [frame.f_code.co_name for frame in failed.get_stack(limit=1)] == ["fail"]
        assert DrivenTask(loop).get_stack() == []

    loop.run_until_complete(main())


@pytest.mark.parametrize("method", [HandlerTask.result, HandlerTask.exception])
def test_an_unfinished_task_has_no_outcome(loop: Loop, method: Callable[[HandlerTask], Any]) -> None:
    async def main() -> None:
        released = asyncio.Event()
        task = await begin(released.wait())
        for unfinished in (task, DrivenTask(loop)):
            with pytest.raises(asyncio.InvalidStateError):
                method(unfinished)
        released.set()
        await task

    loop.run_until_complete(main())


def test_only_the_coroutine_can_end_a_task(loop: Loop) -> None:
    task = DrivenTask(loop)
    with pytest.raises(RuntimeError, match="does not support set_result"):
        task.set_result(1)
    with pytest.raises(RuntimeError, match="does not support set_exception"):
        task.set_exception(ValueError())


def test_attributes_can_be_set_as_on_any_task(loop: Loop) -> None:
    task: Any = DrivenTask(loop)
    task.request = "r"
    assert task.request == "r"
