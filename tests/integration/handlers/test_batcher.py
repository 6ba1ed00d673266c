"""`fastrpc.Batcher`: callers that wait in one turn are served by one run, and each gets the result of its item."""

import asyncio
import functools
import threading
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

import fastrpc
from fastrpc.config import ClientConfig, Timeouts
from fastrpc.errors import CallError, ConfigError, copied_error
from fastrpc.status import Status
from tests.support.batching import Doubling, all_of, is_idle
from tests.support.waiting import eventually

# Batches


async def test_items_of_one_turn_form_a_batch_in_their_order() -> None:
    doubling = Doubling()
    assert await all_of(fastrpc.Batcher(doubling.run), range(5)) == [0, 2, 4, 6, 8]
    assert doubling.batches == [[0, 1, 2, 3, 4]]


async def test_full_batch_starts_at_once() -> None:
    doubling = Doubling()
    batcher = fastrpc.Batcher(doubling.run, size=2, wait=1_000)
    async with asyncio.timeout(20):
        assert await all_of(batcher, [1, 2]) == [2, 4]
    assert is_idle(batcher)


async def test_items_within_the_wait_form_a_batch() -> None:
    doubling = Doubling()
    batcher = fastrpc.Batcher(doubling.run, wait=1.0)
    first = asyncio.create_task(batcher(1))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert doubling.batches == []
    assert await all_of(batcher, [2, 3]) == [4, 6]
    assert await first == 2
    assert doubling.batches == [[1, 2, 3]]


async def test_items_that_come_during_a_run_are_the_next_batches() -> None:
    doubling = Doubling(is_open=False)
    batcher = fastrpc.Batcher(doubling.run, size=3)
    first = asyncio.create_task(batcher(0))
    await eventually(lambda: doubling.batches)
    rest = asyncio.create_task(all_of(batcher, [1, 2, 3, 4]))
    await eventually(lambda: len(batcher._lines[None]._waiting) == 4)
    assert doubling.batches == [[0]]
    doubling.gate.set()
    assert await rest == [2, 4, 6, 8]
    assert await first == 0
    assert doubling.batches == [[0], [1, 2, 3], [4]]


async def test_keys_have_separate_batches_that_run_at_the_same_time() -> None:
    doubling = Doubling(is_open=False)
    batcher = fastrpc.Batcher(doubling.run, key=lambda item: item % 2)
    calls = asyncio.create_task(all_of(batcher, range(6)))
    await eventually(lambda: len(doubling.batches) == 2)
    doubling.gate.set()
    assert await calls == [0, 2, 4, 6, 8, 10]
    assert doubling.batches == [[0, 2, 4], [1, 3, 5]]
    assert is_idle(batcher)


async def test_plain_function_runs_in_a_thread() -> None:
    threads: set[int] = set()

    def run(items: list[int]) -> list[int]:
        threads.add(threading.get_ident())
        return [2 * item for item in items]

    assert await all_of(fastrpc.Batcher(run), range(3)) == [0, 2, 4]
    assert threads
    assert threading.get_ident() not in threads


@pytest.mark.parametrize("kind", ["partial", "method", "object"])
async def test_every_kind_of_coroutine_function_runs_on_the_loop(kind: str) -> None:
    threads: set[int] = set()

    async def run(factor: int, items: list[int]) -> list[int]:
        threads.add(threading.get_ident())
        return [factor * item for item in items]

    class Model:
        async def run(self, items: list[int]) -> list[int]:
            return await run(2, items)

        async def __call__(self, items: list[int]) -> list[int]:
            return await run(2, items)

    runs: dict[str, Callable[[list[int]], Awaitable[list[int]]]] = {
        "partial": functools.partial(run, 2),
        "method": Model().run,
        "object": Model(),
    }
    assert await all_of(fastrpc.Batcher(runs[kind]), [1]) == [2]
    assert threads == {threading.get_ident()}


# Errors


async def test_an_exception_among_the_results_is_raised_for_its_caller() -> None:
    one, negative, two = await all_of(fastrpc.Batcher(Doubling().run), [1, -1, 2])
    assert (one, two) == (2, 4)
    assert isinstance(negative, ValueError)
    assert str(negative) == "-1 is negative"


async def test_a_cancellation_among_the_results_is_an_error_of_its_caller() -> None:
    async def doubled(item: int) -> int:
        if item < 0:
            raise asyncio.CancelledError
        return item * 2

    async def run(items: list[int]) -> Any:
        return await asyncio.gather(*map(doubled, items), return_exceptions=True)

    one, cancelled = await all_of(fastrpc.Batcher(run), [1, -1])
    assert one == 2
    assert isinstance(cancelled, CallError)
    assert cancelled.message == "the run of a batch gave CancelledError as the result of this item"


async def test_a_plain_function_may_return_a_coroutine() -> None:
    run = Doubling().run
    assert await all_of(fastrpc.Batcher(lambda items: run(items)), [1, 2]) == [2, 4]


class RefusedError(Exception):
    def __init__(self, name: str, *, code: int) -> None:
        super().__init__(f"{name} is refused")
        self.code = code


@pytest.mark.parametrize(
    "error",
    [
        ValueError("wrong"),
        RefusedError("a", code=7),
        CallError(Status.NOT_FOUND, "no such item", details=[1]),
        FileNotFoundError(2, "No such file", "/a"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        ExceptionGroup("several", [ValueError("a"), KeyError("b")]),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_an_error_of_a_batch_is_raised_for_each_caller_as_a_separate_object(error: Exception) -> None:
    async def run(items: list[int]) -> list[int]:
        raise error from LookupError("cause")

    raised = await all_of(fastrpc.Batcher(run), range(3))
    assert len({id(one) for one in raised}) == 3
    for one in raised:
        assert isinstance(one, type(error))
        assert (str(one), one.args) == (str(error), error.args)
        assert vars(one) == vars(error)
        assert isinstance(one.__cause__, LookupError)
        assert one.__traceback__ is not None
    assert getattr(raised[2], "filename", None) == getattr(error, "filename", None)


def test_an_error_that_cannot_be_copied_is_raised_itself() -> None:
    class UncopiedError(Exception):
        def __new__(cls, text: str, *, code: int) -> "UncopiedError":
            return super().__new__(cls, text)

        def __init__(self, text: str, *, code: int) -> None:
            super().__init__(text)

    error = UncopiedError("a", code=1)
    assert copied_error(error) is error


@pytest.mark.parametrize(
    ("results", "text"),
    [
        ([1], "returned 1 results"),
        ([1, 2, 3], "returned 3 results"),
        (None, "returned a NoneType, not a sequence of results"),
        ({1: 2, 3: 4}, "returned a dict, not a sequence of results"),
        ("ab", "returned a str, not a sequence of results"),
        (iter([1, 2]), "returned a list_iterator, not a sequence of results"),
    ],
)
async def test_anything_but_a_result_for_each_item_is_internal_for_all(results: object, text: str) -> None:
    async def run(items: list[int]) -> list[int]:
        return cast("list[int]", results)

    for one in await all_of(fastrpc.Batcher(run), range(2)):
        assert isinstance(one, CallError)
        assert (one.status, one.message) == (Status.INTERNAL, f"the run of a batch of 2 items {text}")


async def test_batch_that_cancels_itself_is_internal() -> None:
    async def run(items: list[int]) -> list[int]:
        raise asyncio.CancelledError

    with pytest.raises(CallError, match="a batch of 1 items was ended by CancelledError") as caught:
        await fastrpc.Batcher(run)(1)
    assert caught.value.status is Status.INTERNAL


async def test_stop_iteration_of_a_thread_is_a_runtime_error() -> None:
    def run(items: list[int]) -> list[int]:
        raise StopIteration

    async with asyncio.timeout(20):
        with pytest.raises(RuntimeError, match="run raised StopIteration"):
            await fastrpc.Batcher(run)(1)


async def test_an_error_of_a_key_is_the_fault_of_its_caller() -> None:
    batcher = fastrpc.Batcher(Doubling().run, key=lambda item: 1 // item)
    zero, one = await all_of(batcher, [0, 1])
    assert isinstance(zero, ZeroDivisionError)
    assert one == 2


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"size": 0}, r"Batcher.size is 0, it must be a whole number from 1 "),
        ({"wait": -1}, r"Batcher.wait is -1, it must be a number from 0 "),
        ({"wait": float("nan")}, r"Batcher.wait is nan"),
        ({"run": None}, r"Batcher.run is None, it must be a function"),
        ({"key": 5}, r"Batcher.key is 5, it must be a function"),
    ],
)
@pytest.mark.one_loop
async def test_wrong_arguments_are_refused(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        fastrpc.Batcher(**{"run": Doubling().run, **arguments})


# The call that a batch belongs to


async def test_run_has_no_current_call_and_no_values_of_its_callers() -> None:
    found: list[object] = []

    @fastrpc.service("model")
    class Model:
        def __init__(self) -> None:
            self._double = fastrpc.Batcher(self._run)

        @fastrpc.method
        async def double(self, item: int) -> int:
            fastrpc.current_call()
            return await self._double(item)

        async def _run(self, items: list[int]) -> list[int]:
            try:
                found.append(fastrpc.current_call())
            except LookupError as error:
                found.append(str(error))
            return [2 * item for item in items]

    async with (
        fastrpc.Server(Model) as server,
        fastrpc.Client(str(await server.listen("memory://m"))) as client,
    ):
        assert await asyncio.gather(*(client.call(Model.double, item) for item in range(8))) == list(
            range(0, 16, 2)
        )
    assert found
    assert {str(one).partition(";")[0] for one in found} == {
        "current_call() works inside a handler or an interceptor"
    }


@pytest.mark.parametrize("in_thread", [False, True])
@pytest.mark.parametrize(("limits", "is_limited"), [([50.0, 900.0, 300.0], True), ([50.0, None], False)])
async def test_run_has_the_latest_deadline_of_its_callers(
    in_thread: bool, limits: list[float | None], is_limited: bool
) -> None:
    from fastrpc._core.calls.call import scope_deadline

    deadlines: list[float | None] = []

    def look(items: list[int]) -> list[int]:
        deadlines.append(scope_deadline())
        return items

    async def run(items: list[int]) -> list[int]:
        return look(items)

    batcher = fastrpc.Batcher(look) if in_thread else fastrpc.Batcher(run)

    given: list[float | None] = []

    async def call(limit: float | None) -> None:
        with fastrpc.timeout(limit):
            given.append(scope_deadline())
            await batcher(1)

    await asyncio.gather(*map(call, limits))
    (deadline,) = deadlines
    if is_limited:
        assert deadline == pytest.approx(given[1], abs=100)
    else:
        assert deadline is None


async def test_handler_whose_deadline_passes_leaves_its_batch() -> None:
    doubling = Doubling(is_open=False)

    @fastrpc.service("model")
    class Model:
        def __init__(self) -> None:
            self._double = fastrpc.Batcher(doubling.run)

        @fastrpc.method
        async def double(self, item: int) -> int:
            return await self._double(item)

    config = ClientConfig(timeouts=Timeouts(call=0.05))
    async with fastrpc.Server(Model) as server:
        async with fastrpc.Client(str(await server.listen("memory://m")), config=config) as client:
            with pytest.raises(fastrpc.DeadlineExceededError):
                await client.call(Model.double, 1)
            if doubling.batches:
                await eventually(lambda: doubling.ends)
    assert doubling.ends == ["cancelled"] * len(doubling.batches)
