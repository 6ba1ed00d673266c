"""asyncio.Task as the oracle: the same program, run by either kind of task, is seen to do the same.

A program lists the steps of a handler, and the steps of other code on its task and its futures in the turns of the loop
between. Both record everything they can see.
"""

import asyncio
import re
from collections.abc import Callable, Coroutine, Generator
from typing import Any

import hypothesis
from hypothesis import strategies as st

from fastrpc_harness.driven_task import DrivenTask

FUTURES = 3
Instruction = tuple[str, Any]
Program = tuple[list[tuple[Instruction, bool]], list[list[Instruction]]]


class Yield:
    """An awaitable that hands one object to whoever steps the coroutine."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __await__(self) -> Generator[Any, Any, Any]:
        return (yield self.value)


class OtherFuture(asyncio.Future[Any]):
    """A future of another class than asyncio's own, which tasks treat differently."""


def described(error: BaseException | None) -> Any:
    # Messages name tasks and futures, whose looks differ by class and place.
    if error is None:
        return None
    text = re.sub(r"<(Driven)?Task .*|<(Other)?Future .*|<generator .*", "<...>", str(error))
    return type(error).__name__, text


class Run:
    """One run of a program by one kind of task."""

    def __init__(self, program: Program) -> None:
        self.instructions, self.turns = program
        self.loop = asyncio.new_event_loop()
        self.elsewhere = asyncio.new_event_loop()
        kinds = (asyncio.Future, OtherFuture, asyncio.Future)
        self.futures: list[asyncio.Future[Any]] = [kind(loop=self.loop) for kind in kinds]
        self.trace: list[Any] = []
        self.task: Any = None

    # ---- the steps of the handler

    async def handler(self) -> str:
        self.task = asyncio.current_task()
        for (name, argument), catches in self.instructions:
            try:
                self.note(name, await getattr(self, "handler_" + name)(argument))
            except BaseException as error:
                self.note(name, described(error))
                if not catches:
                    raise
        return "end"

    async def handler_wait(self, number: int) -> Any:
        return await self.futures[number]

    async def handler_shielded(self, number: int) -> Any:
        return await asyncio.shield(self.futures[number])

    async def handler_gather(self, number: int) -> Any:
        return await asyncio.gather(self.futures[number], asyncio.sleep(0, "slept"), return_exceptions=True)

    async def handler_sleep(self, _: Any) -> Any:
        return await asyncio.sleep(0, "slept")

    async def handler_timeout(self, number: int) -> Any:
        async with asyncio.timeout(0):
            return await asyncio.shield(self.futures[number])

    async def handler_group(self, number: int) -> Any:
        async with asyncio.TaskGroup() as group:
            child = group.create_task(asyncio.sleep(0, "child"))
            result = await asyncio.shield(self.futures[number])
        return child.result(), result

    async def handler_cancel(self, message: Any) -> Any:
        return self.task.cancel(message)

    async def handler_uncancel(self, _: Any) -> Any:
        return self.task.uncancel()

    async def handler_raise(self, error: type[BaseException]) -> Any:
        raise error("raised")

    async def handler_bad(self, kind: str) -> Any:
        awaited: dict[str, Callable[[], Any]] = {
            "number": lambda: Yield(3),
            "generator": lambda: Yield(number for number in range(3)),
            "not awaited": lambda: Yield(self.loop.create_future()),
            "foreign": self.elsewhere.create_future,
            "itself": lambda: self.task,
        }
        return await awaited[kind]()

    # ---- the steps of other code

    def other_set(self, number: int) -> None:
        if not self.futures[number].done():
            self.futures[number].set_result(f"value {number}")

    def other_fail(self, number: int) -> None:
        if not self.futures[number].done():
            self.futures[number].set_exception(ValueError("failed"))

    def other_cancel_future(self, number: int) -> Any:
        return self.futures[number].cancel("future")

    def other_cancel(self, message: Any) -> Any:
        return self.task.cancel(message)

    def other_uncancel(self, _: Any) -> Any:
        return self.task.uncancel()

    def other_callback(self, _: Any) -> Any:
        return self.task.add_done_callback(self.called)

    def other_result(self, _: Any) -> Any:
        try:
            return self.task.result()
        except BaseException as error:
            return described(error)

    def other_exception(self, _: Any) -> Any:
        try:
            return described(self.task.exception())
        except BaseException as error:
            return described(error)

    def called(self, task: Any) -> None:
        self.note("called", task is self.task)

    # ---- the run

    def note(self, name: str, seen: Any) -> None:
        task = self.task
        if isinstance(seen, list):
            seen = [described(item) if isinstance(item, BaseException) else item for item in seen]
        state = (task._state, task.done(), task.cancelled(), task.cancelling(), task._must_cancel)
        waits = task._fut_waiter is not None
        self.trace.append((name, seen, state, waits, asyncio.current_task(self.loop) is task))

    def turn(self) -> None:
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()

    def run(self, start: Callable[[asyncio.AbstractEventLoop, Coroutine[Any, Any, Any]], None]) -> list[Any]:
        start(self.loop, self.handler())
        self.turn()
        for actions in self.turns:
            for name, argument in actions:
                self.note(name, getattr(self, "other_" + name)(argument))
            self.turn()
        for _ in range(40):
            for number in range(FUTURES):
                self.other_set(number)
            self.turn()
        self.note("result", self.other_result(None))
        self.note("result again", self.other_result(None))
        for future in self.futures:
            future.cancelled() or future.exception()
        self.loop.close()
        self.elsewhere.close()
        return self.trace


numbers = st.integers(0, FUTURES - 1)
messages = st.sampled_from([None, "a", "b"])
steps = st.one_of(
    st.tuples(st.sampled_from(["wait", "shielded", "gather", "timeout", "group"]), numbers),
    st.tuples(st.sampled_from(["sleep", "uncancel"]), st.none()),
    st.tuples(st.just("cancel"), messages),
    st.tuples(st.just("raise"), st.sampled_from([ValueError, asyncio.CancelledError, GeneratorExit])),
    st.tuples(st.just("bad"), st.sampled_from(["number", "generator", "not awaited", "foreign", "itself"])),
)
actions = st.one_of(
    st.tuples(st.sampled_from(["set", "fail", "cancel_future"]), numbers),
    st.tuples(st.just("cancel"), messages),
    st.tuples(st.sampled_from(["uncancel", "callback", "result", "exception"]), st.none()),
)
programs = st.tuples(
    st.lists(st.tuples(steps, st.booleans()), max_size=6),
    st.lists(st.lists(actions, max_size=3), max_size=6),
)


def start_asyncio_task(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any]) -> None:
    loop.create_task(coroutine)


def start_handler_task(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any]) -> None:
    loop.call_soon(DrivenTask(loop).run_first_step, coroutine)


@hypothesis.given(programs)
@hypothesis.example(([(("cancel", "a"), True), (("wait", 0), True), (("sleep", None), False)], []))
@hypothesis.example(([(("cancel", "a"), True), (("uncancel", None), True), (("wait", 0), True)], []))
@hypothesis.example(([(("wait", 1), True)], [[("set", 1), ("cancel", "a")]]))
@hypothesis.example(([(("wait", 1), True)], [[("set", 1), ("cancel", "a"), ("uncancel", None)]]))
def test_a_handler_task_behaves_like_an_asyncio_task(program: Program) -> None:
    assert Run(program).run(start_handler_task) == Run(program).run(start_asyncio_task)
