"""A service whose methods end as a test says: in results, errors, details and metadata that cannot be encoded."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime, timedelta, tzinfo
from typing import Any, NoReturn

import msgspec

import fastrpc
from fastrpc import CallError, Status, current_call

__all__ = ["ENDINGS", "ERRORS", "LONE", "Ending", "Odd", "Told", "plain"]

#: A text as `os.listdir` returns it for a name that is not UTF-8. Half of a pair of surrogates has no UTF-8.
LONE = "no file b\udcffd"

#: Errors that no `except Exception` catches are among them.
ERRORS: list[type[BaseException]] = [
    ValueError,
    UnicodeError,
    RecursionError,
    MemoryError,
    SystemExit,
    GeneratorExit,
    StopIteration,
    StopAsyncIteration,
    asyncio.CancelledError,
]

#: Called at the end of a method.
Ending = Callable[[], Any]


class Told(msgspec.Struct):
    """A result."""

    text: str = "plain"
    at: datetime | None = None


class RaisingZone(tzinfo):
    """A time zone that raises as a codec asks for its offset."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def utcoffset(self, _: datetime | None) -> timedelta:
        raise self._error

    def dst(self, _: datetime | None) -> None:
        return None

    def tzname(self, _: datetime | None) -> None:
        return None


class WordlessError(Exception):
    """An error whose text raises."""

    def __str__(self) -> str:
        raise SystemExit(3)


class Sentence(str):
    """A text of a subclass of str."""

    __slots__ = ()


def plain() -> Told:
    """End with a plain result."""
    return Told()


def instant_that_raises(error: BaseException) -> datetime:
    return datetime(2026, 1, 2, tzinfo=RaisingZone(error))


def raising(error: BaseException) -> Ending:
    def end() -> NoReturn:
        raise error

    return end


def refused(text: str, details: Any = None) -> Ending:
    return raising(CallError(Status.NOT_FOUND, text, details=details))


def with_metadata(value: Any, end: Ending) -> Ending:
    def act() -> Any:
        current_call().reply_metadata["odd"] = value
        return end()

    return act


def endless() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


#: The end of a method, and the status that its caller gets.
ENDINGS: dict[str, tuple[Ending, Status]] = {
    "a text with a lone surrogate": (refused(LONE), Status.NOT_FOUND),
    "a text of a class of its own": (refused(Sentence("no file")), Status.NOT_FOUND),
    "details with a lone surrogate": (refused("no file", {"name": LONE}), Status.NOT_FOUND),
    "details with a lone surrogate in a key": (refused("no file", {LONE: 1}), Status.NOT_FOUND),
    "details of no type that travels": (refused("no file", object()), Status.NOT_FOUND),
    "endless details": (refused("no file", endless()), Status.NOT_FOUND),
    "an error whose text raises": (raising(WordlessError()), Status.INTERNAL),
    "an error with a lone surrogate": (raising(OSError(LONE)), Status.INTERNAL),
    "a result with a lone surrogate": (lambda: Told(LONE), Status.INTERNAL),
    "metadata with a lone surrogate": (with_metadata(LONE, plain), Status.INTERNAL),
    "metadata with a lone surrogate beside an error": (
        with_metadata(LONE, refused("no file")),
        Status.NOT_FOUND,
    ),
    "metadata with a line end beside an error": (
        with_metadata("a\r\nb", refused("no file")),
        Status.NOT_FOUND,
    ),
}


def _result_that_raises(error: type[BaseException]) -> Ending:
    return lambda: Told(at=instant_that_raises(error("odd")))


for _error in ERRORS:
    ENDINGS[f"details whose encoder raises {_error.__name__}"] = (
        refused("no file", {"at": instant_that_raises(_error("odd"))}),
        Status.NOT_FOUND,
    )
    ENDINGS[f"a result whose encoder raises {_error.__name__}"] = (
        _result_that_raises(_error),
        Status.INTERNAL,
    )


@fastrpc.service("odd")
class Odd:
    """Each method ends as `ending` says: in its first step or after a suspension, a stream perhaps after a message."""

    def __init__(self) -> None:
        self.ending: Ending = plain
        self.suspends = False
        self.sends_first = False

    async def _end(self) -> Any:
        if self.suspends:
            await asyncio.sleep(0)
        return self.ending()

    @fastrpc.method(idempotent=True, safe=True, tool=True)
    async def unary(self) -> Told:
        return await self._end()

    @fastrpc.method(idempotent=True, safe=True, tool=True)
    def threaded(self) -> Told:
        return self.ending()

    @fastrpc.method(idempotent=True, safe=True)
    async def gives(self) -> AsyncIterator[Told]:
        if self.sends_first:
            yield plain()
        yield await self._end()

    @fastrpc.method(idempotent=True, safe=True)
    def gives_in_thread(self) -> Iterator[Told]:
        if self.sends_first:
            yield plain()
        yield self.ending()

    @fastrpc.method(idempotent=True)
    async def takes(self, numbers: AsyncIterator[int]) -> Told:
        return await self._end()

    @fastrpc.method(idempotent=True)
    async def both(self, numbers: AsyncIterator[int]) -> AsyncIterator[Told]:
        if self.sends_first:
            yield plain()
        yield await self._end()
