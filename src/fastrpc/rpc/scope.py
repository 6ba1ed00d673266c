"""The scope of a call, from which it inherits a deadline.

A timeout of 0 is valid here and in `with_options`, because programs compute the rest of a time budget, which may be 0.
The call then fails immediately and is not sent. Settings and `@method(timeout=)` refuse 0, where it would be a mistake.
"""

from contextvars import Token
from types import TracebackType
from typing import Any, Self

from fastrpc._core.calls.call import enter_scope, leave_scope
from fastrpc.config.validation import check_timeout

__all__ = ["detached", "timeout"]


class timeout:
    """Limit all calls inside to `seconds` from now: `async with fastrpc.timeout(0.5):`. Servers receive the limit too.

    The calls share the limit. Other code inside is not interrupted. An earlier limit around the block still applies.
    For SyncClient, use a plain `with`.

    Args:
        seconds: the number of seconds, 0 or more. None adds no limit.
    """

    def __init__(self, seconds: float | None) -> None:
        check_timeout(seconds, zero=True)
        self._seconds = seconds
        self._tokens: list[Token[Any] | None] = []

    def __enter__(self) -> Self:
        self._tokens.append(None if self._seconds is None else enter_scope(self._seconds))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        token = self._tokens.pop()
        if token is not None:
            leave_scope(token)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)


class detached:
    """Detach work inside the block from the current call, so that it may outlive the call: `with fastrpc.detached():`.

    Calls in the block, and in tasks created there, inherit neither the handler's deadline nor its retries, and
    `current_call()` does not return the call.
    """

    def __init__(self) -> None:
        self._tokens: list[Token[Any]] = []

    def __enter__(self) -> Self:
        self._tokens.append(enter_scope(None))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        leave_scope(self._tokens.pop())
