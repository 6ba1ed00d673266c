"""Server interceptors of grpc.aio, which choose the handler for each call."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Any, NamedTuple

import grpc
from grpc import aio

from fastrpc._core.calls.call import current_call
from fastrpc._core.server.served_call import ServerCall
from fastrpc.errors import CallError, EncodeError
from fastrpc.grpc.contexts import LoopContext, ThreadContext
from fastrpc.grpc.definitions import GeneratedMethod
from fastrpc.grpc.faults import SERVICING, GeneratedFaults, ServicerFaults, note_stage
from fastrpc.grpc.handlers import Handlers, class_of, coders_of, kind_and_function, served_method
from fastrpc.grpc.message_limits import MessageLimits
from fastrpc.grpc.metadata import Pairs, received_pairs
from fastrpc.grpc.serving import Servicing, handler_for
from fastrpc.grpc.thread_handlers import in_thread
from fastrpc.rpc.given_coders import GivenCoders
from fastrpc.rpc.signature import Kind
from fastrpc.status import Status

__all__ = ["Intercepting"]


class _CallDetails(NamedTuple):
    """The details of a call that interceptors get, with the fields of `grpc.HandlerCallDetails`."""

    method: str
    invocation_metadata: Pairs


class Intercepting(Handlers):
    """The handlers of a server whose calls go through interceptors of grpc.aio.

    Raises:
        ValueError: an object is not an interceptor of grpc.aio's servers.
    """

    def __init__(
        self,
        interceptors: Sequence[Any],
        executor: Executor | None,
        compressor: str | None,
        *,
        faults: ServicerFaults,
        limits: MessageLimits,
    ) -> None:
        super().__init__()
        for one in interceptors:
            if not isinstance(one, aio.ServerInterceptor | grpc.ServerInterceptor):
                raise ValueError(f"{one!r} is not a ServerInterceptor of grpcio")
        self._interceptors = tuple(interceptors)
        self._executor = executor
        self._compressor = compressor
        #: The rules by which faults are reported to callers.
        self.faults = faults
        self._limits = limits

    def _served(self, service: str, method: str, handler: Any) -> GeneratedMethod:
        servicing = Servicing.now(self._executor, self._compressor, faults=self.faults, limits=self._limits)
        if not self._interceptors:
            return served_method(handler, servicing)
        kind, _ = kind_and_function(handler)
        path = f"/{service}/{method}"
        choose = partial(_chosen, self._interceptors, path, handler, self._executor)
        request = class_of(handler.request_deserializer)
        # Encoded messages are passed on unchanged: the chosen handler decodes and encodes them.
        coders = GivenCoders(bytes, bytes, None, request)
        run = _answer if kind in {"unary", "client_stream"} else _messages
        return GeneratedMethod(
            kind,
            request,
            coders=coders,
            handler=partial(run, kind, choose, servicing),
            faults=servicing.faults,
        )


async def _chosen(
    interceptors: Sequence[Any], path: str, registered: Any, executor: Executor | None, call: ServerCall
) -> Any:
    """Return the handler that the interceptors choose for a call. A blocking server's interceptors run in a thread.

    Raises:
        CallError: the interceptors choose no handler.
    """

    def proceed_in_thread(at: int, details: _CallDetails) -> Any:
        if at == len(interceptors):
            return registered
        return interceptors[at].intercept_service(partial(proceed_in_thread, at + 1), details)

    async def proceed(at: int, details: _CallDetails) -> Any:
        if at == len(interceptors):
            return registered
        return await interceptors[at].intercept_service(partial(proceed, at + 1), details)

    details = _CallDetails(path, received_pairs(call))
    if isinstance(interceptors[0], aio.ServerInterceptor):
        handler = await proceed(0, details)
    else:
        try:
            handler = await in_thread(partial(proceed_in_thread, 0, details), ThreadContext(call), executor)
        except Exception as error:
            note_stage(error, SERVICING)
            raise
    if handler is None:
        raise CallError(Status.UNIMPLEMENTED, "Method not found!")
    return handler


Choose = Callable[[ServerCall], Any]


class _Chosen:
    """A handler that was chosen for one call; it gets and returns encoded messages."""

    def __init__(self, kind: Kind, handler: Any, servicing: Servicing, given: Any) -> None:
        found, function = kind_and_function(handler)
        if found != kind:
            raise CallError(Status.INTERNAL, "an interceptor returned a handler for another kind of method")
        self.encode, decode = _raising(*coders_of(handler, servicing), servicing.faults)
        takes_stream = kind in {"client_stream", "both_ways"}
        self.request = _Decoded(given, decode) if takes_stream else decode(given)

        def new_context(call: ServerCall) -> LoopContext:
            context = servicing.loop_context(call)
            context.intercept(self.encode, self.request if takes_stream else None)
            return context

        self.handle = handler_for(kind, function, servicing._replace(loop_context=new_context))


async def _answer(kind: Kind, choose: Choose, servicing: Servicing, given: Any, /) -> Any:
    call: Any = current_call()
    chosen = _Chosen(kind, await choose(call), servicing, given)
    return chosen.encode(await chosen.handle(chosen.request))


async def _messages(kind: Kind, choose: Choose, servicing: Servicing, given: Any, /) -> Any:
    call: Any = current_call()
    chosen = _Chosen(kind, await choose(call), servicing, given)
    messages = chosen.handle(chosen.request)
    try:
        async for message in messages:
            yield chosen.encode(message)
    except BaseException:
        await messages.athrow(None)
        raise
    finally:
        await messages.aclose()


def _raising(
    encode: Callable[[Any], bytes], decode: Callable[[bytes], Any], faults: GeneratedFaults
) -> tuple[Callable[[Any], bytes], Callable[[bytes], Any]]:
    """Wrap a handler's functions that decode and encode, so that they raise fastrpc's errors."""

    def encoded(value: Any) -> bytes:
        try:
            return encode(value)
        except CallError:
            raise
        except Exception as error:
            raise EncodeError(f"an answer cannot be encoded: {error}") from error

    def decoded(payload: bytes) -> Any:
        try:
            return decode(payload)
        except Exception as error:
            refusal = CallError(Status.INVALID_ARGUMENT, f"the request cannot be decoded: {error}")
            refusal.__context__ = error
            raise faults.of_message(refusal, "the request") from None

    return encoded, decoded


class _Decoded:
    """The caller's stream, decoded by the functions of the chosen handler."""

    def __init__(self, stream: Any, decode: Callable[[bytes], Any]) -> None:
        self._stream = stream
        self._decode = decode

    def __aiter__(self) -> "_Decoded":
        return self

    async def __anext__(self) -> Any:
        return self._decode(await self._stream.__anext__())

    async def receive(self) -> Any:
        """Return the next message."""
        return self._decode(await self._stream.receive())

    async def receive_many(self, limit: int) -> list[Any]:
        """Return the messages that have arrived, at least one."""
        return [self._decode(one) for one in await self._stream.receive_many(limit)]
