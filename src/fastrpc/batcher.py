"""Dynamic batching: one run of a function serves callers that wait at the same time.

::

    await batcher(item) ──► line of its key ──► run([item, …]), one batch of a key at a time
    result or error    ◄─────────────────────── [result, …]
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Hashable, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass
from itertools import islice
from time import monotonic
from typing import Any, Generic, TypeVar, cast

from fastrpc._core.calls.call import enter_scope, scope_deadline
from fastrpc._core.client.caller_view import process_generation
from fastrpc._core.loop.loop_state import wrong_loop
from fastrpc.config.validation import check_count, check_seconds, wrong
from fastrpc.errors import CallError, copied_error
from fastrpc.status import Status
from fastrpc.user_code import ContainedError, contained

__all__ = ["Batcher"]

T = TypeVar("T")
R = TypeVar("R")


class Batcher(Generic[T, R]):
    """Call `run` once with the items of several callers: `score = await batcher(item)`.

    A batch starts `wait` seconds after its first item, or as soon as it has `size` items. Items that arrive while a
    batch of their key runs form the next one. The oldest items are first.

    `run` has no `current_call()` and no identity. Calls made in `run` have the latest deadline of its callers. A
    cancelled caller leaves its batch. Once all callers have left, an `async def` is cancelled, and a `def` runs to its
    end. A batcher belongs to the event loop of its first use.

    Args:
        run: takes a list of items and returns a sequence of results in the same order. An exception among the results
            is raised for its caller, an exception of `run` for all callers. `async def`, or `def`, which runs in a
            thread.
        size: the most items of one run. A low size causes more runs, a high size makes all callers wait for a long run.
        wait: seconds for which the first item waits for others; 0: one loop iteration. A long wait slows single calls.
        key: returns the key of an item. Items with different keys are put into different batches, which run at the same
            time.
    """

    def __init__(
        self,
        run: Callable[[list[T]], Awaitable[Sequence[R | Exception]] | Sequence[R | Exception]],
        *,
        size: int = 32,
        wait: float = 0.0,
        key: Callable[[T], Hashable] | None = None,
    ) -> None:
        self.run, self.size, self.wait, self.key = run, size, wait, key
        check_count(self, "size", 1)
        check_seconds(self, "wait", zero=True)
        if not callable(run) or not (key is None or callable(key)):
            raise wrong(self, "key" if callable(run) else "run", "a function")
        self._is_async = any(map(inspect.iscoroutinefunction, (run, type(run).__call__)))
        self._lines: dict[Hashable, _Line] = {}
        self._home: tuple[asyncio.AbstractEventLoop, int] | None = None  # Loop and process of the first use.

    async def __call__(self, item: T) -> R:
        """Return the result of an item.

        Raises:
            CallError: INTERNAL: `run` was cancelled, or did not return one result for each item.
            RuntimeError: the batcher was used in another event loop, or before a fork.
        """
        here = (asyncio.get_running_loop(), process_generation())
        self._home = self._home or here
        if self._home[1] != here[1]:
            raise RuntimeError("this Batcher was used before the fork; create it in the child")
        if self._home[0] is not here[0]:
            raise wrong_loop("Batcher", self._home[0], here[0])
        key = None if self.key is None else self.key(item)
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = _Line(self, self._lines, key, here[0], is_async=self._is_async)
        place = line.join(item)
        try:
            outcome: Any = await place.outcome
        except BaseException:
            line.leave(place)
            raise
        if isinstance(outcome, BaseException):
            if not isinstance(outcome, Exception):
                name = type(outcome).__name__
                outcome = CallError(
                    Status.INTERNAL, f"the run of a batch gave {name} as the result of this item"
                )
            try:
                raise outcome
            finally:
                del outcome, place  # The traceback of the error holds this frame.
        return cast(R, outcome)


@dataclass(slots=True, eq=False)
class _Place:
    """One caller; its outcome is a result or an Exception."""

    item: Any
    deadline: float | None
    outcome: asyncio.Future[Any]


class _Line:
    """The callers of one key: waiting callers, and callers of the running batch. A line without callers is removed."""

    def __init__(
        self,
        batcher: Batcher[Any, Any],
        lines: "dict[Hashable, _Line]",
        key: Hashable,
        loop: asyncio.AbstractEventLoop,
        *,
        is_async: bool,
    ) -> None:
        self._batcher, self._lines, self._key, self._loop = batcher, lines, key, loop
        self._is_async = is_async
        self._waiting: dict[_Place, None] = {}  # The oldest first; a dict, as any of them may leave.
        self._timer: asyncio.Handle | None = None
        # The running batch, or empty. `_staying` are the callers of the batch that were not cancelled.
        self._batch: list[_Place] = []
        self._staying: set[_Place] = set()
        self._task: asyncio.Task[Any] | None = None

    def join(self, item: Any) -> _Place:
        place = _Place(item, scope_deadline(), self._loop.create_future())
        self._waiting[place] = None
        if not self._batch:
            if len(self._waiting) >= self._batcher.size:
                self._begin()
            elif self._timer is None:
                self._timer = self._loop.call_later(self._batcher.wait, self._begin, context=Context())
        return place

    def leave(self, place: _Place) -> None:
        """Remove a caller that was cancelled."""
        if place in self._staying:
            self._staying.remove(place)
            if not self._staying and self._task is not None and self._is_async:
                self._task.cancel()
        elif place in self._waiting:
            del self._waiting[place]
            if self._timer is not None and not self._waiting:
                self._timer.cancel()
                del self._lines[self._key]

    def _begin(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self._batch = batch = list(islice(self._waiting, self._batcher.size))
        self._staying = set(batch)
        for place in batch:
            del self._waiting[place]
        context = Context()
        deadlines = [place.deadline for place in batch if place.deadline is not None]
        if len(deadlines) == len(batch):
            context.run(enter_scope, max(deadlines) - monotonic())
        items = [place.item for place in batch]
        work = _results(self._batcher.run, items, is_async=self._is_async)
        self._task = context.run(self._loop.create_task, work)
        self._task.add_done_callback(self._end, context=Context())

    def _end(self, task: asyncio.Task[Any]) -> None:
        batch, staying = self._batch, self._staying
        self._batch, self._staying, self._task = [], set(), None
        # Without remaining callers no code reads the task's error, so asyncio reports it.
        for place, outcome in zip(batch, _outcomes(task, len(batch)) if staying else (), strict=False):
            if not place.outcome.done():
                place.outcome.set_result(outcome)
        if self._waiting:
            self._begin()
        else:
            del self._lines[self._key]


async def _results(run: Any, items: list[Any], *, is_async: bool) -> list[Any]:
    """Run a batch; return a result or an exception for each item."""
    if is_async:
        with contained("run"):
            results = await run(items)
    else:
        # A copy of the context: at the end of the loop this task may be stepped while the thread still uses the
        # context.
        inside = copy_context().run
        results = await asyncio.get_running_loop().run_in_executor(None, inside, _called, run, items)
        if inspect.isawaitable(results):  # Such as of a lambda around an `async def`.
            with contained("run"):
                results = await results
    if not isinstance(results, Sequence) or isinstance(results, str | bytes):
        text = f"a {type(results).__name__}, not a sequence of results"
    elif len(found := list(results)) != len(items):
        text = f"{len(found)} results"
    else:
        return found
    raise CallError(Status.INTERNAL, f"the run of a batch of {len(items)} items returned {text}")


def _called(run: Callable[[list[Any]], Any], items: list[Any]) -> Any:
    with contained("run"):
        return run(items)


def _outcomes(task: asyncio.Task[list[Any]], count: int) -> list[Any]:
    """Return a result or an Exception for each item of a batch."""
    error = asyncio.CancelledError() if task.cancelled() else task.exception()
    if error is None:
        return task.result()
    is_cancelled = isinstance(error, ContainedError) and isinstance(error.__cause__, asyncio.CancelledError)
    if is_cancelled or not isinstance(error, Exception):
        text = f"the run of a batch of {count} items was ended by CancelledError"
        error = CallError(Status.INTERNAL, text)
    return [error, *(copied_error(error) for _ in range(1, count))]
