from collections.abc import Callable, Coroutine, Iterable
from typing import Any, final

from fastrpc._core.calls.call import Call
from fastrpc._core.payload.arguments import BoundArguments

def invoke(handler: Callable[..., Any], given: tuple[Any, ...] | bytes | BoundArguments) -> Any:
    """Call a handler with its decoded arguments."""

def run_handler(
    call: Call, handler: Callable[..., Any], given: tuple[Any, ...] | bytes | BoundArguments
) -> Any:
    """Call a handler with `call` as its `current_call()`."""

@final
class Chain:
    """The interceptors around the calls of one side.

    Args:
        interceptors: `async (call, proceed) -> result`, the first of them outermost.
        innermost: the call itself, run by the last one's `proceed`.
        note_failure: called with a failed call and its error, before the error propagates.
        admits_none: returns whether None may be a call's result; without it, interceptors may always return None.
    """

    def __init__(
        self,
        interceptors: Iterable[Callable[[Any, Any], Any]],
        innermost: Callable[[Any], Coroutine[Any, Any, Any]],
        note_failure: Callable[[Any, BaseException], None],
        admits_none: Callable[[Any], bool] | None = None,
    ) -> None: ...
    def proceed(self) -> RestOfChain:
        """Return the `proceed` of the whole chain: `await proceed(call)` runs it."""

@final
class RestOfChain:
    """The `proceed` of an interceptor: the rest of the chain."""

    def __call__(self, call: Any) -> Proceeding: ...

@final
class Proceeding(Coroutine[Any, Any, Any]):
    """The rest of the chain, for one call: a coroutine object."""

    cr_running: bool
    cr_frame: None
    cr_code: None

    def send(self, value: Any) -> Any:
        """Take one step, as a coroutine does."""

    def throw(self, kind: Any, value: Any = None, traceback: Any = None) -> Any:
        """Raise an exception at the await of the inner coroutine."""

    def close(self) -> None:
        """End without a result."""
    @property
    def cr_await(self) -> Any:
        """The inner coroutine while it runs, or None."""

    def __await__(self) -> Any: ...
    def __iter__(self) -> Any: ...
    def __next__(self) -> Any: ...
