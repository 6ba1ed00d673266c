"""The invocation of handlers, and the chain of interceptors around it."""

from collections.abc import Iterator
from typing import Any, cast

import pytest

from fastrpc._core.calls.invocation import Chain, invoke
from fastrpc.status import Status


@pytest.mark.parametrize("given", [None, [1, 2], {"a": 1}])
def test_objects_that_are_not_decoded_arguments_are_refused(given: object) -> None:
    with pytest.raises(TypeError, match="called with a tuple"):
        invoke(lambda *args: args, cast(Any, given))


class Noted:
    """Stands for a call: records its outcome."""

    def __init__(self) -> None:
        self.outcomes: list[Any] = []

    def _note_outcome(self, status: Any, error: Any) -> None:
        self.outcomes.append((status, error))


def note_failure(call: Noted, error: BaseException) -> None:
    call._note_outcome("failed", error)


class Bare:
    """An awaitable whose iterator takes no exceptions."""

    def __await__(self) -> Iterator[None]:
        return self

    def __iter__(self) -> Iterator[None]:
        return self

    def __next__(self) -> None:
        return None


def test_exception_thrown_after_the_end_changes_no_outcome() -> None:
    async def innermost(call: Noted) -> int:
        return 1

    call = Noted()
    proceeding: Any = Chain((), innermost, note_failure).proceed()(call)
    with pytest.raises(StopIteration):
        proceeding.send(None)
    with pytest.raises(RuntimeError, match="cannot reuse"):
        proceeding.throw(ValueError("late"))
    assert call.outcomes == [(Status.OK, None)]


def test_exception_reaches_the_awaiting_coroutine_of_an_iterator_without_throw() -> None:
    call = Noted()
    proceeding: Any = Chain((), lambda call: cast(Any, Bare()), note_failure).proceed()(call)
    proceeding.send(None)
    error = KeyError("thrown")
    with pytest.raises(KeyError, match="thrown"):
        proceeding.throw(error)
    assert call.outcomes == [("failed", error)]


def test_iterator_without_close_can_be_left() -> None:
    call = Noted()
    proceeding: Any = Chain((), lambda call: cast(Any, Bare()), note_failure).proceed()(call)
    proceeding.send(None)
    proceeding.close()
    with pytest.raises(RuntimeError, match="cannot reuse"):
        proceeding.send(None)
