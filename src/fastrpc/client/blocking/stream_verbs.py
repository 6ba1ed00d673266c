"""The verbs of a `SyncClient` for streams in one direction or both."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, overload

from fastrpc.rpc.upload import Upload

if TYPE_CHECKING:
    from fastrpc._core.client.blocking_state import BlockingState
    from fastrpc.client.blocking.stream import SyncStream

__all__ = ["BlockingStreamVerbs"]

P = ParamSpec("P")
S = TypeVar("S")
T = TypeVar("T")


class BlockingStreamVerbs:
    """The verbs of a `SyncClient` for streams."""

    if TYPE_CHECKING:

        @property
        def _state(self) -> "BlockingState":
            """The state of the client; the compiled base class has it."""

    @overload
    def stream(
        self,
        method: Callable[Concatenate[Any, AsyncIterator[S], P], AsyncIterator[T]],
        messages: Iterable[S],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> "SyncStream[S, T]": ...
    @overload
    def stream(
        self,
        method: Callable[Concatenate[Any, Upload, P], AsyncIterator[T]],
        pieces: Iterable[bytes],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> "SyncStream[bytes, T]": ...
    @overload
    def stream(
        self, method: Callable[Concatenate[Any, P], AsyncIterator[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> "SyncStream[Any, T]": ...
    @overload
    def stream(
        self, method: Callable[Concatenate[Any, P], Iterator[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> "SyncStream[Any, T]": ...
    @overload
    def stream(self, method: str, /, *args: Any, **kwargs: Any) -> "SyncStream[Any, Any]": ...
    def stream(self, method: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call a method that streams its answers.

        ::

            with client.stream(Arith.count, 3) as numbers:
                for number in numbers:
                    print(number)

        Nothing is sent before the block is entered; leaving it early cancels the handler. If the method takes a stream
        as well, pass an iterable of messages: the thread that reads the answers sends them whenever no answer waits to
        be read. If the iterable itself waits for an answer, it waits for ever: then use `open` and two threads.
        `Timeouts.call` does not apply: `with_options(timeout=)` limits the whole stream.

        Raises:
            TypeError: the method gives one answer, or its stream is missing.
        """
        return self._streams().make("stream", self, method, args, kwargs)

    @overload
    def open(
        self,
        method: Callable[Concatenate[Any, AsyncIterator[S], P], AsyncIterator[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> "SyncStream[S, T]": ...
    @overload
    def open(
        self,
        method: Callable[Concatenate[Any, AsyncIterator[S], P], Awaitable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> "SyncStream[S, T]": ...
    @overload
    def open(
        self,
        method: Callable[Concatenate[Any, Upload, P], AsyncIterator[T] | Awaitable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> "SyncStream[bytes, T]": ...
    @overload
    def open(self, method: str, /, *args: Any, **kwargs: Any) -> "SyncStream[Any, Any]": ...
    def open(self, method: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call a method that takes a stream, to send its messages by hand; pass its arguments without the stream.

        ::

            with client.open(Arith.sum) as numbers:
                numbers.send(3)
                numbers.end()
                print(numbers.receive())

        Raises:
            TypeError: the method takes no stream.
        """
        return self._streams().make("open", self, method, args, kwargs)

    def _streams(self) -> Any:
        """Return the maker of this client's streams."""
        state = self._state
        # Do not wait for a connection here: the stream does so when it begins.
        state.use(waits=False)
        return state.runner.streams
