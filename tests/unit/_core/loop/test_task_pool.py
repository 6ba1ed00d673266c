"""Using tasks again: nothing of one call is seen by the next one, nor the next one by who kept the task."""

import asyncio
import contextvars
import gc
import sys
import weakref
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from fastrpc._core.loop.handler_task import HandlerTask
from fastrpc._core.loop.loop_state import TaskPool
from fastrpc_harness.driven_task import DrivenTask, TaskDriver
from tests.support.handler_tasks import LOOP_FACTORIES, begin, new_loop, outside_tasks

Loop = asyncio.AbstractEventLoop
color: contextvars.ContextVar[str] = contextvars.ContextVar("color", default="none")


@pytest.fixture(params=LOOP_FACTORIES)
def loop(request: pytest.FixtureRequest) -> Iterator[Loop]:
    yield from new_loop(request.param)


class Calls:
    """Calls that follow one another through one driver; each starts from a plain callback."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.driver = TaskDriver(loop)

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run one call to its end and return its value or its exception."""

        async def begin_and_wait() -> None:
            await outside_tasks(self.driver.start, coroutine)
            # None of these calls suspends more than twice; then the loop also lets go of its callback.
            for _ in range(4):
                await asyncio.sleep(0)

        before = len(self.driver.outcomes)
        self.loop.run_until_complete(begin_and_wait())
        assert len(self.driver.outcomes) > before
        value, error = self.driver.outcomes[-1]
        return value if error is None else error


@pytest.fixture
def calls(loop: Loop) -> Calls:
    return Calls(loop)


def current() -> Any:
    return asyncio.current_task()


async def identity() -> int:
    return id(current())


async def late_identity() -> int:
    await asyncio.sleep(0)
    return id(current())


@pytest.mark.parametrize("first", [identity, late_identity])
@pytest.mark.parametrize("second", [identity, late_identity])
def test_the_next_call_uses_the_same_task(
    calls: Calls, first: Callable[[], Any], second: Callable[[], Any]
) -> None:
    assert calls.run(first()) == calls.run(second())
    assert len(calls.driver.pool) == 1


def test_calls_at_the_same_time_use_different_tasks(loop: Loop) -> None:
    driver = TaskDriver(loop)

    def start_five() -> None:
        for _ in range(5):
            driver.start(late_identity())

    async def main() -> None:
        await outside_tasks(start_five)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    loop.run_until_complete(main())
    assert len({value for value, _ in driver.outcomes}) == 5
    assert len(driver.pool) == 5


def test_a_call_begun_while_another_one_is_put_back_uses_another_task(calls: Calls) -> None:
    class StartsAnother:
        """Begins a call when the context of the call before goes away."""

        def __del__(self) -> None:
            calls.driver.start(identity())

    held: contextvars.ContextVar[StartsAnother] = contextvars.ContextVar("held")

    async def handler() -> int:
        held.set(StartsAnother())
        return id(current())

    calls.run(handler())
    assert len({value for value, _ in calls.driver.outcomes}) == 2
    assert len(calls.driver.pool) == 2


async def spoil_everything() -> str:
    task = current()
    task.set_name("mine")
    task.cancel("mine")
    task.add_done_callback(print)
    task.remove_done_callback(print)
    color.set("mine")
    try:
        await asyncio.sleep(0)
    except asyncio.CancelledError:
        await asyncio.sleep(0)
    return "spoiled"


async def look() -> dict[str, Any]:
    task = current()
    return {
        "name": task.get_name(),
        "cancelling": task.cancelling(),
        "must_cancel": task._must_cancel,
        "cancel_message": task._cancel_message,
        "callbacks": task._callbacks,
        "waiter": task._fut_waiter,
        "blocking": task._asyncio_future_blocking,
        "attributes": dict(vars(task)),
        "color": color.get(),
        "done": task.done(),
        "exception": task._exception,
        "result": task._result,
    }


FRESH = {
    "name": "driven:look",
    "cancelling": 0,
    "must_cancel": False,
    "cancel_message": None,
    "callbacks": None,
    "waiter": None,
    "blocking": False,
    "attributes": {},
    "color": "none",
    "done": False,
    "exception": None,
    "result": None,
}


async def fail_with(error: BaseException) -> None:
    raise error


async def cancel_and_return() -> int:
    current().cancel("mine")
    return 1


async def await_oneself() -> None:
    with pytest.raises(RuntimeError, match="cannot await on itself"):
        await current()


@pytest.mark.parametrize(
    "first",
    [
        identity,
        late_identity,
        spoil_everything,
        await_oneself,
        cancel_and_return,
        lambda: fail_with(ValueError("mine")),
        lambda: fail_with(asyncio.CancelledError("mine")),
    ],
)
def test_the_next_call_sees_a_fresh_task(calls: Calls, first: Callable[[], Any]) -> None:
    calls.run(first())
    assert len(calls.driver.pool) == 1
    calls.driver.outcomes.clear()
    assert calls.run(look()) == FRESH


def keep_task(kept: list[Any]) -> None:
    kept.append(current())


def keep_weak_reference(kept: list[Any]) -> None:
    kept.append(weakref.ref(current()))


def keep_weak_key(kept: list[Any]) -> None:
    state: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()
    state[current()] = "mine"
    kept.append(state)


def keep_weak_method(kept: list[Any]) -> None:
    kept.append(weakref.WeakMethod(current().cancel))


def keep_bound_method(kept: list[Any]) -> None:
    kept.append(current().cancel)


def keep_wake_up(kept: list[Any]) -> None:
    kept.append(current()._wakeup)


def keep_attribute(_: list[Any]) -> None:
    current().mine = "mine"


def keep_attributes(kept: list[Any]) -> None:
    kept.append(vars(current()))


def keep_callback(kept: list[Any]) -> None:
    current().add_done_callback(kept.append)


def keep_error_with_frames(kept: list[Any]) -> None:
    task = current()
    try:
        raise ValueError(task.get_name())
    except ValueError as error:
        kept.append(error)


def unregister(_: list[Any]) -> None:
    asyncio.tasks._unregister_task(current())


WAYS_TO_KEEP = [
    keep_task,
    keep_weak_reference,
    keep_weak_key,
    keep_weak_method,
    keep_bound_method,
    keep_wake_up,
    keep_attribute,
    keep_attributes,
    keep_callback,
    keep_error_with_frames,
    unregister,
]


@pytest.mark.parametrize("suspends", [False, True])
@pytest.mark.parametrize("keep", WAYS_TO_KEEP)
def test_a_task_with_other_references_is_not_reused(
    calls: Calls, keep: Callable[[list[Any]], None], suspends: bool
) -> None:
    kept: list[Any] = []

    async def keeping() -> str:
        keep(kept)
        if suspends:
            await asyncio.sleep(0)
        return "value"

    assert calls.run(keeping()) == "value"
    assert len(calls.driver.pool) == 0


@pytest.mark.parametrize("suspends", [False, True])
def test_a_kept_task_keeps_its_outcome(calls: Calls, suspends: bool) -> None:
    kept: list[Any] = []

    async def keeping() -> str:
        kept.append(current())
        if suspends:
            await asyncio.sleep(0)
        return "first"

    calls.run(keeping())
    calls.run(look())
    assert kept[0].done()
    assert kept[0].result() == "first"
    assert kept[0].get_name() == "driven:" + keeping.__qualname__
    assert kept[0].get_coro() is not None


def test_a_broken_future_cannot_wake_the_next_call(calls: Calls) -> None:
    wake_ups: list[Callable[[Any], None]] = []

    class Hoarder(asyncio.Future[None]):
        def add_done_callback(self, callback: Any, *, context: Any = None) -> None:
            wake_ups.append(callback)
            super().add_done_callback(callback, context=context)

    async def wait_for_hoarder() -> int:
        future = Hoarder(loop=calls.loop)
        calls.loop.call_soon(future.set_result, None)
        await future
        return id(current())

    first = calls.run(wait_for_hoarder())
    second = calls.run(identity())
    assert second != first
    with pytest.raises(asyncio.InvalidStateError, match="already done"):
        wake_ups[0](Hoarder(loop=calls.loop))


def test_a_task_taken_from_the_pool_by_other_code_is_not_used_again(calls: Calls) -> None:
    calls.run(identity())
    assert len(calls.driver.pool) == 1
    tasks = [thing for thing in gc.get_objects() if type(thing) is DrivenTask]
    found = [task for task in tasks if task.get_loop() is calls.loop]
    assert calls.run(identity()) not in [id(task) for task in found]
    assert all(task.done() for task in found)


def test_a_kept_reference_to_the_coroutine_does_not_prevent_reuse(calls: Calls) -> None:
    kept: list[Any] = []

    async def keeping() -> int:
        kept.append((current().get_coro(), current().get_context()))
        return id(current())

    assert calls.run(keeping()) == calls.run(identity())
    coroutine, context = kept[0]
    assert coroutine.cr_frame is None
    assert context.run(color.get) == "none"


def test_the_pool_releases_the_result_of_a_call(calls: Calls) -> None:
    class Large:
        pass

    async def large() -> Large:
        await asyncio.sleep(0)
        return Large()

    value = weakref.ref(calls.run(large()))
    calls.driver.outcomes.clear()
    assert value() is None
    assert len(calls.driver.pool) == 1


def test_the_pool_keeps_at_most_64_tasks(loop: Loop) -> None:
    driver = TaskDriver(loop)

    async def wait_for(event: asyncio.Event) -> None:
        await event.wait()

    async def main() -> None:
        event = asyncio.Event()

        def callback() -> None:
            for _ in range(100):
                driver.start(wait_for(event))

        await outside_tasks(callback)
        event.set()
        for _ in range(3):
            await asyncio.sleep(0)

    loop.run_until_complete(main())
    assert len(driver.outcomes) == 100
    assert len(driver.pool) == 64


def test_an_unfinished_task_cannot_be_released(loop: Loop) -> None:
    async def main() -> None:
        event = asyncio.Event()
        task = await begin(event.wait())
        with pytest.raises(asyncio.InvalidStateError, match="only a task that ended"):
            TaskPool(loop).release(task)
        event.set()
        await task

    loop.run_until_complete(main())


def test_a_pool_makes_tasks_with_its_factory(loop: Loop) -> None:
    assert type(TaskPool(loop).acquire()) is HandlerTask
    assert type(TaskPool(loop, DrivenTask).acquire()) is DrivenTask
    with pytest.raises(TypeError):
        TaskPool(loop, lambda _: 3).acquire()  # type: ignore[arg-type, return-value]


def test_a_context_that_cannot_be_entered_costs_no_task(calls: Calls) -> None:
    context = contextvars.copy_context()
    coroutine = identity()

    async def main() -> None:
        with pytest.raises(RuntimeError, match="already entered"):
            await outside_tasks(context.run, calls.driver.start, coroutine, context)

    calls.loop.run_until_complete(main())
    assert calls.driver.outcomes == []
    assert isinstance(calls.run(coroutine), int)


def test_repeated_calls_share_one_task(loop: Loop) -> None:
    driver = TaskDriver(loop)
    identities = set()

    async def remember() -> None:
        identities.add(id(current()))

    async def main() -> None:
        await outside_tasks(driver.repeat, remember, 10)

    loop.run_until_complete(main())
    assert len(identities) == 1
    assert len(driver.pool) == 1


def test_calls_that_never_suspend_leave_no_garbage(loop: Loop) -> None:
    driver = TaskDriver(loop)

    def grown() -> tuple[int, int]:
        driver.repeat(identity, 100)
        blocks, references = sys.getallocatedblocks(), sys.getrefcount(None)
        driver.repeat(identity, 2_000)
        return sys.getallocatedblocks() - blocks, sys.getrefcount(None) - references

    async def main() -> tuple[int, int]:
        return await outside_tasks(grown)

    blocks, references = loop.run_until_complete(main())
    assert abs(blocks) < 50
    assert abs(references) < 50


def test_calls_that_suspend_leave_no_garbage(calls: Calls) -> None:
    def run_some(count: int) -> int:
        for _ in range(count):
            calls.run(late_identity())
        calls.driver.outcomes.clear()
        gc.collect()
        return sys.getallocatedblocks()

    before = run_some(20)
    assert run_some(300) - before < 100


def test_pool_and_driver_are_collected_with_their_loop() -> None:
    loop = asyncio.new_event_loop()
    calls = Calls(loop)
    calls.run(late_identity())
    loop.close()
    lost = weakref.ref(loop)
    loop.cycle = calls  # type: ignore[attr-defined]
    del loop, calls
    gc.collect()
    assert lost() is None
