"""The answer that a caller gets for an error raised by the handler and its interceptors.

::

    CallError                                     its own status, message, details and `retry_after`
    a group of CallErrors and own-call errors     as its first leaf
    an error of a call that this process made     UNAVAILABLE, RESOURCE_EXHAUSTED, CANCELLED; others: as a crash
    NotImplementedError                           UNIMPLEMENTED
    any other, SystemExit too                     INTERNAL (gRPC services: UNKNOWN) with an id, which is in the log, too

A caller never gets the text of an exception or the message of another server: both may contain private data.

If a call that the handler made fails (`mark_own` in `_core/client/call_errors.pyx`), or an operation of a store or a
broker, the error describes that call, not the caller's. Its status is passed on only if it holds for the caller's call,
too. `sys.exit()` in a handler fails one call and does not end the server. A KeyboardInterrupt on the loop acts as
Ctrl-C: the server drains. A CancelledError that the handler raises itself, while nothing cancels its task, is a crash.
"""

import asyncio
import logging
import os
from enum import Enum, auto
from typing import Any, TypeGuard, cast

import msgspec

from fastrpc._core.calls.call_log import ERROR_ID
from fastrpc._core.link.failure import Failure
from fastrpc._core.server.served_call import ServerCall
from fastrpc.codecs.base import codec_numbers
from fastrpc.errors import (
    BrokerError,
    CallError,
    DeadlineExceededError,
    FastRPCError,
    StoreError,
    UnavailableError,
)
from fastrpc.handlers.life import Life
from fastrpc.peers.outcomes import is_away, is_of_own_call
from fastrpc.rpc.faults import OWN_FAULTS, Faults
from fastrpc.status import Status

__all__ = ["Failures"]

logger = logging.getLogger("fastrpc.server")

#: The push-back value that forbids a retry.
_DO_NOT_RETRY = 0xFFFFFFFF

#: Statuses of a handler's own call that hold for the caller of the handler as well. Other statuses concern only the
#: handler's call.
_PASSED_ON = frozenset({Status.UNAVAILABLE, Status.RESOURCE_EXHAUSTED, Status.CANCELLED})


class _Kind(Enum):
    """The meaning of a handler's error for its caller."""

    #: A call that this process made failed, and its status holds for the caller, too.
    BEHIND = auto()
    #: A call that this process made failed, and its status does not concern the caller.
    HIDDEN_BEHIND = auto()
    MEANT = auto()
    #: An interceptor refused the call before its handler started.
    REFUSED = auto()
    LATE = auto()
    CANCELLED = auto()
    UNIMPLEMENTED = auto()
    CRASH = auto()


class Failures:
    """Convert errors to answers, and log the details that callers do not get.

    Args:
        life: logs the failures of stores and brokers.
        expose_errors: whether callers also get the text of exceptions.
    """

    def __init__(self, life: Life, *, expose_errors: bool) -> None:
        self._life = life
        self._expose_errors = expose_errors

    def status_of(self, call: ServerCall, error: BaseException) -> Status:
        """Return the status of the answer that `tell` makes."""
        if isinstance(error, asyncio.CancelledError) and not call._is_stopped():
            # The handler raised the CancelledError itself, and `tell` gets another error in its place.
            return _crash_status(call, error)
        return _classified(call, _unwrapped(error))[1]

    def tell(self, call: ServerCall, error: BaseException) -> Failure:
        """Return the failure for the caller, and log the details that the caller does not get."""
        error = _unwrapped(error)
        kind, status = _classified(call, error)
        has_run = not call.never_started
        match kind:
            case _Kind.BEHIND:
                return self._behind(call, error, status)
            case _Kind.HIDDEN_BEHIND:
                return self._crash(call, error, pushback_ms=_DO_NOT_RETRY)
            case _Kind.MEANT:
                return _refusal(call, cast(CallError, error), status)
            case _Kind.REFUSED:
                refusal = cast(UnavailableError | DeadlineExceededError, error)
                text = f"{call.method}: {refusal.message}"
                return Failure(status, text, pushback_ms=_pushback_of(refusal), has_run=has_run)
            case _Kind.LATE:
                return Failure(status, f"{call.method}: its deadline passed", has_run=has_run)
            case _Kind.CANCELLED:
                return Failure(status, f"{call.method} was cancelled", has_run=has_run)
            case _Kind.UNIMPLEMENTED:
                return self._unimplemented(call, error)
            case _Kind.CRASH:
                return self._crash(call, error, has_run=has_run)

    def _behind(self, call: ServerCall, error: BaseException, status: Status) -> Failure:
        """Return and log the failure of a call that this process made."""
        if isinstance(error, StoreError | BrokerError):
            # Logged at most once a minute, because every call fails while a store or a broker is unavailable.
            self._life.failed_backend(call.method, error)
        else:
            logger.warning(
                "%s: a call it made failed: %s: %s",
                call.method,
                type(error).__name__,
                error,
                extra=_fields(call, status),
            )
        text = self._with_text(f"{call.method}: a call it made failed ({status.name})", error)
        # No retry: the client that made the inner call has already retried if that could help.
        return Failure(status, text, pushback_ms=_DO_NOT_RETRY)

    def _unimplemented(self, call: ServerCall, error: BaseException) -> Failure:
        logger.warning(
            "%s is not implemented", call.method, exc_info=error, extra=_fields(call, Status.UNIMPLEMENTED)
        )
        text = self._with_text(f"{call.method} is not implemented", error)
        return Failure(Status.UNIMPLEMENTED, text, has_run=not call.never_started)

    def _crash(
        self, call: ServerCall, error: BaseException, *, pushback_ms: int = 0, has_run: bool = True
    ) -> Failure:
        identifier = call.state[ERROR_ID] = os.urandom(4).hex()
        status = _crash_status(call, error)
        fields = {**_fields(call, status), "error_id": identifier}
        logger.error("%s failed [%s]", call.method, identifier, exc_info=error, extra=fields)
        text = _faults_of(call).text_of_crash(error)
        if text is None:
            text = f"{call.method} failed; the server's log has the reason under id {identifier}"
            text = self._with_text(text, error)
        return Failure(status, text, pushback_ms=pushback_ms, has_run=has_run)

    def _with_text(self, text: str, error: BaseException) -> str:
        return f"{text}: {type(error).__name__}: {error}" if self._expose_errors else text


def _unwrapped(error: BaseException) -> BaseException:
    """Return the first leaf of an exception group if each is a CallError or an own-call error, else the error."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    first: BaseException | None = None
    waiting: list[BaseException] = [error]
    while waiting:
        part = waiting.pop()
        if isinstance(part, BaseExceptionGroup):
            waiting += reversed(part.exceptions)
        elif isinstance(part, CallError) or is_of_own_call(part):
            first = part if first is None else first
        else:
            return error
    return error if first is None else first


def _classified(call: ServerCall, error: BaseException) -> tuple[_Kind, Status]:
    """Return the meaning of an error for the caller, and the status of the answer."""
    if is_of_own_call(error):
        status = _status_behind(call, error)
        return (_Kind.HIDDEN_BEHIND, _crash_status(call, error)) if status is None else (_Kind.BEHIND, status)
    if isinstance(error, CallError):
        # A handler may raise CallError with OK, which the peer would read as a value: the status becomes UNKNOWN.
        return _Kind.MEANT, error.status or Status.UNKNOWN
    if _refuses(error, call):
        return _Kind.REFUSED, error.status
    if _is_late(call, error):
        return _Kind.LATE, Status.DEADLINE_EXCEEDED
    if isinstance(error, asyncio.CancelledError):
        return _Kind.CANCELLED, Status.CANCELLED
    if isinstance(error, NotImplementedError) and _faults_of(call).tells_unimplemented:
        return _Kind.UNIMPLEMENTED, Status.UNIMPLEMENTED
    return _Kind.CRASH, _crash_status(call, error)


def _crash_status(call: ServerCall, error: BaseException) -> Status:
    """Return the status of a call whose handler raised an exception that is not an answer."""
    return _faults_of(call).status_of_crash(error)


def _faults_of(call: ServerCall) -> Faults:
    """Return the rules by which faults of the call's method are reported."""
    return OWN_FAULTS if call.route is None else call.route.definition.faults


def _status_behind(call: ServerCall, error: FastRPCError) -> Status | None:
    """Return the caller's status for an error of a call made by the handler; None: the error counts as a crash."""
    if isinstance(error, StoreError | BrokerError) and not is_away(error):
        # The store or broker failed although it can be reached, for example because the program closed it.
        return None
    if error.status is Status.DEADLINE_EXCEEDED:
        # The inner call may have had a shorter deadline than the caller's call.
        return error.status if call.is_expired or call.remaining() == 0 else Status.UNAVAILABLE
    return error.status if error.status in _PASSED_ON else None


def _refuses(error: BaseException, call: ServerCall) -> TypeGuard[UnavailableError | DeadlineExceededError]:
    """Return whether an interceptor refused the call with an error that clients treat as a refusal."""
    return call.never_started and isinstance(error, UnavailableError | DeadlineExceededError)


def _is_late(call: ServerCall, error: BaseException) -> bool:
    """Return whether the error comes from the call's own deadline."""
    if isinstance(error, asyncio.CancelledError):
        return call.is_expired
    return isinstance(error, DeadlineExceededError) and call.remaining() == 0


def _refusal(call: ServerCall, error: CallError, status: Status) -> Failure:
    details = b""
    sent = error._details_as_sent
    if (sent is not None or error.details is not None) and call.connection.gate.runner.room.has_room:
        try:
            details = _encoded_details(call, status, error, sent)
        except KeyboardInterrupt:
            raise
        except (
            BaseException
        ) as problem:  # Encoding calls methods of the user's types, which may raise any exception.
            logger.error("%s: the details of its error cannot be encoded: %s", call.method, problem)
    return Failure(
        status, error.message, details, pushback_ms=_pushback_of(error), has_run=not call.never_started
    )


def _encoded_details(call: ServerCall, status: Status, error: CallError, sent: bytes | None) -> bytes:
    """Return the details of an error as the call's protocol sends them; `sent` is this form if it is known."""
    if call.groups.dialect.details_are_status(call):
        if sent or error.details is None:
            # `sent` may come from a call that the handler made: it is passed on unchanged.
            return sent or b""
        # Imported on first use, with the schema of protobuf: 20 ms that most failures do not need.
        from fastrpc.rpc.protobuf.status_details import encode_details

        return encode_details(status, error.message, error.details) or b""
    if error.details is None:
        return b""
    if codec_numbers().get(call.codec_id) == "json":
        return msgspec.json.encode(error.details)
    return msgspec.msgpack.encode(error.details)


def _pushback_of(error: CallError | UnavailableError | DeadlineExceededError) -> int:
    """Return the push-back for the caller in milliseconds; 0 for none."""
    if isinstance(error, DeadlineExceededError) or error.retry_after is None:
        return 0
    return int(max(1, min(_DO_NOT_RETRY - 1, error.retry_after * 1000)))


def _fields(call: ServerCall, status: Status) -> dict[str, Any]:
    """Return the extra fields of a log record."""
    return {
        "service": call.method.rpartition(".")[0],
        "method": call.method,
        "peer": str(call.peer),
        "status": status.name,
    }
