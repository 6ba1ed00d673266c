"""Where a server's services come from: instances, classes, functions, context managers, lists of these."""

import inspect
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

from fastrpc.errors import ConfigError
from fastrpc.rpc.service import service_definition
from fastrpc.server.app import App

__all__ = ["is_service", "opened_sources"]


def is_service(thing: Any) -> bool:
    """Whether this is an instance of a class under `@service`, or of one that inherits one."""
    try:
        service_definition(thing)
    except TypeError:
        return False
    return not inspect.isclass(thing)


@asynccontextmanager
async def opened_sources(sources: Sequence[Any]) -> AsyncIterator[list[Any]]:
    """Make and enter what sources describe; yield the services, leave everything in reverse order afterwards.

    Raises:
        ConfigError: a source is none of the kinds there are.
    """
    services: list[Any] = []
    async with AsyncExitStack() as stack:
        for source in sources:
            await _open(source, services, stack)
        yield services


async def _open(source: Any, services: list[Any], stack: AsyncExitStack) -> None:
    if isinstance(source, list | tuple):
        for one in source:
            await _open(one, services, stack)
        return
    if isinstance(source, AbstractAsyncContextManager) and not is_service(source):
        # Before functions: what `asynccontextmanager` makes is callable as well, as a decorator.
        await _open(await stack.enter_async_context(source), services, stack)
        return
    if inspect.isclass(source) or (callable(source) and not is_service(source)):
        made = _call(source)
        if inspect.isawaitable(made):
            made = await made
        await _open(made, services, stack)
        return
    if isinstance(source, App):
        raise ConfigError(
            "an App is no source of services",
            hint="give it alone to serve() or fastrpc run; annotate a function that returns one: -> fastrpc.App",
        )
    if not is_service(source):
        raise ConfigError(
            f"{source!r} is no source of services",
            hint="give an instance of a class under @service, the class, or a function that returns one",
        )
    if hasattr(source, "__aenter__"):
        await stack.enter_async_context(source)
    services.append(source)


def _call(source: Any) -> Any:
    try:
        inspect.signature(source).bind()
    except TypeError as error:
        name = getattr(source, "__qualname__", repr(source))
        raise ConfigError(
            f"{name} cannot be made without arguments: {error}",
            hint="give an instance, or a function that makes it",
        ) from None
    except ValueError:
        pass  # A callable without a signature: calling it tells.
    return source()
