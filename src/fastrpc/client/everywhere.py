"""The verbs that go to all endpoints of a client."""

import asyncio
import contextvars
import functools
import queue
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from typing import Any, Concatenate, ParamSpec, TypeAlias, TypeVar, cast, overload

from fastrpc._core.blocking_caller import BlockingCall
from fastrpc.client.sync_pool import FORK_LOOK_SECONDS
from fastrpc.endpoint import Endpoint
from fastrpc.errors import FastRPCError
from fastrpc.rpc.reply import Reply

__all__ = ["BlockingEverywhere", "Everywhere", "Running"]

P = ParamSpec("P")
T = TypeVar("T")

#: A method of a service class, as it is called without `self`.
Method: TypeAlias = Callable[Concatenate[Any, P], T]

#: What each endpoint answered or failed with.
Outcomes: TypeAlias = dict[Endpoint, Reply[T] | FastRPCError]


class _UseStream:
    """What the verbs say they return for a method that streams: awaiting it is a type error."""


class Everywhere:
    """What a `Client` can ask of all its endpoints."""

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
        """Call every endpoint, and return what each of them answered or failed with.

        Each call has the options of this client and goes to its endpoint alone, within one deadline. Endpoints that the
        filters of the selector leave out are not called.

        Raises:
            NoEndpointError: there is none.
            TypeError: arguments do not fit the method's signature.
        """
        return self._broadcast(method, args, kwargs)

    async def _broadcast(self, method: Any, args: Any, kwargs: Any) -> dict[Endpoint, Any]:
        client: Any = self
        endpoints = await _endpoints(client, method)
        calls = [client.with_options(endpoint=each).request(method, *args, **kwargs) for each in endpoints]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        return _checked(dict(zip(endpoints, outcomes, strict=True)))

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
        """Call every endpoint at once and return the first answer; the other calls are cancelled.

        The handler may run on every one of them, so the method should be one that may.

        Raises:
            FastRPCError: all of them failed; this is the last error.
        """
        return self._fork(method, args, kwargs)

    async def _fork(self, method: Any, args: Any, kwargs: Any) -> Any:
        client: Any = self
        endpoints = await _endpoints(client, method)
        running = {
            asyncio.ensure_future(client.with_options(endpoint=each).call(method, *args, **kwargs))
            for each in endpoints
        }
        every = list(running)
        try:
            while True:
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                errors = [ended.exception() for ended in done]
                for ended, error in zip(done, errors, strict=True):
                    if error is None:
                        return ended.result()
                if not running:
                    raise cast(BaseException, errors[-1])
        finally:
            for each in every:
                each.cancel()
            # Looked at, so that asyncio does not report errors that nobody waits for.
            await asyncio.gather(*every, return_exceptions=True)


class BlockingEverywhere:
    """What a `SyncClient` can ask of all its endpoints: the only verbs that take threads of their own."""

    @overload
    def broadcast(
        self, method: Method[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Outcomes[T]: ...
    @overload
    def broadcast(self, method: Method[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Outcomes[T]: ...
    @overload
    def broadcast(self, method: str, /, *args: Any, **kwargs: Any) -> Outcomes[Any]: ...
    def broadcast(self, method: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call every endpoint, and return what each of them answered or failed with.

        Each call has the options of this client and goes to its endpoint alone, within one deadline. Endpoints that the
        filters of the selector leave out are not called.

        Raises:
            NoEndpointError: there is none.
            TypeError: arguments do not fit the method's signature.
        """
        client: Any = self
        endpoints = _endpoints_now(client, method)
        views = [client.with_options(endpoint=each) for each in endpoints]
        pool = client._pool
        with pool.reentry:
            ended = _start([functools.partial(view.request, method, *args, **kwargs) for view in views])
            outcomes = dict(_next_of(ended, pool) for _ in endpoints)
        return _checked({endpoint: outcomes[number] for number, endpoint in enumerate(endpoints)})

    @overload
    def fork(self, method: Method[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    @overload
    def fork(self, method: Method[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    @overload
    def fork(self, method: str, /, *args: Any, **kwargs: Any) -> Any: ...
    def fork(self, method: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call every endpoint at once and return the first answer; the other calls are cancelled.

        The handler may run on every one of them, so the method should be one that may.

        Raises:
            FastRPCError: all of them failed; this is the last error.
        """
        client: Any = self
        endpoints = _endpoints_now(client, method)
        views = [client.with_options(endpoint=each) for each in endpoints]
        running = Running()
        for view in views:
            view._set_options({"running": running})
        pool = client._pool
        with pool.reentry:
            ended = _start([functools.partial(view.call, method, *args, **kwargs) for view in views])
            try:
                for _ in endpoints:
                    _, outcome = _next_of(ended, pool)
                    if not isinstance(outcome, BaseException):
                        return outcome
                raise outcome
            finally:
                if not pool.is_of_parent:
                    running.end()


class Running:
    """The attempts of blocking calls that end together."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._attempts: list[BlockingCall] = []
        #: Whether nothing is to begin any more.
        self.is_over = False

    def add(self, attempt: BlockingCall) -> None:
        """Take an attempt that was started; it is cancelled with the others."""
        with self._lock:
            if not self.is_over:
                self._attempts.append(attempt)
                return
        attempt._cancel()

    def end(self) -> None:
        """Cancel what is under way, and what is added later."""
        with self._lock:
            self.is_over = True
        for attempt in self._attempts:
            attempt._cancel()


async def _endpoints(client: Any, method: Any) -> list[Endpoint]:
    """Return all endpoints; what stands in the way counts as an error of the call."""
    try:
        return cast(list[Endpoint], await client._endpoints_of(method))
    except FastRPCError as error:
        error._of_own_call = True
        raise


def _endpoints_now(client: Any, method: Any) -> list[Endpoint]:
    """Return the same for a client without a loop."""
    try:
        return cast(list[Endpoint], client._endpoints_of(method))
    except FastRPCError as error:
        error._of_own_call = True
        raise


def _start(calls: list[Callable[[], Any]]) -> "queue.SimpleQueue[tuple[int, Any]]":
    """Run each call in a thread; their numbers come in the order in which they end, with their outcomes."""
    ended: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()

    def run(number: int, call: Callable[[], Any]) -> None:
        try:
            outcome = call()
        except BaseException as error:
            outcome = error
        ended.put((number, outcome))

    for number, call in enumerate(calls):
        arguments = (run, number, call)
        threading.Thread(target=contextvars.copy_context().run, args=arguments, daemon=True).start()
    return ended


def _next_of(ended: "queue.SimpleQueue[tuple[int, Any]]", pool: Any) -> tuple[int, Any]:
    """Return the next outcome. A signal handler may fork meanwhile: in the child nobody would bring one."""
    while True:
        try:
            return ended.get(timeout=FORK_LOOK_SECONDS)
        except queue.Empty:
            pool.check_process()


def _checked(outcomes: dict[Endpoint, Any]) -> dict[Endpoint, Any]:
    """Return outcomes by endpoint; what is no outcome of a call but a mistake is raised."""
    for outcome in outcomes.values():
        if isinstance(outcome, BaseException) and not isinstance(outcome, FastRPCError):
            raise outcome
    return outcomes
