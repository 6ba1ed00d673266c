"""Fan-out: `broadcast` to all endpoints of a client, or `fork` for the first answer. The calls share one deadline."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from typing import Any, Concatenate, ParamSpec, Self, TypeAlias, TypeVar, cast, overload

from fastrpc.config_errors import ShownAtProgram
from fastrpc.endpoint import Endpoint
from fastrpc.errors import FastRPCError, NoEndpointError
from fastrpc.peers.outcomes import AROUND_CALL, give_turn, own_call
from fastrpc.rpc.reply import Reply
from fastrpc.tracebacks import shortened
from fastrpc.user_code import without_exit

__all__ = ["FanOut", "Method", "Outcomes", "P", "T", "checked_outcomes"]

P = ParamSpec("P")
T = TypeVar("T")

#: A method of a service class, without its `self`.
Method: TypeAlias = Callable[Concatenate[Any, P], T]

#: The answer or the error of each endpoint.
Outcomes: TypeAlias = dict[Endpoint, Reply[T] | FastRPCError]


#: Calls started in one turn of the loop; more would block the loop for too long.
BEGUN_TOGETHER = 64


class _UseStream:
    """The static type of the result for a streaming method: awaiting it is a type error."""


class FanOut:
    """The fan-out verbs of a `Client`."""

    @overload
    def broadcast(
        self, method: Method[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, Outcomes[T]]: ...
    @overload
    def broadcast(  # type: ignore[overload-overlap]
        self,
        method: Method[P, AsyncIterator[Any] | Iterator[Any]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> _UseStream: ...
    @overload
    def broadcast(
        self, method: Method[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, Outcomes[T]]: ...
    @overload
    def broadcast(self, method: str, /, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Outcomes[Any]]: ...
    def broadcast(self, method: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call every endpoint, and return the answer or the error of each.

        Each call has the options of this client and is sent only to its endpoint, within one deadline. Endpoints that
        the selector's filters exclude are not called.

        Raises:
            NoEndpointError: there is no endpoint.
            TypeError: arguments do not fit the method's signature.
        """
        return self._broadcast(method, args, kwargs)

    async def _broadcast(self, method: Any, args: Any, kwargs: Any) -> dict[Endpoint, Any]:
        client: Any = self
        endpoints = await self._listed(method)
        calls = (
            client.with_options(endpoint=each, prefer=None).request(method, *args, **kwargs)
            for each in endpoints
        )
        with ShownAtProgram():
            async with _Beginning(calls) as running:
                outcomes = await asyncio.gather(*running.tasks, return_exceptions=True)
            return checked_outcomes(dict(zip(endpoints, outcomes, strict=True)))

    @overload
    def fork(
        self, method: Method[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, T]: ...
    @overload
    def fork(  # type: ignore[overload-overlap]
        self,
        method: Method[P, AsyncIterator[Any] | Iterator[Any]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> _UseStream: ...
    @overload
    def fork(self, method: Method[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]: ...
    @overload
    def fork(self, method: str, /, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]: ...
    def fork(self, method: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call all endpoints concurrently and return the first answer; the other calls are cancelled.

        The handler may run on several endpoints, so the method has to permit that.

        Raises:
            FastRPCError: all calls failed; the error is the last one.
        """
        return self._fork(method, args, kwargs)

    async def _fork(self, method: Any, args: Any, kwargs: Any) -> Any:
        client: Any = self
        endpoints = await self._listed(method)
        calls = (
            client.with_options(endpoint=each, prefer=None).call(method, *args, **kwargs)
            for each in endpoints
        )
        with ShownAtProgram():
            async with _Beginning(calls) as running:
                error: BaseException | None = None
                for _ in endpoints:
                    ended = await running.ended.get()
                    error = ended.exception()
                    if error is None:
                        return ended.result()
                raise shortened(cast(BaseException, error))

    async def _listed(self, method: Any) -> list[Endpoint]:
        """Return all endpoints; a failure counts as an error of the call."""
        if not isinstance(method, str):
            from fastrpc.rpc.service import method_definition

            definition = method_definition(method)
            if definition.kind != "unary":
                raise TypeError(
                    f"{definition.full_name} streams: broadcast and fork take methods without a stream"
                )
        with own_call():
            try:
                return await self._endpoints_of(method)
            except NoEndpointError:
                await give_turn()
                raise

    async def _endpoints_of(self, method: Any) -> list[Endpoint]:
        """Return all endpoints that calls of a method may go to."""
        raise NotImplementedError


class _Beginning:
    """Calls that are started in portions, with turns of the loop between; the end of the block cancels them."""

    def __init__(self, calls: Iterator[Coroutine[Any, Any, Any]]) -> None:
        self._calls = calls
        self.tasks: list[asyncio.Future[Any]] = []
        #: The finished calls, in the order in which they ended.
        self.ended: asyncio.Queue[asyncio.Future[Any]] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        try:
            for call in self._calls:
                task = asyncio.ensure_future(without_exit(call, AROUND_CALL))
                task.add_done_callback(self.ended.put_nowait)
                self.tasks.append(task)
                if len(self.tasks) % BEGUN_TOGETHER == 0:
                    await asyncio.sleep(0)
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._end()

    async def _end(self) -> None:
        for task in self.tasks:
            task.cancel()
        # Retrieve the errors, so that asyncio does not log them as never retrieved.
        await asyncio.gather(*self.tasks, return_exceptions=True)


def checked_outcomes(outcomes: dict[Endpoint, Any]) -> dict[Endpoint, Any]:
    """Return outcomes by endpoint; raise an exception that is not an error of a call."""
    for outcome in outcomes.values():
        if isinstance(outcome, BaseException) and not isinstance(outcome, FastRPCError):
            raise outcome
    return outcomes
