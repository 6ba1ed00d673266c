"""Convert errors of calls of a hosted service to errors of a backend."""

from collections.abc import Callable
from types import TracebackType
from typing import Any, Final

from fastrpc.client.reach_errors import ABSENT_HINT
from fastrpc.errors import BrokerError, CallError, ConfigError, FastRPCError, StoreError, UnavailableError
from fastrpc.status import Status

__all__ = ["BackendErrors"]

#: Statuses that mean that the backend did nothing.
_REFUSALS: Final = frozenset(
    {
        Status.FAILED_PRECONDITION,
        Status.INVALID_ARGUMENT,
        Status.NOT_FOUND,
        Status.PERMISSION_DENIED,
        Status.RESOURCE_EXHAUSTED,
        Status.UNAUTHENTICATED,
        Status.UNIMPLEMENTED,
    }
)


class BackendErrors:
    """A context manager that converts errors of calls to errors of a backend.

    Args:
        command: the name of the command that serves the backend: "store" or "broker".
        failure: the class of the backend's errors.
        own_error: returns the error for an answer that is specific to this backend; None for other answers.
    """

    __slots__ = ("_command", "_failure", "_own_error")

    def __init__(
        self,
        command: str,
        failure: type[StoreError] | type[BrokerError],
        own_error: Callable[[CallError], FastRPCError | None],
    ) -> None:
        self._command = command
        self._failure = failure
        self._own_error = own_error

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, FastRPCError) and (told := self.of(error)) is not error:
            raise told from error

    def of(self, error: FastRPCError) -> FastRPCError:
        """Return the error of the backend for a failed call of its service."""
        if isinstance(error, ConfigError | self._failure):
            return error
        if isinstance(error, CallError):
            return self._own_error(error) or self._answered(error)
        return self._failure(
            error.message,
            status=error.status,
            processed="unknown" if error.processed == "yes" else error.processed,
            retryable=isinstance(error, UnavailableError),
            hint=self._hint(error),
        )

    def _hint(self, error: FastRPCError) -> str | None:
        """Return a hint for the user of a backend, who does not see the client and its options."""
        is_absent = error.hint == ABSENT_HINT
        return f"is it running? `fastrpc {self._command}` serves one" if is_absent else error.hint

    def _answered(self, error: CallError) -> FastRPCError:
        # A backend that has stopped before its server answers UNAVAILABLE. Another server may answer soon.
        is_away = error.status is Status.UNAVAILABLE
        details: Any = error.details
        return self._failure(
            error.message,
            status=error.status,
            processed="no" if error.status in _REFUSALS else "unknown",
            retryable=is_away or error.retry_after is not None or error.retryable,
            # The details of an answer may have the backend's hint.
            hint=(details.get("hint") if isinstance(details, dict) else None) or error.hint,
            retry_after=error.retry_after,
        )
