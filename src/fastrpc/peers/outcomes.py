"""Outcomes of calls: replies, results of batches, errors for interceptors, the mark of errors from own calls."""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any, TypeGuard, cast

from fastrpc._core.client.call_errors import mark_own_call
from fastrpc._core.client.client_call import ClientCall, made_by
from fastrpc._core.payload.metadata import split_answer
from fastrpc.endpoint import Endpoint
from fastrpc.errors import FastRPCError
from fastrpc.rpc.reply import Reply
from fastrpc.status import Status

__all__ = [
    "AROUND_CALL",
    "count_unsent",
    "give_turn",
    "is_absence",
    "is_away",
    "is_of_own_call",
    "metadata_blocks",
    "note_failure",
    "own_call",
    "reply_of",
    "result_of",
    "status_of",
]

#: The name, in error texts, of code of a program that runs in the task of a call: interceptors, fail modes, types.
AROUND_CALL = "code around a call"


def reply_of(call: ClientCall, value: Any, received: bytes | None = None) -> Reply[Any]:
    """Return the answer of a call with its metadata and its peer.

    Args:
        received: the encoded metadata that a reply keeps in addition to its decoded metadata; None: all received
            metadata.
    """
    return Reply(
        value,
        metadata=call.reply_metadata,
        endpoint=cast(Endpoint, call.endpoint),
        attempts=call.attempt + 1,
        seconds=call._seconds,
        received=call._received_block if received is None else received,
    )


def result_of(call: ClientCall, value: Any) -> Any:
    """Return the result of a call in the form that its verb returns."""
    verb = made_by(call)
    if verb == "notify":  # An interceptor may have returned a value, but a one-way call has no value.
        return None
    return reply_of(call, value) if verb == "request" else value


def note_failure(call: ClientCall, error: BaseException) -> None:
    """Record the error of a call for the interceptors around it. An interceptor may have raised it."""
    if isinstance(error, FastRPCError) and not call._may_have_run:
        # A CallError has processed="yes", but an interceptor may have raised it for another call.
        error.processed = "no"
    call._note_outcome(status_of(error), error)


def metadata_blocks(call: ClientCall | None) -> tuple[bytes, bytes]:
    """Return an answer's encoded initial and trailing metadata; both empty if there is no call."""
    return split_answer(None if call is None else call._received_block)


def status_of(error: BaseException) -> Status:
    """Return the status that interceptors see for an error."""
    if isinstance(error, FastRPCError):
        return error.status
    return Status.UNKNOWN if isinstance(error, Exception) else Status.CANCELLED


def count_unsent(call: ClientCall, error: BaseException) -> None:
    """Count a call that failed before an attempt could be made."""
    call._count_unsent(status_of(error))


async def give_turn() -> None:
    """Let the loop run one iteration before a call that found no endpoint raises its error.

    Otherwise a task that calls again after each error would never suspend, so the loop could neither dial a server nor
    cancel the task.
    """
    await asyncio.sleep(0)


def is_of_own_call(error: BaseException) -> TypeGuard[FastRPCError]:
    """Return whether the error was raised by a call that this process made."""
    return isinstance(error, FastRPCError) and error._of_own_call


def is_away(error: FastRPCError) -> bool:
    """Return whether a server, a store or a broker may answer the same request later."""
    return error.retryable or error.status is Status.DEADLINE_EXCEEDED


def is_absence(error: BaseException) -> TypeGuard[FastRPCError]:
    """Return whether an error says that a server, store or broker called by this process is unavailable."""
    return is_of_own_call(error) and is_away(error)


@contextlib.contextmanager
def own_call() -> Iterator[None]:
    """Mark errors as raised by a call of this process, so that an uncaught error is not sent as a handler's answer.

    Attempts of calls mark their errors themselves; this context manager is for other awaits of a client.
    """
    try:
        yield
    except FastRPCError as error:
        mark_own_call(error)
        raise
