"""Errors of a broker as answers of its service, and back."""

from types import TracebackType
from typing import Any, Final

from fastrpc.brokers.remote.messages import BrokerFault
from fastrpc.errors import BrokerError, CallError, ConfigError, FastRPCError, UnavailableError
from fastrpc.status import Status

__all__ = ["BROKER_ERRORS", "TOLD", "broker_error", "call_error"]

#: Statuses of a broker that did nothing.
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


def call_error(error: BaseException | None) -> CallError | None:
    """Return the answer for an error of a broker; None for any other error."""
    if isinstance(error, ConfigError):
        fault = BrokerFault(True, error.hint)
        return CallError(Status.INVALID_ARGUMENT, error.message, details=fault)
    if isinstance(error, BrokerError):
        details = None if error.hint is None else BrokerFault(False, error.hint)
        return CallError(error.status, error.message, details=details, retry_after=error.retry_after)
    return None


def broker_error(error: FastRPCError) -> FastRPCError:
    """Return the error of a broker for a failed call of its service."""
    if isinstance(error, ConfigError | BrokerError):
        return error
    if not isinstance(error, CallError):
        processed = "unknown" if error.processed == "yes" else error.processed
        return BrokerError(
            error.message,
            status=error.status,
            processed=processed,
            retryable=isinstance(error, UnavailableError),
            hint=error.hint,
        )
    details: Any = error.details
    fault: dict[str, Any] = details if isinstance(details, dict) else {}
    if fault.get("is_config"):
        return ConfigError(error.message, hint=fault.get("hint"))
    return BrokerError(
        error.message,
        status=error.status,
        processed="no" if error.status in _REFUSALS else "unknown",
        # A broker that has ended, before its server is gone: the next one may answer soon.
        retryable=error.status is Status.UNAVAILABLE or error.retry_after is not None or error.retryable,
        hint=fault.get("hint") or error.hint,
        retry_after=error.retry_after,
    )


class _Told:
    """Turns the errors of the broker inside the block into answers."""

    __slots__ = ()

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if (told := call_error(error)) is not None:
            raise told from None


class _BrokerErrors:
    """Turns the errors of calls inside the block into errors of a broker."""

    __slots__ = ()

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, FastRPCError) and (told := broker_error(error)) is not error:
            raise told from error


TOLD: Final = _Told()
BROKER_ERRORS: Final = _BrokerErrors()
