"""One call of a HandlerTask: the first step, suspension, cancellation and the end."""

import asyncio
import contextvars
import gc
import traceback
from collections.abc import Coroutine, Generator, Iterator
from typing import Any

import pytest

from fastrpc_harness.driven_task import DrivenTask
from tests.support.handler_tasks import LOOP_FACTORIES, begin, new_loop, outside_tasks

Loop = asyncio.AbstractEventLoop
color: contextvars.ContextVar[str] = contextvars.ContextVar("color", default="none")


@pytest.fixture(params=LOOP_FACTORIES)
def loop(request: pytest.FixtureRequest) -> Iterator[Loop]:
    yield from new_loop(request.param)


@pytest.fixture
def reports(loop: Loop) -> list[dict[str, Any]]:
    received: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: received.append(context))
    return received


class Yield:
    """An awaitable that hands one object to whoever steps the coroutine."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __await__(self) -> Generator[Any, Any, Any]:
        return (yield self.value)


async def echo(value: Any) -> Any:
    return value


async def fail(error: BaseException) -> None:
    raise error


def test_first_step_runs_before_begin_returns(loop: Loop) -> None:
    async def main() -> DrivenTask:
        return await begin(echo(6))

    task = loop.run_until_complete(main())
    assert task.done()
    assert task.result() == 6
    assert task.exception() is None
    assert not task.cancelled()
    assert task.finished_calls == 0


def test_the_task_is_current_from_its_first_step_to_its_last(loop: Loop) -> None:
    async def handler() -> list[Any]:
        seen = [asyncio.current_task()]
        await asyncio.sleep(0)
        seen.append(asyncio.current_task())
        await loop.run_in_executor(None, int)
        return [*seen, asyncio.current_task()]

    async def main() -> None:
        task = await begin(handler())
        assert await task == [task, task, task]
        assert task.finished_calls == 1

    loop.run_until_complete(main())


def test_no_task_is_current_after_the_first_step(loop: Loop) -> None:
    def callback() -> list[Any]:
        seen = []
        for coroutine in (echo(1), asyncio.sleep(0), fail(ValueError())):
            DrivenTask(loop).run_first_step(coroutine)
            seen.append(asyncio.current_task(loop))
        return seen

    async def main() -> list[Any]:
        seen = await outside_tasks(callback)
        await asyncio.sleep(0)
        return seen

    assert loop.run_until_complete(main()) == [None, None, None]


def test_all_tasks_shows_a_task_until_it_ended(loop: Loop) -> None:
    async def handler(entered: asyncio.Event) -> bool:
        shown = asyncio.current_task() in asyncio.all_tasks()
        await entered.wait()
        return shown

    async def main() -> None:
        idle: Any = DrivenTask(loop)
        assert idle not in asyncio.all_tasks()
        entered = asyncio.Event()
        task: Any = await begin(handler(entered))
        assert task in asyncio.all_tasks()
        entered.set()
        assert await task
        assert task not in asyncio.all_tasks()

    loop.run_until_complete(main())


def test_begin_inside_a_task_is_refused_and_runs_nothing(loop: Loop) -> None:
    async def main() -> None:
        task = DrivenTask(loop)
        coroutine = echo(1)
        with pytest.raises(RuntimeError, match="while another task"):
            task.run_first_step(coroutine)
        assert task.get_coro() is None
        assert await outside_tasks(task.run_first_step, coroutine)
        assert task.result() == 1

    loop.run_until_complete(main())


def test_begin_inside_an_entered_context_is_refused(loop: Loop) -> None:
    context = contextvars.copy_context()

    async def main() -> None:
        task = DrivenTask(loop)
        coroutine = echo(1)
        with pytest.raises(RuntimeError, match="already entered"):
            await outside_tasks(context.run, task.run_first_step, coroutine, context)
        assert await outside_tasks(task.run_first_step, coroutine, context)

    loop.run_until_complete(main())


@pytest.mark.parametrize("value", [None, 3, echo, iter(())])
def test_begin_takes_only_coroutines(loop: Loop, value: Any) -> None:
    with pytest.raises(TypeError, match="a coroutine was expected, got"):
        DrivenTask(loop).run_first_step(value)


def test_begin_needs_a_task_that_was_not_used(loop: Loop) -> None:
    async def main() -> None:
        task = await begin(echo(1))
        coroutine = echo(2)
        with pytest.raises(asyncio.InvalidStateError, match="new or rearmed"):
            await outside_tasks(task.run_first_step, coroutine)
        coroutine.close()
        assert task.result() == 1

    loop.run_until_complete(main())


def test_variables_survive_suspension_and_stay_inside(loop: Loop) -> None:
    async def handler() -> list[str]:
        color.set("red")
        seen = [color.get()]
        await asyncio.sleep(0)
        seen.append(color.get())
        color.set("blue")
        await asyncio.sleep(0)
        return [*seen, color.get()]

    def callback() -> tuple[DrivenTask, str]:
        task = DrivenTask(loop)
        task.run_first_step(handler())
        return task, color.get()

    async def main() -> None:
        task, outside = await outside_tasks(callback)
        assert outside == "none"
        assert await task == ["red", "red", "blue"]
        assert color.get() == "none"
        context = task.get_context()
        assert context is not None
        assert context[color] == "blue"

    loop.run_until_complete(main())


@pytest.mark.parametrize("suspends", [False, True])
@pytest.mark.parametrize("error", [ValueError("x"), StopAsyncIteration(), GeneratorExit()])
def test_an_exception_is_kept_and_raised_by_result(loop: Loop, error: BaseException, suspends: bool) -> None:
    async def handler() -> None:
        if suspends:
            await asyncio.sleep(0)
        raise error

    async def main() -> None:
        task = await begin(handler())
        with pytest.raises(type(error)) as caught:
            await task
        assert caught.value is error
        assert task.exception() is error
        assert not task.cancelled()
        assert task.finished_calls == suspends

    loop.run_until_complete(main())


def test_the_traceback_starts_in_the_handler_and_does_not_grow(loop: Loop) -> None:
    async def handler(future: "asyncio.Future[None]") -> None:
        await future

    def frames(error: BaseException) -> list[str]:
        return [frame.name for frame in traceback.extract_tb(error.__traceback__)]

    async def main() -> None:
        future: asyncio.Future[None] = loop.create_future()
        task = await begin(handler(future))
        future.set_exception(ValueError("late"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        error = task.exception()
        assert error is not None
        assert frames(error) == ["handler"]
        lengths = set()
        for _ in range(3):
            with pytest.raises(ValueError, match="late") as caught:
                task.result()
            lengths.add(len(frames(caught.value)))
        assert len(lengths) == 1

    loop.run_until_complete(main())


@pytest.mark.parametrize("waits", [False, True])
def test_a_cancellation_carries_its_message_to_the_handler_and_back(loop: Loop, waits: bool) -> None:
    caught_inside = []

    async def handler() -> None:
        try:
            await (loop.create_future() if waits else asyncio.sleep(0))
        except asyncio.CancelledError as error:
            caught_inside.append(error)
            raise

    def callback() -> DrivenTask:
        task = DrivenTask(loop)
        task.run_first_step(handler())
        assert task.cancel("enough")
        assert task.cancelling() == 1
        assert not task.cancelled()
        return task

    async def main() -> None:
        task = await outside_tasks(callback)
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert caught.value.args == ("enough",)
        assert caught_inside == [caught.value]
        assert task.cancelled()
        assert not task.cancel()
        assert task.finished_calls == 1

    loop.run_until_complete(main())


def test_a_task_that_cancels_itself_meets_the_error_at_its_next_suspension(loop: Loop) -> None:
    steps = []

    async def handler() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel("self")
        steps.append("still running")
        await loop.create_future()

    async def main() -> None:
        task = await begin(handler())
        with pytest.raises(asyncio.CancelledError, match="self"):
            await task

    loop.run_until_complete(main())
    assert steps == ["still running"]


def test_a_task_that_cancels_itself_and_returns_is_cancelled(loop: Loop) -> None:
    async def handler() -> int:
        task = asyncio.current_task()
        assert task is not None
        task.cancel("self")
        return 1

    async def main() -> None:
        task = await begin(handler())
        assert task.cancelled()
        with pytest.raises(asyncio.CancelledError, match="self"):
            task.exception()

    loop.run_until_complete(main())


def test_a_handler_may_refuse_its_cancellation(loop: Loop) -> None:
    async def handler() -> int:
        task = asyncio.current_task()
        assert task is not None
        try:
            await loop.create_future()
        except asyncio.CancelledError:
            return task.uncancel()
        return -1

    async def main() -> None:
        task = await begin(handler())
        task.cancel()
        assert await task == 0
        assert task.cancelling() == 0

    loop.run_until_complete(main())


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ("number", "Task got bad yield: 3"),
        ("generator", "yield was used instead of yield from for generator in task <DrivenTask pending"),
        ("not awaited", "yield was used instead of yield from in task <DrivenTask pending"),
        ("foreign", "attached to a different loop"),
        ("itself", "Task cannot await on itself: <DrivenTask pending"),
    ],
)
def test_a_bad_yield_raises_in_the_handler(loop: Loop, mistake: str, message: str) -> None:
    elsewhere = asyncio.new_event_loop()

    async def handler() -> None:
        awaited: dict[str, Any] = {
            "number": Yield(3),
            "generator": Yield(number for number in range(3)),
            "not awaited": Yield(loop.create_future()),
            "foreign": elsewhere.create_future(),
            "itself": asyncio.current_task(),
        }
        with pytest.raises(RuntimeError, match=message):
            await awaited[mistake]

    async def main() -> None:
        await (await begin(handler()))

    loop.run_until_complete(main())
    elsewhere.close()


class Unwilling(asyncio.Future[None]):
    """A future to which nobody can listen."""

    def add_done_callback(self, *_arguments: object, **_options: object) -> None:
        raise OSError("no listeners")


@pytest.mark.parametrize("suspends_before", [False, True])
def test_a_task_that_cannot_be_woken_ends_with_the_reason(loop: Loop, suspends_before: bool) -> None:
    cleaned = []

    async def handler() -> None:
        if suspends_before:
            await asyncio.sleep(0)
        try:
            await Unwilling(loop=loop)
        finally:
            cleaned.append(True)

    async def main() -> None:
        task = await begin(handler())
        with pytest.raises(OSError, match="no listeners"):
            await task
        assert task.finished_calls == suspends_before

    loop.run_until_complete(main())
    assert cleaned == [True]


def test_a_second_wake_up_after_the_end_is_reported(loop: Loop, reports: list[dict[str, Any]]) -> None:
    class Insistent(asyncio.Future[None]):
        def add_done_callback(self, callback: Any, *, context: Any = None) -> None:
            super().add_done_callback(callback, context=context)
            super().add_done_callback(callback, context=context)

    async def handler(future: "asyncio.Future[None]") -> int:
        await future
        return 1

    async def main() -> None:
        future = Insistent(loop=loop)
        task = await begin(handler(future))
        future.set_result(None)
        assert await task == 1
        await asyncio.sleep(0)
        assert task.finished_calls == 1

    loop.run_until_complete(main())
    assert [type(report["exception"]) for report in reports] == [asyncio.InvalidStateError]


def test_an_exception_nobody_retrieves_is_not_reported(loop: Loop, reports: list[dict[str, Any]]) -> None:
    async def main() -> None:
        await begin(fail(ValueError()))
        gc.collect()

    loop.run_until_complete(main())
    assert reports == []


def test_a_task_lost_before_its_end_is_reported(loop: Loop, reports: list[dict[str, Any]]) -> None:
    async def main() -> None:
        await begin(asyncio.Event().wait())
        gc.collect()

    loop.run_until_complete(main())
    assert [report["message"] for report in reports] == ["Task was destroyed but it is pending!"]


def test_closing_a_loop_ends_what_still_runs(loop: Loop) -> None:
    ended = []

    async def handler() -> None:
        try:
            await loop.create_future()
        finally:
            ended.append(True)

    async def main() -> None:
        await begin(handler())

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main())
    assert ended == [True]


def coroutine_like() -> Coroutine[Any, Any, int]:
    class Countdown(Coroutine[Any, Any, int]):
        left = 2

        def send(self, value: Any, /) -> Any:
            self.left -= 1
            if self.left:
                return None
            raise StopIteration(9)

        def throw(self, *error: Any) -> Any:
            raise StopIteration(-9)

        def close(self) -> None:
            pass

        def __await__(self) -> Any:
            return self

    return Countdown()


def test_coroutines_of_other_makes_work(loop: Loop) -> None:
    async def main() -> None:
        assert await (await begin(coroutine_like())) == 9

        def callback() -> DrivenTask:
            task = DrivenTask(loop)
            task.run_first_step(coroutine_like())
            task.cancel()
            return task

        assert await (await outside_tasks(callback)) == -9

    loop.run_until_complete(main())
