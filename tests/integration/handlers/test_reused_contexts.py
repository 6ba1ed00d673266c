"""Handlers that end at once run in one context, one after the other: nothing of a call is seen by another one."""

import asyncio
import contextvars
import inspect
import threading
import weakref
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import fastrpc
from fastrpc import CallError, current_call
from fastrpc.testing import connected
from tests.support.http_talk import HttpClient

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
# So many that the variables of a context are a trie of several levels.
others: list[contextvars.ContextVar[int]] = [contextvars.ContextVar(f"other{number}") for number in range(40)]

# Objects that outlive a call, with that call: everything that runs in the context still belongs to the call.
left: list[tuple[contextvars.Context, Any]] = []
kept: list[Any] = []
first, second = "first", "second"


def remember(context: contextvars.Context) -> None:
    left.append((context, current_call()))


def sets_once() -> None:
    variable.set(first)


def sets_twice() -> None:
    # The second set makes new variables, which like to lie where the first ones were.
    variable.set(first)
    variable.set(second)


def sets_often() -> None:
    for value in [first, second] * 5:
        variable.set(value)


def resets() -> None:
    variable.reset(variable.set(first))


def keeps_a_token() -> None:
    kept.append(variable.set(first))


def keeps_a_copy() -> None:
    remember(contextvars.copy_context())


def keeps_changed_copies() -> None:
    for other in others:
        context = contextvars.copy_context()
        context.run(other.set, -1)
        remember(context)


def keeps_its_own_context() -> None:
    task: Any = asyncio.current_task()
    remember(task.get_context())


def keeps_its_variables() -> None:
    kept.append(iter(contextvars.copy_context().items()))


def schedules_a_callback() -> None:
    call = current_call()
    loop = asyncio.get_running_loop()
    loop.call_soon(lambda: left.append((contextvars.copy_context(), call)))
    kept.append(loop.call_later(60, kept.clear))


def leaves_a_task() -> None:
    call = current_call()

    async def child() -> None:
        variable.set(first)
        left.append((contextvars.copy_context(), call))
        await asyncio.get_running_loop().create_future()

    kept.append(asyncio.create_task(child()))


def leaves_a_thread() -> None:
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(others[0].set, -1))
    thread.start()
    thread.join()
    remember(context)


def opens_a_timeout() -> None:
    kept.append(fastrpc.timeout(60).__enter__())


async def numbers() -> AsyncIterator[int]:
    variable.set(first)
    yield 1
    yield 2


async def leaves_a_generator() -> None:
    generator = numbers()
    kept.append(generator)
    await anext(generator)


async def suspends() -> None:
    variable.set(first)
    remember(contextvars.copy_context())
    await asyncio.sleep(0)
    remember(contextvars.copy_context())


async def uses_a_thread() -> None:
    await asyncio.to_thread(sets_once)
    await asyncio.to_thread(keeps_changed_copies)


def raises() -> None:
    variable.set(first)
    variable.set(second)
    raise CallError(fastrpc.Status.ABORTED, "as it should")


async def is_cancelled() -> None:
    variable.set(first)
    remember(contextvars.copy_context())
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


ACTIONS: dict[str, Callable[[], Any]] = {
    action.__name__: action
    for action in (
        sets_once,
        sets_twice,
        sets_often,
        resets,
        keeps_a_token,
        keeps_a_copy,
        keeps_changed_copies,
        keeps_its_own_context,
        keeps_its_variables,
        schedules_a_callback,
        leaves_a_task,
        leaves_a_thread,
        opens_a_timeout,
        leaves_a_generator,
        suspends,
        uses_a_thread,
        raises,
        is_cancelled,
    )
}


@fastrpc.service("contexts")
class Contexts:
    @fastrpc.method(inline=True)
    def act_inline(self, name: str) -> None:
        ACTIONS[name]()

    @fastrpc.method(inline=True)
    def look_inline(self) -> list[Any]:
        call = current_call()
        return [variable.get(), call.method, call is current_call(), []]

    @fastrpc.method
    def look_in_thread(self) -> str:
        return variable.get()

    @fastrpc.method
    async def act(self, name: str) -> None:
        done = ACTIONS[name]()
        if done is not None:
            await done

    @fastrpc.method
    async def look(self) -> list[Any]:
        call = current_call()
        strangers = [one.method for context, one in left if context.run(current_call) is not one]
        return [variable.get(), call.method, call is current_call(), strangers]


@pytest.fixture(params=[0, 17, 40])
def surroundings(request: pytest.FixtureRequest) -> contextvars.Context:
    """A context with the given number of variables."""
    context = contextvars.copy_context()
    for other in others[: request.param]:
        context.run(other.set, 1)
    return context


def run_in(context: contextvars.Context, main: Callable[[], Any]) -> None:
    left.clear()
    kept.clear()
    try:
        context.run(asyncio.run, main())
    finally:
        left.clear()
        kept.clear()


SEEN = ["unset", "contexts.look", True, []]


@pytest.mark.parametrize("name", ACTIONS)
def test_next_call_sees_nothing_of_the_call_before_it(name: str, surroundings: contextvars.Context) -> None:
    async def main() -> None:
        async with connected(Contexts()) as client:
            assert await client.call(Contexts.look) == SEEN
            for _ in range(5):
                await asyncio.gather(client.call(Contexts.act, name), return_exceptions=True)
                assert await client.call(Contexts.look) == SEEN

    run_in(surroundings, main)


@pytest.mark.parametrize("name", ACTIONS)
def test_calls_of_one_read_see_nothing_of_each_other(name: str, surroundings: contextvars.Context) -> None:
    async def main() -> None:
        async with connected(Contexts()) as client:
            await client.call(Contexts.look)
            calls: list[Any] = []
            for _ in range(5):
                calls += [client.call(Contexts.look), client.call(Contexts.act, name)]
            calls.append(client.call(Contexts.look))
            results = await asyncio.gather(*calls, return_exceptions=True)
            assert results[::2] == [SEEN] * 6

    run_in(surroundings, main)


INLINE = [name for name, action in ACTIONS.items() if not inspect.iscoroutinefunction(action)]


@pytest.mark.parametrize("name", sorted(set(INLINE) - {"keeps_its_own_context"}))
def test_call_of_any_kind_sees_nothing_of_an_inline_handler(
    name: str, surroundings: contextvars.Context
) -> None:
    async def main() -> None:
        async with connected(Contexts()) as client:
            for _ in range(3):
                await asyncio.gather(client.call(Contexts.act_inline, name), return_exceptions=True)
                assert await client.call(Contexts.look) == SEEN
                assert await client.call(Contexts.look_inline) == ["unset", "contexts.look_inline", True, []]
                assert await client.call(Contexts.look_in_thread) == "unset"
            acts = [client.call(Contexts.act_inline, name) for _ in range(3)]
            looks = [client.call(Contexts.look) for _ in range(3)]
            calls = [call for pair in zip(acts, looks, strict=True) for call in pair]
            results = await asyncio.gather(*calls, return_exceptions=True)
            assert results[1::2] == [SEEN] * 3

    run_in(surroundings, main)


async def test_http_request_sees_nothing_of_an_earlier_inline_handler() -> None:
    config = fastrpc.ServerConfig(protocols=("http",))
    async with fastrpc.Server(Contexts(), config=config) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        async with await HttpClient.to(address) as http:
            for _ in range(2):
                await http.post("/contexts/act_inline", {"name": "sets_once"})
                for look in ("look", "look_inline"):
                    answer = await http.post(f"/contexts/{look}", {})
                    assert answer.value == ["unset", f"contexts.{look}", True, []]


def test_context_that_nobody_saw_is_used_again(surroundings: contextvars.Context) -> None:
    seen: list[contextvars.Context] = []
    references: list[weakref.ref[contextvars.Context]] = []

    def notes_its_context() -> None:
        task: Any = asyncio.current_task()
        references.append(weakref.ref(task.get_context()))

    async def main() -> None:
        async with connected(Contexts()) as client:
            for _ in range(3):
                await client.call(Contexts.act, "notes_its_context")
        seen.extend(context for reference in references if (context := reference()) is not None)

    ACTIONS["notes_its_context"] = notes_its_context
    try:
        run_in(surroundings, main)
    finally:
        del ACTIONS["notes_its_context"]
    assert len(seen) == 3
    assert seen[0] is seen[1] is seen[2]
