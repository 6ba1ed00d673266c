"""What happens to a call that cannot just be sent: connecting, interceptors, another attempt."""

import asyncio
import time
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any, cast

from fastrpc._core.blocking_caller import BlockingBatch, BlockingCall
from fastrpc._core.call import enter_call, leave_scope
from fastrpc._core.caller import BatchCall, ClientCall
from fastrpc._core.client_session import ClientSession
from fastrpc._core.interception import Chain
from fastrpc._core.pending_call import PendingCall
from fastrpc.client.pool import Pool
from fastrpc.compressors.base import decompress_steps
from fastrpc.endpoint import Endpoint
from fastrpc.errors import DeadlineExceededError, DecodeError, FastRPCError, UnavailableError
from fastrpc.rpc.interceptor import Interceptor
from fastrpc.rpc.peer import Peer
from fastrpc.rpc.reply import Reply
from fastrpc.status import Status

__all__ = [
    "NOTIFY",
    "RETRIES",
    "UNPACK_SLICE_SECONDS",
    "Balancer",
    "batch_result",
    "may_retry",
    "note_failure",
    "peer_of",
    "reply_of",
    "status_of",
]

#: The verb of `notify`, as calls know it.
NOTIFY = 2

#: Attempts after the first one, where an error allows them.
RETRIES = 3

#: How long a decompression may keep the loop before others get their turn.
UNPACK_SLICE_SECONDS = 0.003


class Balancer:
    """Runs the calls of one client that need more than a connection that is there."""

    def __init__(self, pool: Pool, interceptors: Sequence[Interceptor]) -> None:
        self._pool = pool
        self._interceptors = tuple(interceptors)
        self._proceed = Chain(self._interceptors, partial(self._attempts, error=None), note_failure).proceed()

    def first_use(self, loop: asyncio.AbstractEventLoop) -> None:
        """The client was used for the first time, on this loop."""
        self._pool.bind(loop)

    def run(self, call: ClientCall) -> Coroutine[Any, Any, Any]:
        """Return the coroutine that makes a call from its beginning."""
        return self._intercepted(call) if self._interceptors else self._run(call)

    async def _run(self, call: ClientCall) -> Any:
        call.start_clock()
        return self._result(call, await self._attempts(call, None))

    async def _intercepted(self, call: ClientCall) -> Any:
        """Run the interceptors, the first of them outermost, around all attempts."""
        call.start_clock()
        token = enter_call(call)
        try:
            return self._result(call, await self._proceed(call))
        finally:
            leave_scope(token)

    def retry(self, call: ClientCall, error: FastRPCError) -> Coroutine[Any, Any, Any] | None:
        """Return the coroutine that goes on after a first attempt failed, or None when it stays at that."""
        return self._again(call, error) if may_retry(call, error) else None

    async def _again(self, call: ClientCall, error: FastRPCError) -> Any:
        return self._result(call, await self._attempts(call, error))

    async def _attempts(self, call: ClientCall, error: FastRPCError | None) -> Any:
        """Attempt until one succeeds or its error forbids another. `error` is that of an attempt already made."""
        number = 0 if error is None else 1
        avoid = None if error is None else call.endpoint
        while True:
            try:
                session = await self._session_for(call, error, avoid)
            except BaseException as unsent:
                if number == 0:
                    call.count_unsent(status_of(unsent))
                raise
            attempt = call.attempt_on(session, number)
            ran_before, call.may_have_run = call.may_have_run, True
            try:
                value = await attempt
            except FastRPCError as failed:
                call.may_have_run = ran_before or failed.processed != "no"
                call.adopt(attempt)
                number += 1
                if number > RETRIES or not may_retry(call, failed):
                    raise
                error, avoid = failed, session.endpoint
            else:
                call.adopt(attempt)
                return value

    async def _session_for(
        self, call: ClientCall | BatchCall, error: FastRPCError | None, avoid: Any
    ) -> ClientSession:
        """Return a connection within the call's deadline; an earlier attempt's error explains why there is none."""
        wait = call.caller.wait_for_ready
        session = self._pool.pick(ready=call.needs_ready, avoid=avoid)
        if session is not None:
            return session
        try:
            async with asyncio.timeout(call.remaining()):
                return await self._pool.acquire(wait=wait, ready=call.needs_ready, avoid=avoid)
        except TimeoutError as timeout:
            raise DeadlineExceededError(
                f"{call.method}: no connection within {call.seconds:.3g} s; {self._pool.tried()}",
                processed="no",
            ) from (error or timeout)
        except UnavailableError as unavailable:
            if error is not None and error.processed != "no":
                raise error from unavailable
            unavailable.message = f"{call.method}: {unavailable.message}"
            unavailable.args = (unavailable.message,)
            unavailable.__cause__ = error
            raise

    async def run_batch(self, batch: BatchCall) -> list[Any]:
        """Make a batch for which there was no connection, or around whose calls interceptors stand."""
        if self._interceptors:
            singles = [batch.single(index) for index in range(len(batch.argument_tuples))]
            results = await asyncio.gather(*singles, return_exceptions=True)
            return batch_result(batch, results)
        try:
            batch.start_clock()
            session = await self._session_for(batch, None, None)
        except FastRPCError as error:
            for _ in batch.argument_tuples:
                batch.count_unsent(error.status)
            return batch_result(batch, [error] * len(batch.argument_tuples))
        return await self.finish_batch(batch, await batch.attempt_on(session))

    async def finish_batch(self, batch: BatchCall, values: list[Any]) -> list[Any]:
        """Try again what may be, then raise the first error or return it in its place."""
        for index, value in enumerate(values):
            if isinstance(value, UnavailableError) and value.retryable:
                try:
                    values[index] = await batch.single(index)
                except FastRPCError as error:
                    values[index] = error
        return batch_result(batch, values)

    async def unpack(self, call: ClientCall) -> Any:
        """Decompress a long answer in slices, so that other tasks get their turn in between."""
        compressor, payload = call.packed_answer
        steps = decompress_steps(compressor, payload, call.caller.state.message_limit)
        ends = time.perf_counter() + UNPACK_SLICE_SECONDS
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return call.finish_unpacked(end.value)
            except DecodeError as error:
                raise call.unpacking_failed(error) from None
            if time.perf_counter() > ends:
                await asyncio.sleep(0)
                ends = time.perf_counter() + UNPACK_SLICE_SECONDS

    def _result(self, call: ClientCall, value: Any) -> Any:
        if call.verb == NOTIFY:  # An interceptor may have answered; nobody asked.
            return None
        return self.reply(call, value) if call.is_request else value

    def peer(self, call: ClientCall) -> Peer:
        """Say who is on the other side of a call."""
        return peer_of(call, [link.endpoint for link in self._pool.links])

    def reply(self, call: ClientCall, value: Any) -> Reply[Any]:
        """Wrap the answer of `request`."""
        return reply_of(call, value)


def peer_of(call: ClientCall | BlockingCall, endpoints: Sequence[Endpoint]) -> Peer:
    """Return who answers a call: whom it went to last, or will go to first."""
    return Peer((call.endpoint or endpoints[0]).address)


def reply_of(call: ClientCall | BlockingCall, value: Any) -> Reply[Any]:
    """Return the answer of a call with all that came along."""
    return Reply(
        value,
        metadata=call.reply_metadata,
        endpoint=cast(Endpoint, call.endpoint),
        attempts=call.attempt + 1,
        seconds=call.seconds,
    )


def may_retry(call: PendingCall, error: BaseException) -> bool:
    """Whether trying again is safe and may help: what did not start, and of idempotent methods what may have."""
    if not isinstance(error, UnavailableError) or call.inside_retry:
        return False
    if error.processed == "no":
        return error.retryable
    return error.processed == "unknown" and call.is_idempotent


def note_failure(call: PendingCall, error: BaseException) -> None:
    """Keep what a call failed with for the interceptors around it; one of them may have refused it."""
    if isinstance(error, FastRPCError) and not call.may_have_run:
        # A CallError says "yes" of itself, and an interceptor's own may be about another call.
        error.processed = "no"
    call.note_outcome(status_of(error), error)


def status_of(error: BaseException) -> Status:
    """Return what interceptors are told of an error."""
    if isinstance(error, FastRPCError):
        return error.status
    return Status.UNKNOWN if isinstance(error, Exception) else Status.CANCELLED


def batch_result(batch: BatchCall | BlockingBatch, values: list[Any]) -> list[Any]:
    """Return the outcomes of a batch, or raise the first error that is not to be one of them."""
    for value in values:
        if isinstance(value, BaseException) and not (
            batch.return_exceptions and isinstance(value, FastRPCError)
        ):
            raise value
    return values
