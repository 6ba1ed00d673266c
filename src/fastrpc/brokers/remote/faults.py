"""Convert errors of a broker to answers of its service, and back."""

from types import TracebackType
from typing import Any, Final

from fastrpc.brokers.remote.messages import BrokerFault
from fastrpc.errors import BrokerError, CallError, ConfigError, FastRPCError
from fastrpc.hosted.faults import BackendErrors
from fastrpc.status import Status

__all__ = ["BROKER_ERRORS", "TOLD", "call_error"]


def call_error(error: BaseException | None) -> CallError | None:
    """Return the answer for an error of a broker, or None for any other error."""
    if isinstance(error, ConfigError):
        fault = BrokerFault(True, error.hint)
        return CallError(Status.INVALID_ARGUMENT, error.message, details=fault)
    if isinstance(error, BrokerError):
        details = None if error.hint is None else BrokerFault(False, error.hint)
        return CallError(error.status, error.message, details=details, retry_after=error.retry_after)
    return None


def _own_error(error: CallError) -> FastRPCError | None:
    details: Any = error.details
    fault: dict[str, Any] = details if isinstance(details, dict) else {}
    if fault.get("is_config"):
        return ConfigError(error.message, hint=fault.get("hint"))
    return None


class _Told:
    """A context manager that converts errors of the broker to answers."""

    __slots__ = ()

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if (told := call_error(error)) is not None:
            raise told from None


TOLD: Final = _Told()
BROKER_ERRORS: Final = BackendErrors("broker", BrokerError, _own_error)
