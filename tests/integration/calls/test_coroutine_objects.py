"""A call is a coroutine object: Python and asyncio treat it like other coroutine objects."""

import asyncio
import collections.abc
import gc
import inspect
import sys
import warnings
from collections.abc import Callable, Coroutine, Generator
from typing import Any

import anyio
import pytest

import fastrpc
from fastrpc import Client
from fastrpc.testing import connected
from tests.support.served import served
from tests.support.waiting import eventually


@fastrpc.service("arith")
class Arith:
    def __init__(self) -> None:
        self.calls = 0

    @fastrpc.method
    async def mul(self, a: int, b: int) -> int:
        self.calls += 1
        return a * b

    @fastrpc.method
    async def later(self, a: int) -> int:
        self.calls += 1
        await asyncio.sleep(0)
        return a


async def test_a_call_is_a_coroutine_to_python_and_asyncio() -> None:
    async with connected(Arith) as client:
        call = client.call(Arith.mul, 6, 7)
        assert isinstance(call, collections.abc.Coroutine)
        assert asyncio.iscoroutine(call)
        assert inspect.isawaitable(call)
        assert "arith.mul" in call.__qualname__  # type: ignore[attr-defined]
        assert await call == 42


async def test_nothing_is_sent_before_the_first_await() -> None:
    arith = Arith()
    async with connected(arith) as client:
        call = client.call(Arith.mul, 6, 7)
        assert await client.call(Arith.mul, 1, 1) == 1
        assert arith.calls == 1
        assert await call == 42
        assert arith.calls == 2


@pytest.mark.parametrize("verb", ["call", "request", "notify", "call_many"])
async def test_a_call_that_is_never_awaited_warns(verb: str) -> None:
    async with connected(Arith) as client:
        arguments: tuple[Any, ...] = ([(1, 2)],) if verb == "call_many" else (1, 2)
        with pytest.warns(RuntimeWarning, match=r"arith\.mul.*never awaited"):
            getattr(client, verb)(Arith.mul, *arguments)
            gc.collect()


VERBS: dict[str, tuple[Any, ...]] = {
    "call": (1, 2),
    "request": (1, 2),
    "notify": (1, 2),
    "call_many": ([(1, 2)],),
}
OPERATIONS: dict[str, Callable[[Any], Any]] = {
    "+": lambda call: call + 1,
    "1 +": lambda call: 1 + call,
    "text +": lambda call: "a" + call,
    "list +": lambda call: [1] + call,  # noqa: RUF005
    "-": lambda call: call - 1,
    "*": lambda call: 2 * call,
    "/": lambda call: call / 2,
    "//": lambda call: call // 2,
    "%": lambda call: call % 2,
    "divmod": lambda call: divmod(call, 2),
    "**": lambda call: 2**call,
    "pow": lambda call: pow(call, 2, 5),
    "<<": lambda call: 1 << call,
    ">>": lambda call: call >> 1,
    "&": lambda call: call & 1,
    "|": lambda call: call | {},
    "^": lambda call: call ^ 1,
    "@": lambda call: call @ 1,
    "negative": lambda call: -call,
    "positive": lambda call: +call,
    "~": lambda call: ~call,
    "abs": abs,
    "int": int,
    "float": float,
    "an index": lambda call: "abc"[call],
    "an item": lambda call: call[0],
    "a slice": lambda call: call[1:],
    "len": len,
    "in": lambda call: 1 in call,
    "<": lambda call: call < 1,
    ">=": lambda call: call <= 1,
    "sorted": lambda call: sorted([1, call]),
    "sum": lambda call: sum([call, call]),
}


@pytest.mark.filterwarnings("ignore:coroutine.*never awaited")
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("verb", VERBS)
async def test_an_operation_on_a_call_without_await_names_the_call(verb: str, operation: str) -> None:
    async with connected(Arith) as client:
        with pytest.raises(
            TypeError, match=rf"Client\.{verb}\(arith\.mul\) was not awaited: write \(await \.\.\.\)"
        ):
            OPERATIONS[operation](getattr(client, verb)(Arith.mul, *VERBS[verb]))


@pytest.mark.filterwarnings("ignore:coroutine.*never awaited")
async def test_sets_comparisons_and_conditions_take_a_call_without_await() -> None:
    async with connected(Arith) as client:
        call: Any = client.call(Arith.mul, 6, 7)
        other: Any = client.call(Arith.mul, 6, 7)
        assert call
        assert call == call
        assert call != other
        assert not call == 42  # noqa: SIM201
        assert len({call, other, call}) == 2
        assert await call == 42


async def test_an_interceptor_that_does_not_await_proceed_is_told_so() -> None:
    async def hasty(call: Any, proceed: Any) -> Any:
        with pytest.raises(TypeError, match=r"proceed\(arith\.mul\) was not awaited"):
            proceed(call) + 1
        with pytest.raises(TypeError, match="unsupported operand"):
            call + 1
        with pytest.raises(AttributeError, match="object has no attribute 'name'"):
            call.name  # noqa: B018
        return await proceed(call)

    async with connected(Arith, interceptors=[hasty]) as client:
        assert await client.call(Arith.mul, 6, 7) == 42


async def test_a_call_that_is_closed_unused_does_not_warn() -> None:
    async with connected(Arith) as client:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            call = client.call(Arith.mul, 1, 2)
            call.close()
            del call
            gc.collect()


@pytest.mark.parametrize("verb", ["call", "request", "notify", "call_many"])
async def test_a_call_cannot_be_awaited_twice(verb: str) -> None:
    async with connected(Arith) as client:
        arguments: tuple[Any, ...] = ([(1, 2)],) if verb == "call_many" else (1, 2)
        call = getattr(client, verb)(Arith.mul, *arguments)
        await call
        with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
            await call


async def test_a_call_cannot_be_awaited_by_two_tasks_at_once() -> None:
    async with connected(Arith) as client:
        await client.ready()
        call = client.call(Arith.later, 5)
        first, second = asyncio.ensure_future(call), asyncio.ensure_future(call)
        results = await asyncio.gather(first, second, return_exceptions=True)
        assert sorted(map(str, results)) == ["5", "await wasn't used with future"]


async def test_tasks_and_groups_take_calls() -> None:
    async with connected(Arith) as client:
        task = asyncio.create_task(client.call(Arith.mul, 2, 3))
        assert await task == 6
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(client.call(Arith.later, n)) for n in range(10)]
        assert [task.result() for task in tasks] == list(range(10))


async def test_gather_wait_and_shield_take_calls() -> None:
    async with connected(Arith) as client:
        assert await asyncio.gather(*(client.call(Arith.mul, n, 2) for n in range(5))) == [0, 2, 4, 6, 8]
        task = asyncio.ensure_future(client.call(Arith.later, 1))
        assert await asyncio.wait({task}) == ({task}, set())
        assert await asyncio.shield(client.call(Arith.mul, 1, 2)) == 2
        async with asyncio.timeout(5):
            assert await client.call(Arith.mul, 2, 2) == 4


async def test_anyio_task_groups_take_the_verbs() -> None:
    arith = Arith()
    async with connected(arith) as client, anyio.create_task_group() as group:
        for n in range(5):
            group.start_soon(client.call, Arith.later, n)
    assert arith.calls == 5


async def test_a_call_can_be_driven_by_send() -> None:
    async with connected(Arith) as client:
        await client.ready()
        call = client.call(Arith.mul, 6, 7)
        future = call.send(None)
        assert asyncio.isfuture(future)
        assert call.cr_await is future  # type: ignore[attr-defined]
        future._asyncio_future_blocking = False
        await asyncio.wait([future])
        with pytest.raises(StopIteration) as end:
            call.send(None)
        assert end.value.value == 42


async def test_the_first_step_takes_no_value() -> None:
    async with connected(Arith) as client:
        call = client.call(Arith.mul, 6, 7)
        with pytest.raises(TypeError, match="just-started coroutine"):
            call.send(1)
        assert await call == 42


async def test_an_exception_thrown_in_comes_out_and_ends_the_call() -> None:
    async with connected(Arith) as client:
        await client.ready()
        fresh = client.call(Arith.mul, 1, 1)
        with pytest.raises(KeyError):
            fresh.throw(KeyError("x"))
        waiting = client.call(Arith.later, 1)
        waiting.send(None)
        with pytest.raises(KeyError):
            waiting.throw(KeyError("x"))
        with pytest.raises(RuntimeError):
            waiting.send(None)
        closed = client.call(Arith.later, 1)
        closed.send(None)
        closed.close()
        closed.close()
        assert await client.call(Arith.mul, 1, 1) == 1
        await eventually(lambda: client.stats()["live"]["calls"] == 0)


async def test_awaiting_inside_other_awaitables_works() -> None:
    class Wrapped:
        def __init__(self, call: Coroutine[Any, Any, int]) -> None:
            self.call = call

        def __await__(self) -> Generator[Any, Any, int]:
            return (yield from self.call.__await__())

    async def twice(client: Client) -> int:
        return await client.call(Arith.mul, 2, 3) + await Wrapped(client.call(Arith.later, 4))

    async with connected(Arith) as client:
        assert await twice(client) == 10


async def test_a_unary_call_makes_no_task_on_either_side() -> None:
    made: list[str] = []

    def factory(
        loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **options: Any
    ) -> asyncio.Task[Any]:
        made.append(getattr(coroutine, "__qualname__", repr(coroutine)))
        return asyncio.Task(coroutine, loop=loop, **options)

    for scheme in ("memory", "tcp"):
        async with served(Arith, scheme=scheme) as target, Client(target) as client:
            await client.ready()
            asyncio.get_running_loop().set_task_factory(factory)  # type: ignore[arg-type]
            for n in range(50):
                assert await client.call(Arith.mul, n, 2) == 2 * n
                assert await client.call(Arith.later, n) == n
                assert (await client.request(Arith.later, n)).value == n
                await client.notify(Arith.later, n)
                assert await client.call_many(Arith.later, [(n,), (n,)]) == [n, n]
            asyncio.get_running_loop().set_task_factory(None)
        assert made == []


def loop_with_eager_tasks() -> asyncio.AbstractEventLoop:
    """Return the running loop; skip where it cannot make eager tasks."""
    loop = asyncio.get_running_loop()
    # uvloop hands the factory of CPython an argument that some versions of 3.13 do not take.
    taken = inspect.signature(asyncio.eager_task_factory).parameters  # type: ignore[attr-defined, unused-ignore]
    if type(loop).__module__ == "uvloop" and sys.version_info >= (3, 13) and "eager_start" not in taken:
        if not any(one.kind is one.VAR_KEYWORD for one in taken.values()):
            pytest.skip("this CPython has no eager tasks for uvloop")
    return loop


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
async def test_eager_tasks_take_calls() -> None:
    loop = loop_with_eager_tasks()
    async with connected(Arith) as client:
        await client.ready()
        loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined, unused-ignore]
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(client.call(Arith.later, n)) for n in range(10)]
            assert [task.result() for task in tasks] == list(range(10))
            assert await asyncio.gather(*(client.call(Arith.mul, n, 2) for n in range(5))) == [0, 2, 4, 6, 8]
            task = asyncio.create_task(client.call(Arith.later, 1))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        finally:
            loop.set_task_factory(None)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
async def test_a_whole_client_and_server_live_under_eager_tasks() -> None:
    loop = loop_with_eager_tasks()
    loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined, unused-ignore]
    try:
        for scheme in ("memory", "tcp"):
            async with served(Arith, scheme=scheme) as target, Client(target) as client:
                assert await client.call(Arith.mul, 6, 7) == 42
                assert await asyncio.gather(*(client.call(Arith.later, n) for n in range(5))) == [
                    0,
                    1,
                    2,
                    3,
                    4,
                ]
    finally:
        loop.set_task_factory(None)
