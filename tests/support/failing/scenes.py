"""How a scene runs, and the exceptions that code in it raises."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any, Final, NoReturn

import pytest

from fastrpc import CallError, Client, Status

__all__ = [
    "ERRORS",
    "Fail",
    "Scene",
    "caught",
    "check_answered",
    "check_serves",
    "run_scene",
    "scene",
    "scenes",
]

#: Raises the exception of the case.
Fail = Callable[[], NoReturn]

Scene = Callable[[Fail], Awaitable[None]]

ERRORS: Final[dict[str, Callable[[], BaseException]]] = {
    "SystemExit": lambda: SystemExit(3),
    "CancelledError": asyncio.CancelledError,
    "GeneratorExit": GeneratorExit,
    "StopIteration": lambda: StopIteration(1),
    "RecursionError": lambda: RecursionError("maximum recursion depth exceeded"),
    "MemoryError": MemoryError,
}

#: A scene that takes this long hangs.
SECONDS: Final = 30.0

scenes: Final[dict[str, Scene]] = {}


def scene(function: Scene) -> Scene:
    """Add a scene to the list."""
    name = getattr(function, "__name__", "").replace("_", " ")
    assert name not in scenes, name
    scenes[name] = function
    return function


def run_scene(function: Scene, error: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a scene; an exception that ends the loop or a thread of it fails the test."""
    ended: list[str] = []
    monkeypatch.setattr(threading, "excepthook", lambda found: ended.append(f"thread: {found.exc_type}"))

    def fail() -> NoReturn:
        raise ERRORS[error]()

    def note(loop: asyncio.AbstractEventLoop, facts: dict[str, Any]) -> None:
        ended.append(f"{facts['message']}: {facts.get('exception')!r}")

    async def play() -> None:
        asyncio.get_running_loop().set_exception_handler(note)
        async with asyncio.timeout(SECONDS):
            await function(fail)

    failure: BaseException | None = None
    try:
        asyncio.run(play())
    except BaseException as found:
        if isinstance(found, Exception):
            raise
        failure = found
    # Outside, as pytest ends at some of these exceptions.
    assert failure is None, f"{failure!r} left the loop"
    assert ended == []


async def check_answered(call: Awaitable[Any], status: Status = Status.INTERNAL) -> None:
    """Check that a call is answered as the guide promises: without a text, with an id."""
    with pytest.raises(CallError, match="the server's log has the reason under id") as caught:
        await call
    assert caught.value.status is status


async def check_serves(client: Client) -> None:
    """Check that a server still works."""
    assert await client.call("good.double", 4) == 8


async def caught(work: Awaitable[Any]) -> BaseException | None:
    """Return the exception of an awaitable in the task of its caller, who may continue."""
    try:
        await work
    except BaseException as error:
        return error
    return None
