"""The three kinds of handlers: `async def` on the loop, `def` in a thread, `def` inline."""

import asyncio
import threading
import weakref
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import fastrpc
from fastrpc import Admission, CallError, Client, OverloadedError, ServerConfig, Status, current_call
from fastrpc.testing import connected
from tests.support.served import served
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop


@fastrpc.service("tasks")
class Tasks:
    """Handlers that look at the task they run in."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    @fastrpc.method
    async def same(self) -> list[bool]:
        task = asyncio.current_task()
        assert task is not None
        reference = weakref.ref(task)
        was_listed = task in asyncio.all_tasks()
        await asyncio.sleep(0)
        return [
            asyncio.current_task() is task,
            reference() is task,
            was_listed,
            task in asyncio.all_tasks(),
            not task.done(),
        ]

    @fastrpc.method
    async def name(self, suspend: bool) -> str:
        if suspend:
            await asyncio.sleep(0)
        task = asyncio.current_task()
        assert task is not None
        return task.get_name()

    @fastrpc.method
    async def timed_out(self) -> str:
        try:
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()
        except TimeoutError:
            return "timed out"
        return "not timed out"

    @fastrpc.method
    async def grouped(self) -> list[int]:
        async def one(n: int) -> int:
            await asyncio.sleep(0)
            return n

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(n)) for n in range(3)]
        return [task.result() for task in tasks]

    @fastrpc.method
    async def anyio_scopes(self) -> list[bool]:
        with anyio.move_on_after(0.001) as scope:
            await anyio.sleep_forever()
        results: list[int] = []

        async def add(n: int) -> None:
            await anyio.lowlevel.checkpoint()
            results.append(n)

        async with anyio.create_task_group() as group:
            group.start_soon(add, 1)
            group.start_soon(add, 2)
        return [scope.cancelled_caught, sorted(results) == [1, 2]]

    @fastrpc.method
    async def order(self, n: int) -> None:
        self.seen.append(n)


@pytest.mark.parametrize("scheme", ["memory", "tcp"])
async def test_the_task_of_a_handler_is_the_same_from_first_step_to_last(scheme: str) -> None:
    async with served(Tasks, scheme=scheme) as target, Client(target) as client:
        for _ in range(3):
            assert await client.call(Tasks.same) == [True] * 5


async def test_the_task_is_named_after_method_and_call() -> None:
    async with connected(Tasks) as client:
        for suspend in (False, True):
            name = await client.call(Tasks.name, suspend)
            assert name.startswith("rpc:tasks.name#")
            assert name.removeprefix("rpc:tasks.name#").isdecimal()


async def test_timeouts_and_groups_work_before_the_first_suspension() -> None:
    async with connected(Tasks) as client:
        assert await client.call(Tasks.timed_out) == "timed out"
        assert await client.call(Tasks.grouped) == [0, 1, 2]
        assert await client.call(Tasks.anyio_scopes) == [True, True]


async def test_handlers_start_in_the_order_of_their_requests() -> None:
    tasks = Tasks()
    async with connected(tasks) as client:
        await client.call_many(Tasks.order, [(n,) for n in range(200)])
        assert tasks.seen == list(range(200))


async def test_an_async_handler_starts_in_the_turn_its_request_arrives() -> None:
    """An inline handler of the same read runs after it: no task waits for a later turn in between."""

    @fastrpc.service("turns")
    class Turns:
        def __init__(self) -> None:
            self.log: list[str] = []

        @fastrpc.method
        async def start(self, name: str) -> None:
            self.log.append(name)

        @fastrpc.method(inline=True)
        def run(self, name: str) -> None:
            self.log.append(name)

    turns = Turns()
    async with connected(turns) as client:
        calls = [client.call(Turns.start, "a"), client.call(Turns.run, "b"), client.call(Turns.start, "c")]
        await asyncio.gather(*calls)
        assert turns.log == ["a", "b", "c"]


@fastrpc.service("threads")
class Threads:
    def __init__(self, parties: int = 1) -> None:
        self.barrier = threading.Barrier(parties)
        self.release = threading.Event()
        self.started: list[int] = []
        self.inside = threading.Semaphore(0)

    @fastrpc.method
    def ident(self) -> int:
        return threading.get_ident()

    @fastrpc.method(inline=True)
    def inline_ident(self) -> int:
        return threading.get_ident()

    @fastrpc.method(inline=True)
    def inline_error(self, kind: str) -> int:
        if kind == "cancelled":
            raise asyncio.CancelledError
        raise CallError(Status.ABORTED, "inline") if kind == "call" else ValueError("inline")

    @fastrpc.method
    def meet(self) -> int:
        return self.barrier.wait(20)

    @fastrpc.method
    def wait(self, number: int) -> int:
        self.started.append(number)
        self.inside.release()
        assert self.release.wait(20)
        return number

    @fastrpc.method
    def error(self, kind: str) -> None:
        if kind == "stop":
            raise StopIteration(5)
        raise CallError(Status.ABORTED, "thread") if kind == "call" else ValueError("thread")

    @fastrpc.method
    def is_cancelled(self) -> bool:
        self.inside.release()
        assert self.release.wait(20)
        self.started.append(1 if current_call().cancelled else 0)
        return True


async def test_def_handlers_run_in_other_threads_and_inline_ones_on_the_loop() -> None:
    async with connected(Threads) as client:
        assert await client.call(Threads.ident) != threading.get_ident()
        assert await client.call(Threads.inline_ident) == threading.get_ident()


async def test_def_handlers_run_concurrently() -> None:
    async with connected(Threads(parties=8)) as client:
        assert sorted(await client.call_many(Threads.meet, [()] * 8)) == list(range(8))


async def test_the_loop_continues_while_a_def_handler_blocks() -> None:
    threads = Threads()
    async with connected(threads) as client:
        waiting = asyncio.ensure_future(client.call(Threads.wait, 1))
        await eventually(lambda: threads.started)
        assert await client.call(Threads.inline_ident) == threading.get_ident()
        threads.release.set()
        assert await waiting == 1


async def test_no_more_def_handlers_run_than_there_are_threads() -> None:
    threads = Threads()
    config = ServerConfig(admission=Admission(handler_threads=2))
    async with connected(threads, config=config) as client:
        waiting = asyncio.ensure_future(client.call_many(Threads.wait, [(n,) for n in range(6)]))
        await eventually(lambda: len(threads.started) == 2)
        await client.call(Threads.inline_ident)
        assert len(threads.started) == 2
        threads.release.set()
        assert await waiting == list(range(6))


async def test_a_def_handler_that_finds_the_queue_full_is_refused_unstarted() -> None:
    threads = Threads()
    config = ServerConfig(admission=Admission(handler_threads=1, queue_length=2))
    async with connected(threads, config=config) as client:
        waiting = asyncio.ensure_future(
            client.call_many(Threads.wait, [(n,) for n in range(10)], return_exceptions=True)
        )
        # Refused calls are retried until no retry is allowed; none of them starts a handler.
        await eventually(lambda: threads.started)
        with pytest.raises(OverloadedError, match=r"threads\.wait.*queue") as refused:
            await client.call(Threads.wait, 99)
        assert (refused.value.processed, refused.value.retryable) == ("no", True)
        threads.release.set()
        answers = await waiting
        assert 99 not in threads.started
        assert len([answer for answer in answers if isinstance(answer, int)]) == len(threads.started)


async def test_a_call_cancelled_in_the_queue_never_starts() -> None:
    threads = Threads()
    config = ServerConfig(admission=Admission(handler_threads=1))
    async with connected(threads, config=config) as client:
        first = asyncio.ensure_future(client.call(Threads.wait, 1))
        await eventually(lambda: threads.started)
        second = asyncio.ensure_future(client.call(Threads.wait, 2))
        await client.call(Threads.inline_ident)
        second.cancel()
        await asyncio.wait([second])
        await client.call(Threads.inline_ident)
        threads.release.set()
        assert await first == 1
        await eventually(lambda: client.stats()["live"]["calls"] == 0)
        assert threads.started == [1]


async def test_a_running_thread_can_ask_whether_it_was_cancelled() -> None:
    threads = Threads()
    async with connected(threads) as client:
        call = asyncio.ensure_future(client.call(Threads.is_cancelled))
        await eventually(lambda: threads.inside.acquire(blocking=False))
        call.cancel()
        await asyncio.wait([call])
        await client.call(Threads.inline_ident)
        threads.release.set()
        await eventually(lambda: threads.started)
        assert threads.started == [1]


@pytest.mark.parametrize("method", [Threads.error, Threads.inline_error])
async def test_errors_of_def_handlers_reach_the_caller(method: Any) -> None:
    async with connected(Threads) as client:
        with pytest.raises(CallError, match=r"thread|inline") as refused:
            await client.call(method, "call")
        assert refused.value.status is Status.ABORTED
        with pytest.raises(CallError) as crashed:
            await client.call(method, "value")
        assert crashed.value.status is Status.INTERNAL


async def test_odd_errors_of_def_handlers_are_errors_too() -> None:
    async def through(call: fastrpc.Call, proceed: fastrpc.Proceed) -> Any:
        return await proceed(call)

    for interceptors in ((), (through,)):
        async with connected(Threads, interceptors=interceptors) as client:
            with pytest.raises(CallError) as crashed:
                await client.call(Threads.error, "stop")
            assert crashed.value.status is Status.INTERNAL
            with pytest.raises(CallError) as cancelled:
                await client.call(Threads.inline_error, "cancelled")
            assert cancelled.value.status is Status.INTERNAL
            assert await client.call(Threads.inline_ident) == threading.get_ident()


async def test_functions_of_every_kind_of_class_serve() -> None:
    class Base:
        @fastrpc.method
        async def one(self) -> int:
            return 1

    @fastrpc.service("derived")
    class Derived(Base):
        @fastrpc.method
        def two(self) -> int:
            return 2

    @fastrpc.service("other")
    class Other(Derived):
        @fastrpc.method(inline=True)
        def three(self) -> int:
            return 3

    async with connected(Derived, Other) as client:
        assert await client.call(Derived.one) == 1
        assert [await client.call(f"other.{name}") for name in ("one", "two", "three")] == [1, 2, 3]
