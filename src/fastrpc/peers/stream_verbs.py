"""The verbs of a client for streams in one direction or both."""

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, overload

from fastrpc.rpc.upload import Upload

if TYPE_CHECKING:
    from fastrpc._core.client.caller_state import CallerState
    from fastrpc.peers.stream import Stream

__all__ = ["StreamVerbs"]

P = ParamSpec("P")
S = TypeVar("S")
T = TypeVar("T")


class StreamVerbs:
    """The verbs of a `Client` for streams."""

    if TYPE_CHECKING:

        @property
        def _state(self) -> "CallerState":
            """The state of the client; compiled."""

    @overload
    def stream(
        self, method: Callable[Concatenate[Any, P], AsyncIterator[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> "Stream[Any, T]": ...
    @overload
    def stream(
        self, method: Callable[Concatenate[Any, P], Iterator[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> "Stream[Any, T]": ...
    @overload
    def stream(
        self,
        method: Callable[Concatenate[Any, Upload, P], AsyncIterator[T]],
        pieces: AsyncIterable[bytes] | Iterable[bytes],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> "Stream[Any, T]": ...
    @overload
    def stream(self, method: str, /, *args: Any, **kwargs: Any) -> "Stream[Any, Any]": ...
    def stream(self, method: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call a method that streams its answers.

        ::

            async with client.stream(Arith.count, 3) as numbers:
                async for number in numbers:
                    print(number)

        Nothing is sent before the block is entered. Leaving the block early cancels the handler. If the method takes a
        stream as well, pass an iterable of messages, asynchronous or not: they are sent while answers are read.
        `Timeouts.call` does not apply; `with_options(timeout=)` limits the whole stream.

        Raises:
            TypeError: the method returns a single answer, or the argument for its stream is missing.
        """
        return self._streams().make("stream", self, method, args, kwargs)

    @overload
    def open(
        self,
        method: Callable[Concatenate[Any, AsyncIterator[S], P], AsyncIterator[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> "Stream[S, T]": ...
    @overload
    def open(
        self,
        method: Callable[Concatenate[Any, AsyncIterator[S], P], Awaitable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> "Stream[S, T]": ...
    @overload
    def open(
        self,
        method: Callable[Concatenate[Any, Upload, P], AsyncIterator[T] | Awaitable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> "Stream[bytes, T]": ...
    @overload
    def open(self, method: str, /, *args: Any, **kwargs: Any) -> "Stream[Any, Any]": ...
    def open(self, method: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call a method that takes a stream, and send the messages with `send`. Pass its other arguments here.

        ::

            async with client.open(Arith.sum) as numbers:
                await numbers.send(3)
                await numbers.end()
                print(await numbers.receive())

        Raises:
            TypeError: the method takes no stream.
        """
        return self._streams().make("open", self, method, args, kwargs)

    def _streams(self) -> Any:
        """Return the maker of the client's streams."""
        return self._state.runner.streams
