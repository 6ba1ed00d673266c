"""What happens to a blocking call that cannot just be sent: connecting, interceptors, another attempt."""

from collections.abc import Callable, Coroutine, Sequence
from types import FrameType
from typing import Any

from fastrpc._core.calling.blocking_batch import BlockingBatch
from fastrpc._core.calling.blocking_call import BlockingCall
from fastrpc._core.calls.call import enter_call, leave_scope
from fastrpc._core.calls.interception import Chain
from fastrpc.client.blocking.attempting import SyncAttempting
from fastrpc.client.blocking.pool import SyncPool
from fastrpc.client.call_runner import (
    batch_result,
    may_retry,
    note_failure,
    peer_of,
    reply_of,
    status_of,
)
from fastrpc.errors import FastRPCError
from fastrpc.failmodes.base import FailMode, RetryPolicy
from fastrpc.rpc.interceptor import Interceptor, admits_none, checked_interceptors
from fastrpc.rpc.peer import Peer
from fastrpc.rpc.reply import Reply

__all__ = ["SyncCallRunner", "drive"]

_RULE = "interceptors and fail modes of a SyncClient may await proceed, call.sleep() and other interceptors"


class SyncCallRunner:
    """Runs the calls of one blocking client that need more than a connection that is there."""

    def __init__(
        self, pool: SyncPool, interceptors: Sequence[Interceptor], policy: RetryPolicy, mode: FailMode
    ) -> None:
        self._pool = pool
        self._interceptors = checked_interceptors(interceptors)
        self._proceed = Chain(self._interceptors, self._innermost, note_failure, admits_none).proceed()
        self._mode = mode
        #: When calls may be tried again; the budget is shared by all of them.
        self.policy = policy

    def run(self, call: BlockingCall) -> Any:
        """Make a call from its beginning."""
        call._start_clock()
        if not self._interceptors:
            return self._result(call, self._attempts(call, None))
        token = enter_call(call)
        try:
            return self._result(call, drive(self._proceed(call)))
        finally:
            leave_scope(token)

    async def _innermost(self, call: BlockingCall) -> Any:
        """Make all attempts, inside the interceptors."""
        return self._attempts(call, None)

    def retry(self, call: BlockingCall, error: FastRPCError) -> Any:
        """Go on after a first attempt failed, or raise its error when it stays at that."""
        if not may_retry(call, error, call._options.fail_mode or self._mode):
            raise error
        return self._result(call, self._attempts(call, error))

    def _attempts(self, call: BlockingCall, error: FastRPCError | None) -> Any:
        """Attempt as the fail mode says. `error` is that of an attempt already made."""
        attempts = SyncAttempting(self._pool, call, error)
        mode: FailMode = call._options.fail_mode or self._mode
        try:
            attempts.follow()
            return drive(mode.run(call, attempts.pick, attempts.attempt))
        except BaseException as unsent:
            if not attempts.was_sent:
                call._count_unsent(status_of(unsent))
            raise

    def run_batch(self, batch: BlockingBatch) -> list[Any]:
        """Make a batch for which there was no connection, or around whose calls interceptors stand."""
        size = batch._size
        if self._interceptors:
            return batch_result(
                batch, [self._outcome(self.run, batch._single(index)) for index in range(size)]
            )
        try:
            attempts = SyncAttempting(self._pool, batch, None)
            attempts.follow()
            values = attempts.attempt_batch(batch)
        except FastRPCError as error:
            batch._count_unsent(error.status)
            return batch_result(batch, [error] * size)
        return self.finish_batch(batch, values)

    def finish_batch(self, batch: BlockingBatch, values: list[Any]) -> list[Any]:
        """Try again what may be, then raise the first error or return it in its place."""
        for index, value in enumerate(values):
            if isinstance(value, FastRPCError):
                values[index] = self._outcome(self.retry, batch._attempted(index), value)
        return batch_result(batch, values)

    def _outcome(self, make: Callable[..., Any], *args: Any) -> Any:
        """Return what a call of a batch came to, be it an error."""
        try:
            return make(*args)
        except FastRPCError as error:
            return error

    def _result(self, call: BlockingCall, value: Any) -> Any:
        if call._is_one_way:  # An interceptor may have answered; nobody asked.
            return None
        return self.reply(call, value) if call._wants_reply else value

    def peer(self, call: BlockingCall) -> Peer:
        """Say who is on the other side of a call."""
        return peer_of(call, [subchannel.endpoint for subchannel in self._pool.subchannels], "")

    def reply(self, call: BlockingCall, value: Any) -> Reply[Any]:
        """Wrap the answer of `request`."""
        return reply_of(call, value)


def drive(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end without an event loop.

    Raises:
        RuntimeError: it awaits something that needs one; the message names it.
    """
    try:
        awaited = coroutine.send(None)
    except StopIteration as end:
        return end.value
    except (RuntimeError, AttributeError) as error:
        if not _misses_loop(error):
            raise
        raise RuntimeError(f"{_path_of_error(error)} needs an event loop; {_RULE}") from error
    refusal = RuntimeError(f"{_path_of_wait(coroutine, awaited)} needs an event loop; {_RULE}")
    try:
        coroutine.throw(refusal)
    except StopIteration as end:
        return end.value
    # It caught the refusal and awaits again.
    coroutine.close()
    raise refusal


def _misses_loop(error: RuntimeError | AttributeError) -> bool:
    """Whether it comes of asking asyncio for the running loop, or of what asyncio's own classes do with its answer."""
    if isinstance(error, AttributeError):
        return error.obj is None and error.name in {"create_future", "create_task", "call_later", "call_at"}
    return error.args == ("no running event loop",)


def _path_of_error(error: BaseException) -> str:
    """Name the functions, from the interceptor inwards, in which an error was raised."""
    frames = []
    place = error.__traceback__
    while place is not None:
        frames.append(place.tb_frame)
        place = place.tb_next
    return _path(frames)


def _path_of_wait(coroutine: Any, awaited: Any) -> str:
    """Name the functions, from the interceptor inwards, that wait, and what for."""
    frames = []
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is not None:
            frames.append(frame)
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
    path = _path(frames)
    return path if awaited is None else f"{path} → {awaited!r}"


def _path(frames: Sequence[FrameType]) -> str:
    return " → ".join(
        f"{frame.f_globals.get('__name__')}.{frame.f_code.co_qualname}"
        for frame in frames
        if frame.f_code.co_filename != __file__ and frame.f_globals.get("__name__") != Chain.__module__
    )
