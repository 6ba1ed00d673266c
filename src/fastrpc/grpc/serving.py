"""Run servicers: make handlers of routes from their functions of all four kinds.

::

    a request ──► handler ──► context, servicer ──► its answer
                                   └──► its end: status, metadata, callbacks

A function on the loop is `async def`: it returns the answer, yields messages, or writes them through its context. A
plain `def` runs in a thread (`thread_handlers`).
"""

import inspect
import sys
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from functools import partial
from typing import Any, NamedTuple, TypeVar

from fastrpc._core.calls.call import current_call
from fastrpc._core.server.served_call import ServerCall
from fastrpc._core.server.served_stream import throw_at_yield
from fastrpc.grpc.contexts import Context, LoopContext, ThreadContext
from fastrpc.grpc.faults import GENERATED_FAULTS, GeneratedFaults, ServicerFaults
from fastrpc.grpc.message_limits import NO_LIMITS, MessageLimits
from fastrpc.rpc.schema.annotation import unwrapped
from fastrpc.rpc.signature import Kind

__all__ = ["ServicerMessages", "Servicing", "handler_for", "is_on_loop"]

C = TypeVar("C", bound=Context)

#: Calls a servicer's function with a request, or the stream of requests, and the context.
Servicer = Callable[[Any, Any], Any]


class Servicing(NamedTuple):
    """The settings with which the servicers of one source run."""

    loop_context: Callable[[ServerCall], LoopContext]
    thread_context: Callable[[ServerCall], ThreadContext]
    #: The threads of functions with plain `def`; None: the threads of the server.
    executor: Executor | None = None
    #: The rules by which faults are reported to callers.
    faults: GeneratedFaults = GENERATED_FAULTS
    #: The most bytes of a message in each direction.
    limits: MessageLimits = NO_LIMITS

    @classmethod
    def now(
        cls, executor: Executor | None = None, compressor: str | None = None, **rules: Any
    ) -> "Servicing":
        """Return a `Servicing` whose contexts fit the modules imported now.

        Args:
            compressor: the name of the compressor of answers.
            rules: `faults` and `limits`.
        """
        on_loop, in_threads = _context_kinds()
        if compressor is None:
            return cls(on_loop, in_threads, executor, **rules)
        return cls(
            partial(_compressed, on_loop, compressor),
            partial(_compressed, in_threads, compressor),
            executor,
            **rules,
        )

    @property
    def takes_none(self) -> bool:
        """Whether None is passed to the function that encodes messages, as in grpcio."""
        return isinstance(self.faults, ServicerFaults)


def _context_kinds() -> tuple[type[LoopContext], type[ThreadContext]]:
    """Return the context classes for the loop and for threads. They derive from grpcio's if grpcio is imported."""
    # If a module could not be imported, its entry may be None.
    if sys.modules.get("grpc") is None:
        return LoopContext, ThreadContext
    from fastrpc.grpc.grpcio_contexts import AioContext, PooledContext

    return AioContext, PooledContext


def _compressed(kind: type[C], compressor: str, call: ServerCall) -> C:
    call._compress_by(compressor)
    return kind(call)


def is_on_loop(function: Any) -> bool:
    """Return whether a function runs on the loop: `async def`, with or without `yield`."""
    inner = getattr(function, "func", function)
    found = (*unwrapped(inner), vars(type(inner)).get("__call__"))
    return any(
        inspect.iscoroutinefunction(one) or inspect.isasyncgenfunction(one)
        for one in found
        if one is not None
    )


def handler_for(kind: Kind, function: Servicer, servicing: Servicing) -> Callable[[Any], Any]:
    """Return the handler of a route for a servicer's function."""
    new_context: Callable[[ServerCall], Context] = servicing.loop_context
    if not is_on_loop(function):
        from fastrpc.grpc.thread_handlers import threaded

        function = threaded(kind, function, servicing)
        new_context = servicing.thread_context
    if kind in {"unary", "client_stream"}:
        return _answering(function, new_context, servicing.takes_none)
    return partial(_answers, function, new_context, servicing.takes_none)


def _answering(
    function: Servicer, new_context: Callable[[ServerCall], Context], takes_none: bool
) -> Callable[[Any], Any]:
    """Return the handler of a method with one answer."""

    async def handle(request: Any, /) -> Any:
        call: Any = current_call()
        context = new_context(call)
        try:
            answer = await function(request, context)
        except BaseException as error:
            context.end(error)
            raise
        context.end(None)
        if answer is None and not takes_none:
            # Refused, because None would be sent as a message without fields.
            raise TypeError(f"{call.method} returned None, it must return its message")
        return answer

    return handle


def _answers(
    function: Servicer, new_context: Callable[[ServerCall], Context], takes_none: bool, request: Any, /
) -> Any:
    """Return the messages of a method that streams its answers."""
    call: Any = current_call()
    context = new_context(call)
    found = function(request, context)
    return ServicerMessages(context, found if hasattr(found, "__anext__") else _written(found), takes_none)


async def _written(writing: Any) -> AsyncIterator[Any]:
    """Run a servicer that writes its messages through its context."""
    await writing
    nothing: tuple[Any, ...] = ()
    for message in nothing:
        yield message


class ServicerMessages:
    """The messages that a servicer yields, and its end."""

    def __init__(self, context: Context, messages: Any, takes_none: bool) -> None:
        self._context = context
        self._messages = messages
        self._takes_none = takes_none

    def __aiter__(self) -> "ServicerMessages":
        return self

    async def __anext__(self) -> Any:
        try:
            message = await self._messages.__anext__()
            if message is None and not self._takes_none:
                raise TypeError(f"{self._context.call.method} yielded None, it must yield its messages")
            return message
        except StopAsyncIteration:
            self._context.end(None)
            raise
        except BaseException as error:
            self._context.end(error)
            raise

    async def athrow(self, error: BaseException) -> None:
        """Raise a cancellation at the servicer's current `yield`."""
        await throw_at_yield(self._messages)

    async def aclose(self) -> None:
        """End the servicer."""
        try:
            close = getattr(self._messages, "aclose", None)
            if close is not None:
                await close()
        finally:
            self._context.finish()
