"""The store or the broker that a command asks."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

from fastrpc.cli.calling.command import run_async
from fastrpc.cli.printing import reported
from fastrpc.errors import ConfigError
from fastrpc.workers.plan import ExitCode

__all__ = ["run_with"]

B = TypeVar("B")
T = TypeVar("T")


def run_with(
    example: str,
    url: str,
    open_at: Callable[[str], AbstractAsyncContextManager[B]],
    work: Callable[[B], Awaitable[T]],
    *,
    as_json: bool,
) -> T:
    """Open a backend, and return the result of a function of it.

    Args:
        example: a URL of the kind, whose scheme names it.
    """
    with reported(ExitCode.USAGE):
        if "://" not in url:
            kind = example.partition("://")[0]
            raise ConfigError(f"{url!r} is no {kind}", hint=f"name it first: {example}")
        opened = open_at(url)

    async def inside() -> T:
        async with opened as backend:
            return await work(backend)

    with reported(ExitCode.FAILED, as_json=as_json):
        return run_async(inside())
