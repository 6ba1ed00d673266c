"""The sources of a server's services: instances, classes, functions, context managers, lists of these."""

import inspect
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, NamedTuple

from fastrpc.errors import ConfigError
from fastrpc.handlers.applications import is_application
from fastrpc.rpc.service import is_service

__all__ = ["Opened", "SourceScope", "open_sources"]


class SourceScope:
    """The context managers around some services, exited with the last of these services, or with all sources.

    Args:
        around: the scope in which this scope was entered; None for the scope of all sources, which is exited last.
    """

    __slots__ = ("_around", "_in_use", "_stack")

    def __init__(self, around: "SourceScope | None" = None) -> None:
        self._around = around
        self._in_use = 0
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> "SourceScope":
        await self._stack.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> bool | None:
        return await self._stack.__aexit__(*error)

    async def inner(self, source: AbstractAsyncContextManager[Any]) -> "tuple[SourceScope, Any]":
        """Enter a context manager in a new scope; return the scope, and the entered value."""
        scope = SourceScope(self)
        self._in_use += 1
        await self._stack.enter_async_context(scope)
        return scope, await scope.enter(source)

    async def enter(self, source: AbstractAsyncContextManager[Any]) -> Any:
        """Enter a context manager that is exited with this scope; return its value."""
        return await self._stack.enter_async_context(source)

    def hold(self) -> None:
        """Count one more service that needs the context managers."""
        self._in_use += 1

    async def release(self) -> None:
        """Count one service less; exit the context managers that no service needs any more, innermost first."""
        self._in_use -= 1
        if self._in_use or self._around is None:
            return
        try:
            await self._stack.aclose()
        finally:
            await self._around.release()


class Opened(NamedTuple):
    """A service, and the context managers that were entered for it."""

    service: Any
    scope: SourceScope


async def open_sources(sources: Sequence[Any], scope: SourceScope) -> list[Opened]:
    """Open the sources in a scope, which exits them in reverse order, and return the services.

    Raises:
        ConfigError: a source has an unknown kind.
    """
    opened: list[Opened] = []
    for source in sources:
        await _open(source, opened, scope)
    return opened


async def _open(source: Any, opened: list[Opened], scope: SourceScope, maker: Any = None) -> None:
    if isinstance(source, list | tuple):
        for one in source:
            await _open(one, opened, scope)
        return
    if isinstance(source, AbstractAsyncContextManager) and not is_service(source):
        # Checked before functions: the result of an `asynccontextmanager` is callable as well, as a decorator.
        scope, made = await scope.inner(source)
        await _open(made, opened, scope)
        return
    _refuse_application(source, maker)
    if inspect.isclass(source) or (callable(source) and not is_service(source)):
        made = _call(source)
        if inspect.isawaitable(made):
            made = await made
        await _open(made, opened, scope, source)
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
        scope, _ = await scope.inner(source)
    opened.append(Opened(source, scope))


def _refuse_application(thing: Any, maker: Any) -> None:
    """Raise ConfigError for an ASGI application, which `maker` may have made: it belongs at a mount."""
    if not is_application(thing):
        return
    name = getattr(thing, "__qualname__", type(thing).__qualname__)
    alone = "give it alone to `fastrpc run`"
    if inspect.isfunction(maker) and name == type(thing).__qualname__:
        alone = f"for `fastrpc run`, annotate the result: `def {maker.__name__}() -> {name}`"
    raise ConfigError(
        f"{name} is an ASGI application, which is not a source of services",
        hint=f"{alone}; beside services, mount it with --mount or HTTP.mounts",
    )


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
        pass  # The callable has no signature: only the call can show whether it fits.
    return source()
