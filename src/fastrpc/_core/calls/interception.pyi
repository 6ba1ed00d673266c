from collections.abc import Callable, Coroutine, Iterable
from typing import Any, final

@final
class Chain:
    """The interceptors around the calls of one side.

    Args:
        interceptors: `async (call, proceed) -> result`, the first of them outermost.
        innermost: what the last one's `proceed` runs.
        note_failure: told a call and what it failed with, before the error goes on outwards.
        admits_none: whether None can be what a call comes to; without it interceptors may return None for any.
    """

    def __init__(
        self,
        interceptors: Iterable[Callable[[Any, Any], Any]],
        innermost: Callable[[Any], Coroutine[Any, Any, Any]],
        note_failure: Callable[[Any, BaseException], None],
        admits_none: Callable[[Any], bool] | None = None,
    ) -> None: ...
    def proceed(self) -> Proceed:
        """Return what starts the chain: `await proceed(call)` runs all of it."""

@final
class Proceed:
    """What an interceptor awaits: the rest of the chain."""

    def __call__(self, call: Any) -> Proceeding: ...

@final
class Proceeding(Coroutine[Any, Any, Any]):
    """The rest of the chain, for one call: a coroutine object."""

    def send(self, value: Any) -> Any:
        """Take one step, as a coroutine does."""

    def throw(self, kind: Any, value: Any = None, traceback: Any = None) -> Any:
        """Raise an exception where the inner one waits."""

    def close(self) -> None:
        """End without a result."""
    @property
    def cr_await(self) -> Any:
        """The coroutine that runs meanwhile, or None."""

    def __await__(self) -> Any: ...
    def __iter__(self) -> Any: ...
    def __next__(self) -> Any: ...
