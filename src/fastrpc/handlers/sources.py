"""The sources of a server's services: instances, classes, functions, context managers, lists of these."""

import inspect
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

from fastrpc.errors import ConfigError
from fastrpc.rpc.service import service_definition

__all__ = ["is_service", "opened_sources"]


def is_service(thing: Any) -> bool:
    """Return whether this is an instance of a class under `@service`, or of a subclass."""
    try:
        service_definition(thing)
    except TypeError:
        return False
    return not inspect.isclass(thing)


@asynccontextmanager
async def opened_sources(sources: Sequence[Any]) -> AsyncIterator[list[Any]]:
    """Make and enter the sources, and yield the services. Leave the sources in reverse order at the end.

    Raises:
        ConfigError: a source has an unknown kind.
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
        # Before functions: the result of an `asynccontextmanager` is callable as well, as a decorator.
        await _open(await stack.enter_async_context(source), services, stack)
        return
    if inspect.isclass(source) or (callable(source) and not is_service(source)):
        made = _call(source)
        if inspect.isawaitable(made):
            made = await made
        await _open(made, services, stack)
        return
    if not is_service(source):
        hint = getattr(type(source), "place_of_source", None)
        if hint is not None:
            raise ConfigError(f"an {type(source).__name__} is not a source of services", hint=hint)
        kind = type(source)
        if not isinstance(source, str) and kind.__module__ != "builtins":
            raise ConfigError(
                f"{kind.__qualname__} is not a source of services: its class is not under @service",
                hint="write @fastrpc.service above the class",
            )
        is_address = isinstance(source, str) and "://" in source
        raise ConfigError(
            f"{source!r} is not a source of services",
            hint=f"write address={source!r}"
            if is_address
            else "give an instance of a class under @service, the class, or a function that returns one",
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
        pass  # A callable without a signature: only the call can show whether it fits.
    return source()
