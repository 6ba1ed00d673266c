"""Timeouts, task groups, anyio and aiohttp work in a HandlerTask, from its first step on."""

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import aiohttp
import anyio
import anyio.abc
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import pytest
from aiohttp import web

from fastrpc_harness.driven_task import TaskDriver
from tests.support.handler_tasks import LOOP_FACTORIES, begin, handle, outside_tasks

T = TypeVar("T")
RunHandler = Callable[[Coroutine[Any, Any, T]], T]
color: contextvars.ContextVar[str] = contextvars.ContextVar("color", default="none")

LONG = 30.0


@pytest.fixture(params=LOOP_FACTORIES)
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Run a coroutine in an ordinary task on a new loop of each kind."""

    def run_on_new_loop(coroutine: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=LOOP_FACTORIES[request.param]) as runner:
            return runner.run(coroutine)

    return run_on_new_loop


def current() -> Any:
    return asyncio.current_task()


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


async def value_of(value: Any) -> Any:
    await asyncio.sleep(0)
    return value


async def failure(error: Exception) -> None:
    await asyncio.sleep(0)
    raise error


# ---- asyncio


def test_a_timeout_set_in_the_first_step_expires(run: RunHandler[Any]) -> None:
    async def handler() -> int:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await forever()
        return int(current().cancelling())

    assert run(handle(handler())) == 0


def test_a_timeout_that_does_not_expire_leaves_no_trace(run: RunHandler[Any]) -> None:
    async def handler() -> tuple[int, Any]:
        async with asyncio.timeout(LONG) as scope:
            value = await value_of(5)
        assert not scope.expired()
        return current().cancelling(), value

    assert run(handle(handler())) == (0, 5)


def test_a_timeout_of_zero_lets_the_handler_run_to_its_first_suspension(run: RunHandler[Any]) -> None:
    async def handler() -> str:
        try:
            async with asyncio.timeout(0):
                await forever()
        except TimeoutError:
            return "expired"
        return "not expired"

    assert run(handle(handler())) == "expired"


def test_nested_timeouts_say_which_one_expired(run: RunHandler[Any]) -> None:
    async def handler() -> tuple[bool, bool]:
        outer, inner = asyncio.timeout(0.001), asyncio.timeout(LONG)
        with contextlib.suppress(TimeoutError):
            async with outer, inner:
                await forever()
        return outer.expired(), inner.expired()

    assert run(handle(handler())) == (True, False)


def test_cancelling_the_task_is_not_mistaken_for_its_timeout(run: RunHandler[Any]) -> None:
    async def handler() -> None:
        async with asyncio.timeout(LONG):
            await forever()

    async def main() -> None:
        task = await begin(handler())
        task.cancel("from outside")
        with pytest.raises(asyncio.CancelledError, match="from outside"):
            await task
        assert task.cancelled()

    run(main())


def test_a_task_group_opened_in_the_first_step_collects_its_children(run: RunHandler[Any]) -> None:
    async def handler() -> list[Any]:
        async with asyncio.TaskGroup() as group:
            children = [group.create_task(value_of(number)) for number in range(3)]
        return [child.result() for child in children]

    assert run(handle(handler())) == [0, 1, 2]


def test_a_failing_child_cancels_its_siblings_and_the_handler(run: RunHandler[Any]) -> None:
    async def handler() -> None:
        try:
            async with asyncio.TaskGroup() as group:
                sibling = group.create_task(forever())
                group.create_task(failure(ValueError("child")))
                await forever()
        except* ValueError as group_error:
            seen.append((str(group_error.exceptions[0]), sibling.cancelled(), current().cancelling()))

    seen: list[tuple[str, bool, int]] = []
    run(handle(handler()))
    assert seen == [("child", True, 0)]


def test_cancelling_a_handler_cancels_its_task_group(run: RunHandler[Any]) -> None:
    children = []

    async def handler() -> None:
        async with asyncio.TaskGroup() as group:
            children.append(group.create_task(forever()))

    async def main() -> None:
        task = await begin(handler())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())
    assert children[0].cancelled()


def test_locks_queues_and_events_work(run: RunHandler[Any]) -> None:
    async def producer(queue: "asyncio.Queue[int]", lock: asyncio.Lock, event: asyncio.Event) -> None:
        async with lock:
            await queue.put(1)
            await queue.put(2)
            event.set()

    async def handler() -> list[int]:
        queue: asyncio.Queue[int] = asyncio.Queue(1)
        lock, event = asyncio.Lock(), asyncio.Event()
        child = asyncio.create_task(producer(queue, lock, event))
        received = [await queue.get(), await queue.get()]
        await event.wait()
        async with lock, asyncio.Semaphore(1):
            await child
        return received

    assert run(handle(handler())) == [1, 2]


def test_threads_see_the_handlers_variables(run: RunHandler[Any]) -> None:
    async def handler() -> tuple[str, bool]:
        color.set("red")
        seen, thread = await asyncio.to_thread(lambda: (color.get(), threading.get_ident()))
        return seen, thread != threading.get_ident()

    assert run(handle(handler())) == ("red", True)


def test_a_handler_may_wait_for_another_one(run: RunHandler[Any]) -> None:
    async def waiting(task: Awaitable[Any]) -> Any:
        async with asyncio.timeout(LONG):
            return await asyncio.shield(task)

    async def main() -> Any:
        first = await begin(value_of(8))
        return await handle(waiting(first))

    assert run(main()) == 8


def test_the_end_of_a_runner_cancels_handlers(run: RunHandler[Any]) -> None:
    ended = []

    async def handler() -> None:
        try:
            async with asyncio.timeout(LONG):
                await forever()
        except asyncio.CancelledError:
            ended.append(await value_of("cancelled"))
            raise

    async def main() -> None:
        await begin(handler())

    run(main())
    assert ended == ["cancelled"]


# ---- anyio


def test_an_anyio_scope_opened_in_the_first_step_expires(run: RunHandler[Any]) -> None:
    async def handler() -> tuple[bool, int]:
        with anyio.move_on_after(0.001) as scope:
            await anyio.sleep_forever()
        return scope.cancelled_caught, current().cancelling()

    assert run(handle(handler())) == (True, 0)


def test_an_anyio_timeout_raises(run: RunHandler[Any]) -> None:
    async def handler() -> None:
        with anyio.fail_after(0.001):
            await anyio.sleep_forever()

    with pytest.raises(TimeoutError):
        run(handle(handler()))


def test_an_anyio_scope_cancelled_from_inside_ends_at_the_next_checkpoint(run: RunHandler[Any]) -> None:
    async def handler() -> list[str]:
        seen = []
        with anyio.CancelScope() as scope:
            scope.cancel()
            seen.append("runs on")
            await anyio.lowlevel.checkpoint()
            seen.append("not reached")
        return seen

    assert run(handle(handler())) == ["runs on"]


def test_an_anyio_shield_holds_off_the_outer_scope(run: RunHandler[Any]) -> None:
    async def handler() -> list[Any]:
        seen: list[Any] = []
        with anyio.CancelScope() as outer:
            with anyio.CancelScope(shield=True):
                outer.cancel()
                seen.append(await value_of("shielded"))
            await anyio.lowlevel.checkpoint()
            seen.append("not reached")
        return seen

    assert run(handle(handler())) == ["shielded"]


def test_an_anyio_task_group_opened_in_the_first_step_collects_its_children(run: RunHandler[Any]) -> None:
    async def child(number: int, results: list[int]) -> None:
        results.append(await value_of(number))

    async def starting(*, task_status: anyio.abc.TaskStatus[str]) -> None:
        task_status.started("ready")
        await anyio.sleep_forever()

    async def handler() -> tuple[list[int], str]:
        results: list[int] = []
        async with anyio.create_task_group() as group:
            for number in range(3):
                group.start_soon(child, number, results)
            state = await group.start(starting)
            await anyio.sleep(0.001)
            group.cancel_scope.cancel()
        return sorted(results), state

    assert run(handle(handler())) == ([0, 1, 2], "ready")


def test_a_failing_anyio_child_ends_the_handler(run: RunHandler[Any]) -> None:
    async def handler() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(failure, ValueError("child"))
            await anyio.sleep_forever()

    with pytest.raises(ExceptionGroup) as caught:
        run(handle(handler()))
    assert [str(error) for error in caught.value.exceptions] == ["child"]


def test_cancelling_a_handler_cancels_its_anyio_task_group(run: RunHandler[Any]) -> None:
    seen = []

    async def child() -> None:
        try:
            await anyio.sleep_forever()
        except asyncio.CancelledError:
            seen.append("child")
            raise

    async def handler() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(child)
            await anyio.sleep_forever()

    async def main() -> None:
        task = await begin(handler())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())
    assert seen == ["child"]


def test_anyio_runs_threads_for_a_handler_and_comes_back(run: RunHandler[Any]) -> None:
    def in_thread() -> tuple[str, int]:
        return color.get(), anyio.from_thread.run(value_of, 4)

    async def handler() -> tuple[str, int]:
        color.set("red")
        async with anyio.Lock():
            return await anyio.to_thread.run_sync(in_thread)

    assert run(handle(handler())) == ("red", 4)


def test_anyio_knows_the_handlers_task(run: RunHandler[Any]) -> None:
    async def handler() -> tuple[bool, bool]:
        mine = anyio.get_current_task()
        running = {task.id for task in anyio.get_running_tasks()}
        return mine.id == id(current()), mine.id in running

    assert run(handle(handler())) == (True, True)


def test_anyio_scopes_of_one_call_do_not_reach_the_next(run: RunHandler[Any]) -> None:
    identities = []

    async def handler() -> tuple[Any, Any]:
        # A scope that is left open by a call must not be the parent of the next call's scopes.
        identities.append(id(current()))
        scope = anyio.CancelScope()
        scope.__enter__()
        parent = scope._parent_scope  # type: ignore[attr-defined]
        scope.cancel()
        return parent, anyio.current_effective_deadline()

    async def main() -> list[tuple[Any, Any]]:
        driver = TaskDriver(asyncio.get_running_loop())
        for _ in range(20):
            await outside_tasks(driver.start, handler())
        assert len(driver.pool) == 0
        return [value for value, _ in driver.outcomes]

    outcomes = run(main())
    assert [parent for parent, _ in outcomes] == [None] * 20


# ---- aiohttp


def test_an_aiohttp_request_begun_in_the_first_step_is_answered(run: RunHandler[Any]) -> None:
    async def hello(request: web.Request) -> web.Response:
        if "slow" in request.query:
            await forever()
        return web.Response(text="hello")

    async def handler(port: int) -> str:
        timeout = aiohttp.ClientTimeout(total=LONG)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(f"http://127.0.0.1:{port}/") as response,
        ):
            return await response.text()

    async def impatient(port: int) -> None:
        timeout = aiohttp.ClientTimeout(total=0.05)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            await session.get(f"http://127.0.0.1:{port}/?slow")

    async def main() -> str:
        application = web.Application()
        application.router.add_get("/", hello)
        server = web.AppRunner(application, shutdown_timeout=0.01)
        await server.setup()
        try:
            await web.TCPSite(server, "127.0.0.1", 0).start()
            port = server.addresses[0][1]
            with pytest.raises(TimeoutError):
                await handle(impatient(port))
            return await handle(handler(port))
        finally:
            await server.cleanup()

    assert run(main()) == "hello"
