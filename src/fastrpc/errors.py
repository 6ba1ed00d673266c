"""The whole error tree.

::

    FastRPCError
    ├── CallError                 the other side refused or failed the call
    ├── DeadlineExceededError     also a TimeoutError
    ├── UnavailableError          the service cannot answer now
    │   ├── NoEndpointError       the registry lists no endpoint for the service
    │   ├── CircuitOpenError      the circuit breaker of the endpoint is open
    │   ├── OverloadedError       a limit refused the call before it started
    │   ├── ConnectError          no connection could be opened; also a ConnectionError
    │   └── ConnectionLostError   the connection broke under the call; also a ConnectionError
    ├── ProtocolError
    │   ├── LocalProtocolError    this side misused the engine
    │   └── RemoteProtocolError   the peer violated the protocol; also a ConnectionLostError
    ├── CodecError
    │   ├── EncodeError           a value cannot be encoded, or exceeds the size limit
    │   └── DecodeError           an answer does not fit its annotation
    ├── StreamEndedError          there is no further message
    ├── StoreError                a key-value backend failed
    │   ├── StoreConflictError    the item does not have the expected revision
    │   ├── CompactedError        the history does not reach back to the revision
    │   ├── LockHeldError         another process holds the lock
    │   └── LockLostError         a lock or lease ended inside its block
    ├── BrokerError               a publish/subscribe backend failed
    └── ConfigError               a setting is wrong; also a ValueError

The class names the side that failed, `status` the kind of failure. `processed` states whether the handler may have run
("no", "yes" or "unknown"), `retryable` whether a retry is safe and may help, `hint` the remedy.
"""

from copy import copy
from sys import float_info
from types import FunctionType
from typing import Any, ClassVar, Literal, TypeVar

from fastrpc.status import Status

__all__ = [
    "BrokerError",
    "CallError",
    "CircuitOpenError",
    "CodecError",
    "CompactedError",
    "ConfigError",
    "ConnectError",
    "ConnectionLostError",
    "DeadlineExceededError",
    "DecodeError",
    "EncodeError",
    "FastRPCError",
    "LocalProtocolError",
    "LockHeldError",
    "LockLostError",
    "NoEndpointError",
    "OverloadedError",
    "Processed",
    "ProtocolError",
    "RemoteProtocolError",
    "StoreConflictError",
    "StoreError",
    "StreamEndedError",
    "UnavailableError",
    "copied_error",
    "is_endpoint_fault",
]

#: Whether the handler of a failed call ran, as far as this side knows.
Processed = Literal["no", "yes", "unknown"]

_Error = TypeVar("_Error", bound=Exception)


class FastRPCError(Exception):
    """The base of all errors that fastrpc defines.

    Attributes:
        message: the text, without the hint.
        status: the reason of a failed call; the status that a caller gets if a handler raises this error.
        processed: whether the handler ran: "no", "yes" or "unknown".
        retryable: whether the same call may be sent again immediately.
        is_lasting: whether a connection keeps failing in the same way until someone changes a certificate or a setting.
        hint: the remedy; None without a remedy. `str(error)` has it in brackets.
    """

    default_status: ClassVar[Status] = Status.UNKNOWN
    default_processed: ClassVar[Processed] = "unknown"
    default_retryable: ClassVar[bool] = False

    is_lasting: bool = False

    #: The details given by the handler on the other side, as plain data, or None.
    details: Any = None
    #: The details as another protocol sent them.
    _details_as_sent: bytes | None = None

    #: Whether a call made by this process raised the error. If such an error leaves a handler, a call made by the
    #: handler failed, so the handler's caller is not at fault.
    _of_own_call = False

    def __init__(
        self,
        message: str = "",
        *,
        status: Status | None = None,
        processed: Processed | None = None,
        retryable: bool | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status: Status = self.default_status if status is None else status
        self.processed: Processed = self.default_processed if processed is None else processed
        self.retryable: bool = self.default_retryable if retryable is None else retryable
        self.hint: str | None = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, self.__dict__.copy())


def _rebuild(kind: type[_Error], args: tuple[Any, ...], state: dict[str, Any]) -> _Error:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


def _checked_pause(retry_after: float | None) -> float | None:
    if retry_after is None:
        return None
    if not isinstance(retry_after, int | float) or isinstance(retry_after, bool):
        raise TypeError(f"retry_after is {retry_after!r}, it must be a number of seconds, or None")
    if not 0 <= retry_after <= float_info.max:
        raise ValueError(
            f"retry_after is {retry_after!r}, it must be seconds from 0, or None (leave it out for an error that is "
            "not to be tried again)"
        )
    return retry_after


class _NotGiven:
    """The default of `status`, to tell a missing status from UNKNOWN."""

    def __repr__(self) -> str:
        return "Status.UNKNOWN"


_NOT_GIVEN: Any = _NotGiven()


def _checked_status(status: Any, message: Any) -> Status:
    try:
        return Status(status)
    except ValueError:
        if isinstance(message, Status) and isinstance(status, str):
            raise TypeError(
                f"status and text of a CallError are exchanged (write {_call_error_text(message, status)})"
            ) from None
        if isinstance(status, str) and status in Status.__members__:
            raise ValueError(
                f"the status of a CallError is the text {status!r} (write Status.{status})"
            ) from None
        text = status if isinstance(status, str) and status else "…"
        raise ValueError(
            f"the status of a CallError is {status!r}, which is not a Status "
            f"(write {_call_error_text(Status.NOT_FOUND, text)})"
        ) from None


def _call_error_text(status: Status, message: str = "…") -> str:
    return f'CallError(Status.{status.name}, "{message}")'


class CallError(FastRPCError):
    """The other side refused the call or its handler failed.

    A handler raises it to refuse a call: `raise CallError(Status.NOT_FOUND, "no such user")`. `details` is any
    value that the codec can encode within the message limits. The server omits details that cannot be encoded and logs
    this; it also omits details when its memory is full. A message above 4,096 bytes is truncated. `retry_after` is in
    seconds; setting it marks the call as safe to retry.

    Attributes:
        details: the value that the handler gave, as plain data, or None.
        retry_after: seconds after which the same call may succeed; None without such advice.

    Raises:
        TypeError: neither status nor message is given, or they are swapped; `retry_after` is not a number, or the
            message is not text.
        ValueError: `retry_after` is negative or not finite; `status` is OK or unknown.
    """

    default_processed: ClassVar[Processed] = "yes"

    #: Whether another server sent it.
    _was_received = False

    def __init__(
        self,
        status: Status = _NOT_GIVEN,
        message: str = "",
        *,
        details: Any = None,
        retry_after: float | None = None,
        processed: Processed | None = None,
        retryable: bool | None = None,
        hint: str | None = None,
    ) -> None:
        self.retry_after = _checked_pause(retry_after)
        if status is _NOT_GIVEN:
            if not message:
                raise TypeError(
                    f"a CallError needs a status and a text (write {_call_error_text(Status.NOT_FOUND)})"
                )
            status = Status.UNKNOWN
        status = _checked_status(status, message)
        if not isinstance(message, str):
            raise TypeError(
                f"the message of a CallError is {message!r}, it must be text (write {_call_error_text(status)}; "
                "a value goes into details=)"
            )
        if status is Status.OK:
            raise ValueError("status is OK, which no error has (return the value instead)")
        if retryable is None:
            retryable = retry_after is not None
        super().__init__(message, status=status, processed=processed, retryable=retryable, hint=hint)
        self.details = details

    def __str__(self) -> str:
        text = f"{self.status.name}: {self.message}" if self.message else self.status.name
        return f"{text} ({self.hint})" if self.hint else text

    def __repr__(self) -> str:
        message = f", {self.message!r}" if self.message else ""
        details = f", details={self.details!r}" if self.details is not None else ""
        pause = f", retry_after={self.retry_after!r}" if self.retry_after is not None else ""
        return f"{type(self).__name__}(Status.{self.status.name}{message}{details}{pause})"


class DeadlineExceededError(FastRPCError, TimeoutError):
    """The call's deadline passed, here or on the other side.

    Attributes:
        retry_after: seconds that the other side asks to wait, or None.
    """

    retry_after: float | None = None

    default_status: ClassVar[Status] = Status.DEADLINE_EXCEEDED


class UnavailableError(FastRPCError):
    """The service cannot answer now; another server may, or the same server later.

    Attributes:
        retry_after: seconds that the refusing server asks to wait; None if it names no wait.

    Raises:
        TypeError: `retry_after` is not a number.
        ValueError: `retry_after` is negative or not finite.
    """

    default_status: ClassVar[Status] = Status.UNAVAILABLE
    default_processed: ClassVar[Processed] = "no"
    default_retryable: ClassVar[bool] = True

    #: Whether another server sent it.
    _was_received = False

    def __init__(self, message: str = "", *, retry_after: float | None = None, **options: Any) -> None:
        super().__init__(message, **options)
        self.retry_after = _checked_pause(retry_after)


class NoEndpointError(UnavailableError):
    """No endpoint serves this name."""


class CircuitOpenError(UnavailableError):
    """The breaker of the endpoint is open."""


class OverloadedError(UnavailableError):
    """A limit refused the call before it started."""

    default_status: ClassVar[Status] = Status.RESOURCE_EXHAUSTED


class ConnectError(UnavailableError, ConnectionError):
    """No connection could be opened."""


class ConnectionLostError(UnavailableError, ConnectionError):
    """The connection broke during the call."""

    default_processed: ClassVar[Processed] = "unknown"
    default_retryable: ClassVar[bool] = False


class ProtocolError(FastRPCError):
    """A protocol violation.

    Attributes:
        reason: the number of the GOAWAY code sent to the peer.
    """

    default_status: ClassVar[Status] = Status.INTERNAL

    def __init__(self, message: str = "", *, reason: int = 2, **options: Any) -> None:
        super().__init__(message, **options)
        self.reason = reason


class LocalProtocolError(ProtocolError):
    """This side asked the engine for an operation that the protocol forbids."""


class RemoteProtocolError(ProtocolError, ConnectionLostError):
    """The peer violated the protocol. This closes the connection and fails its calls with this error.

    It is also a `ConnectionLostError`, so code that catches or retries lost connections handles it too. An error GOAWAY
    from the peer raises a plain `ConnectionLostError`, a violation during the opening a `ConnectError`.
    """


class CodecError(FastRPCError):
    """A value and its bytes do not match."""

    default_status: ClassVar[Status] = Status.INTERNAL


class EncodeError(CodecError):
    """A value cannot be encoded, or its encoding is too large."""

    default_status: ClassVar[Status] = Status.INVALID_ARGUMENT
    default_processed: ClassVar[Processed] = "no"


class DecodeError(CodecError):
    """Bytes do not hold a value of the expected type."""

    default_processed: ClassVar[Processed] = "yes"


class StreamEndedError(FastRPCError):
    """The stream has no further message."""

    default_status: ClassVar[Status] = Status.OUT_OF_RANGE
    default_processed: ClassVar[Processed] = "yes"


class _BackendError(FastRPCError):
    """A failure of a store or a broker, which programs use through a client.

    Attributes:
        retry_after: seconds after which the same request may succeed; None without such advice.
    """

    default_status: ClassVar[Status] = Status.UNAVAILABLE
    _of_own_call = True

    def __init__(
        self,
        message: str = "",
        *,
        status: Status | None = None,
        processed: Processed | None = None,
        retryable: bool | None = None,
        hint: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, status=status, processed=processed, retryable=retryable, hint=hint)
        self.retry_after = _checked_pause(retry_after)


class StoreError(_BackendError):
    """A key-value store failed.

    Attributes:
        retry_after: seconds after which the same request may succeed; None without such advice.
    """


class StoreConflictError(StoreError):
    """An item of a store does not have the expected revision; nothing was written.

    Attributes:
        item: the current item; None if the key has none.
    """

    default_status: ClassVar[Status] = Status.ABORTED
    default_processed: ClassVar[Processed] = "no"

    def __init__(self, message: str = "", *, item: Any = None, **options: Any) -> None:
        super().__init__(message, **options)
        self.item = item


class CompactedError(StoreError):
    """The history of a store does not reach back to a revision: list the items again, and watch after that list.

    Attributes:
        oldest: the oldest revision after which the store can watch.
    """

    default_status: ClassVar[Status] = Status.OUT_OF_RANGE

    def __init__(self, message: str = "", *, oldest: int = 0, **options: Any) -> None:
        super().__init__(message, **options)
        self.oldest = oldest


class LockHeldError(StoreError):
    """Another process still holds a lock at the end of the wait for it.

    Attributes:
        holder: the holder; None if it is unknown.
    """

    default_status: ClassVar[Status] = Status.ABORTED
    default_processed: ClassVar[Processed] = "no"

    def __init__(self, message: str = "", *, holder: Any = None, **options: Any) -> None:
        super().__init__(message, **options)
        self.holder = holder


class LockLostError(StoreError):
    """A lock or lease may have ended inside its block: the last steps of the block may have run without it."""

    default_status: ClassVar[Status] = Status.ABORTED


class BrokerError(_BackendError):
    """A publish/subscribe broker failed.

    Attributes:
        retry_after: seconds after which the same request may succeed; None without such advice.
    """


class ConfigError(FastRPCError, ValueError):
    """A setting is wrong. The message names the field, its value and the allowed values."""

    default_status: ClassVar[Status] = Status.FAILED_PRECONDITION
    default_processed: ClassVar[Processed] = "no"


def copied_error(error: Exception) -> Exception:
    """Return a copy of any error, with its traceback and causes, for another caller to raise.

    An error whose class allows no copy is returned itself.
    """
    kind = type(error)
    try:
        # A subclass's constructor may need other arguments than `args`, which are the arguments of its base.
        is_own = isinstance(kind.__init__, FunctionType)
        own = _rebuild(kind, error.args, error.__dict__) if is_own else copy(error)
    except Exception:
        return error
    own.__cause__, own.__context__ = error.__cause__, error.__context__
    own.__suppress_context__ = error.__suppress_context__
    return own.with_traceback(error.__traceback__)


# Statuses in a server's answer that are the endpoint's fault, not the call's.
_FAULTY_STATUSES = frozenset(
    {Status.UNKNOWN, Status.DEADLINE_EXCEEDED, Status.INTERNAL, Status.UNAVAILABLE, Status.DATA_LOSS}
)


def is_endpoint_fault(error: BaseException) -> bool:
    """Return whether an attempt's error is a fault of the endpoint: unreachable, lost, late or overloaded.

    Mistakes of the caller, cancellation, and refusals by a handler are not the endpoint's faults.
    """
    if isinstance(error, CallError):
        return error.status in _FAULTY_STATUSES
    if isinstance(error, LocalProtocolError | NoEndpointError | CircuitOpenError):
        return False
    return isinstance(error, UnavailableError | DeadlineExceededError | ProtocolError)
