"""Verbs whose types are fixed but whose engine comes with a later change; each moves to its caller then.

`BlockingStreams` to `fastrpc/client/stream_verbs.py`, the others to `fastrpc/client/stream.py`. Until
then a program that uses them is refused, as it would be at run time.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar, overload

from fastrpc._core.payload.metadata import Metadata
from fastrpc.rpc.reply import Reply

P = ParamSpec("P")
S = TypeVar("S")
T = TypeVar("T")
S_contra = TypeVar("S_contra", contravariant=True)
T_co = TypeVar("T_co", covariant=True)

class SyncStream(Generic[S_contra, T_co]):
    """A `Stream` without a loop."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
    def __iter__(self) -> Iterator[T_co]: ...
    def __next__(self) -> T_co: ...
    def send(self, message: S_contra, /) -> None: ...
    def end(self) -> None: ...
    def receive(self) -> T_co: ...
    def receive_many(self) -> list[T_co]: ...
    def cancel(self) -> None: ...
    def close(self) -> None: ...
    @property
    def metadata(self) -> Metadata: ...
    @property
    def reply(self) -> Reply[T_co]: ...

class BlockingStreams:
    """What `SyncClient` is to have besides; its `call` and `request` take streamed input already."""

    @overload
    def stream(
        self,
        method: Callable[Concatenate[Any, AsyncIterator[S], P], AsyncIterator[T]],
        messages: Iterable[S],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> SyncStream[S, T]: ...
    @overload
    def stream(
        self, method: Callable[Concatenate[Any, P], AsyncIterator[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> SyncStream[Any, T]: ...
    @overload
    def stream(
        self, method: Callable[Concatenate[Any, P], Iterator[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> SyncStream[Any, T]: ...
    @overload
    def stream(self, method: str, /, *args: Any, **kwargs: Any) -> SyncStream[Any, Any]: ...
    @overload
    def open(
        self,
        method: Callable[Concatenate[Any, AsyncIterator[S], P], AsyncIterator[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> SyncStream[S, T]: ...
    @overload
    def open(
        self,
        method: Callable[Concatenate[Any, AsyncIterator[S], P], Awaitable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> SyncStream[S, T]: ...
    @overload
    def open(self, method: str, /, *args: Any, **kwargs: Any) -> SyncStream[Any, Any]: ...
