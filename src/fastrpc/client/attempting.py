"""The attempts of one call: the endpoint of each, and the report of its outcome to the endpoint set."""

import contextlib
import math
import time
from collections.abc import Awaitable, Iterator
from typing import Any, TypeVar, cast

from fastrpc._core.balancing.endpoint_set import Pick
from fastrpc._core.client.awaited_call import AwaitedCall
from fastrpc._core.client.batch_call import sent_failure
from fastrpc._core.client.client_call import ClientCall
from fastrpc.client.placing import AttemptPlacing, AttemptPool
from fastrpc.client.plan import Patience
from fastrpc.client.pool import ConnectionPool
from fastrpc.client.reach_errors import REACH_HINT, unreachable
from fastrpc.client.subchannel import Subchannel
from fastrpc.endpoint import Address, Endpoint
from fastrpc.errors import (
    ConnectError,
    DeadlineExceededError,
    FastRPCError,
    UnavailableError,
)
from fastrpc.failmodes.base import AttemptedCall, FailMode, is_sequential, was_load
from fastrpc.peers.batches import Batch
from fastrpc.peers.outcomes import count_unsent, give_turn
from fastrpc.protocols.base import ClientEngine
from fastrpc.time_limit import time_limit

__all__ = ["Attempting", "BaseAttempting", "may_retry", "mode_of", "name_call", "plain_connection"]

T = TypeVar("T")


class BaseAttempting(AttemptPlacing):
    """The part of a call's attempts that both clients share.

    Args:
        made: the error of an attempt that was made before the fail mode ran; None without such an error.
    """

    def __init__(self, pool: AttemptPool, call: ClientCall, made: FastRPCError | None) -> None:
        super().__init__(pool, call)
        self._made = made
        #: Whether any attempt was sent.
        self.was_sent = made is not None
        #: Whether an attempt that may have reached a server has ended. Attempts without a connection do not count.
        self._was_attempted = made is not None and not isinstance(made, ConnectError)
        self._number = 0 if made is None else 1
        self._may_have_run = made is not None and made.processed != "no"
        self._is_answered = False
        #: Whether attempts wait for the peer's SETTINGS; set by `run`.
        self._needs_ready = False

    @property
    def waits_for_list(self) -> bool:
        """Whether the registry has not sent a list yet."""
        return not self._pool.has_list or (not self._pool.subchannels and self._options.wait_for_ready)

    def patience(self) -> Patience | None:
        """Return how long the next attempt waits for a connection; None for the first attempt, which does not wait."""
        if not self._was_attempted:
            return None
        return Patience(self._pool.config.backoff.first)

    # These methods are coroutines. In a `SyncClient` they never suspend, and `drive` runs them.

    async def prepare(self) -> None:
        """Wait until the list of endpoints is known."""
        raise NotImplementedError

    async def _start(self, endpoint: Endpoint) -> tuple[Any, Any, Pick | None]:
        """Start an attempt. Return the attempt, its connection, and the pick that reports its outcome.

        `_note_sent` is called as the attempt begins.
        """
        raise NotImplementedError

    async def _start_batch(self, batch: Batch) -> tuple[Any, Pick | None]:
        """Start an attempt of a whole batch. Return the attempt, and the pick that reports its outcome."""
        raise NotImplementedError

    async def _outcome(self, attempt: Any) -> Any:
        """Return the answer to an attempt, or raise its error."""
        raise NotImplementedError

    async def _outcomes(self, batch: Any) -> list[Any]:
        """Return the answers to the attempt of a batch; failed calls have their error."""
        raise NotImplementedError

    def _check(self) -> None:
        """Refuse an attempt that must not be made."""

    async def run(self, mode: FailMode) -> Any:
        """Run a fail mode, and make the attempts that it asks for."""
        try:
            await self.prepare()
            self._needs_ready = self._call._needs_ready
            return await mode.run(self._call, self.pick, self.attempt)
        except BaseException as error:
            if not self.was_sent:
                count_unsent(self._call, error)
                await self._fail(error)
            raise

    async def run_batch(self, batch: Batch) -> list[Any]:
        """Make the only attempt of a whole batch. The error of a failed call is returned in place of its value."""
        try:
            await self.prepare()
            self._needs_ready = batch.needs_ready
            return await self._attempt_batch(batch)
        except UnavailableError as error:
            await self._fail(error)
            raise

    async def _fail(self, error: BaseException) -> None:
        """Run before the error of an unsent call is raised; a hook for subclasses."""

    async def attempt(self, endpoint: Endpoint) -> Any:
        """Make one attempt."""
        self._check()
        if self._made is not None:
            return self._fail_again(endpoint)
        attempt, connection, pick = await self._start(endpoint)
        self._running.append((attempt, pick))
        try:
            value = await self._outcome(attempt)
        except BaseException as error:
            self._end(attempt, connection, pick, error)
            raise
        self._end(attempt, connection, pick, None)
        self._is_answered = True
        for other, _ in self._running:
            other._lose()
        return value

    async def _attempt_batch(self, batch: Batch) -> list[Any]:
        attempt, pick = await self._start_batch(batch)
        try:
            values = await self._outcomes(attempt)
        except BaseException as error:
            if pick is not None:
                pick.ended(error)
            raise
        if pick is not None:
            pick.ended(sent_failure(values))
        return values

    def pick(self) -> Endpoint:
        """Return the endpoint of the next attempt."""
        if self._made is not None:
            return cast(Endpoint, self._call.endpoint)
        return super().pick()

    def _fail_again(self, endpoint: Endpoint) -> None:
        """Raise the error of the earlier attempt, so that the fail mode judges the error."""
        self._tried.append(endpoint)
        made, self._made = self._made, None
        try:
            raise cast(FastRPCError, made)
        finally:
            # The error's traceback holds this frame: a reference from the frame to the error would be a cycle.
            del made

    @contextlib.contextmanager
    def _connecting_for_call(self) -> Iterator[None]:
        """Name the call in errors raised while it waits for a connection."""
        call = self._call
        try:
            yield
        except TimeoutError as timeout:
            raise DeadlineExceededError(
                f"{call.method}: no connection within {call._elapsed:.3g} s; {self._pool.tried()}",
                processed="no",
                hint=REACH_HINT,
            ) from timeout
        except UnavailableError as unavailable:
            name_call(call.method, unavailable)
            raise

    def _note_sent(self) -> None:
        self._number += 1
        self.was_sent = True

    def _conclude(self, attempt: Any, pick: Pick | None, error: BaseException | None) -> None:
        """Report the outcome of an attempt to the endpoint set."""
        if pick is not None:
            pick.ended(error)

    def _end(self, attempt: Any, connection: Any, pick: Pick | None, error: BaseException | None) -> None:
        """Record the outcome of an attempt and its connection."""
        may_have_run: bool | None = None
        self._running.remove((attempt, pick))
        self._conclude(attempt, pick, error)
        if isinstance(error, FastRPCError):
            self._may_have_run = self._may_have_run or error.processed != "no"
            self._was_attempted = self._was_attempted or connection.is_ready or error.processed != "no"
            may_have_run = self._may_have_run or bool(self._running)
            self._tried.append(attempt.endpoint)
        elif error is not None and self._is_answered:
            # Another attempt answered first: this one was cancelled.
            return
        self._call._adopt(attempt, may_have_run)


class Attempting(BaseAttempting):
    """The functions `pick` and `attempt` that a fail mode uses, for one call."""

    _pool: ConnectionPool
    _call: AwaitedCall
    # Whether the call has asked for a connection. This counts once, for any number of attempts of the call.
    _has_asked = False

    async def prepare(self) -> None:
        call = self._call
        if self.waits_for_list:
            await self._in_time(self._pool.wait_list(call.method, wait=self._options.wait_for_ready))

    async def _fail(self, error: BaseException) -> None:
        if isinstance(error, UnavailableError):
            await give_turn()

    async def _start(self, endpoint: Endpoint) -> tuple[AwaitedCall, ClientEngine, Pick | None]:
        connection, pick = await self._connection(endpoint)
        try:
            return await self._attempt_on(connection, pick), connection, pick
        except BaseException:
            # The pick is dropped here instead of in a destructor: a stored error keeps this frame alive, and so the
            # pick.
            if pick is not None:
                pick.dropped()
            raise

    async def _attempt_on(self, connection: ClientEngine, pick: Pick | None) -> AwaitedCall:
        """Return an attempt on a connection."""
        attempt = self._call._attempt_on(connection, self._number)
        self._note_sent()
        return attempt

    async def _start_batch(self, batch: Batch) -> tuple[AwaitedCall, Pick | None]:
        connection, pick = await self._connection(self.pick())
        return batch.attempt_on(connection), pick

    async def _outcome(self, attempt: AwaitedCall) -> Any:
        return await attempt

    async def _outcomes(self, batch: AwaitedCall) -> list[Any]:
        values: list[Any] = await batch
        return values

    async def _connection(self, endpoint: Endpoint) -> tuple[ClientEngine, Pick | None]:
        """Return a connection for the next attempt, and the pick that reports its outcome."""
        pool = self._pool
        if pool.endpoint_set is None:
            connection = pool.at_once(ready=self._needs_ready)
            if connection is None:
                connection = await self._in_time(
                    pool.acquire(
                        wait=self._options.wait_for_ready,
                        ready=self._needs_ready,
                        patience=self.patience(),
                        priority=self._options.priority,
                        asks=self._asks(),
                    )
                )
            return connection, None
        pick = self._taken(endpoint)
        pinned = None
        if pick is None:
            pinned = self._moved.get(endpoint, endpoint).address
            pick = self.place(pinned)
        connection = self._open_connection_of(pick, pinned)
        if connection is not None and not pool.is_closed:
            return connection, pick
        found = await self._in_time(self._wait_connection(pick, pinned))
        if pinned is None:
            self._went(endpoint, found[1])
        return found

    def _asks(self) -> bool:
        """Return whether the call asks for a connection for the first time, and note that it does."""
        has_asked, self._has_asked = self._has_asked, True
        return not has_asked

    def _open_connection_of(self, pick: Pick, pinned: Address | None) -> ClientEngine | None:
        subchannel: Subchannel = pick.endpoint_state.subchannel
        # A call that waits for its key's endpoint needs a ready connection: the server may be silent. The end of the
        # call's wait is not checked here, since it may pass between two checks.
        waits = pinned is None and pick in self._key_picks
        return subchannel.usable(ready=waits or self._needs_ready)

    async def _wait_connection(self, pick: Pick, pinned: Address | None) -> tuple[ClientEngine, Pick]:
        """Pick again after each change, until the picked endpoint has a connection.

        A user-defined selector picks again only once its pick proved unreachable. A call with a key, too, waits for its
        endpoint, by the rules of `KeyWait`.
        """
        pool = self._pool
        patience = self.patience()
        self._connecting.append(pick)
        try:
            while True:
                pool.check_open()
                connection = self._open_connection_of(pick, pinned)
                if connection is not None:
                    return connection, pick
                subchannel: Subchannel = pick.endpoint_state.subchannel
                if self._asks():
                    pool.call_for(subchannel if pinned or pool.connections else None)
                if pinned is None and self.waits_for_key(pick):
                    pick = await self._waited_for_key(pick)
                    continue
                if pinned is None:
                    pool.start()
                subchannel.start(is_wanted=True)
                is_kept = subchannel.may_come and self.asks_once
                if not is_kept:
                    pick.undone()
                subchannels = [subchannel] if pinned else self.candidates(pool.subchannels)
                if not self._options.wait_for_ready and pool.are_unreachable(subchannels, patience):
                    raise unreachable(subchannels)
                priority = self._options.priority
                await (pool if pinned is None else subchannel).wait_changed(priority)
                if not is_kept or not subchannel.may_come:
                    pick = await self._picked_again(pick, pinned)
        except BaseException:
            # Usually the error is the deadline. In any case the attempt no longer waits for this endpoint.
            pick.dropped()
            raise
        finally:
            if pick in self._connecting:
                self._connecting.remove(pick)

    async def _waited_for_key(self, pick: Pick) -> Pick:
        """Wait for a change at the endpoint of the call's key, which is dialled before all others.

        Returns the pick; once the wait is over, a pick of the key's next endpoint.
        """
        subchannel: Subchannel = pick.endpoint_state.subchannel
        ends = self.key_wait_ends(subchannel)
        if ends is None:
            return await self._picked_again(pick, None)
        self.begin_key_wait(subchannel)
        subchannel.start(goes_first=True)
        self._pool.start()
        seconds = None if math.isinf(ends) else ends - time.monotonic()
        with contextlib.suppress(TimeoutError):
            async with time_limit(seconds):
                await subchannel.wait_changed(self._options.priority)
        return pick

    async def _picked_again(self, pick: Pick, pinned: Address | None) -> Pick:
        """Undo the pick of an attempt that is still connecting, and return another one."""
        pick.undone()
        self.forget_key_pick(pick)
        self._connecting.remove(pick)
        if self._options.wait_for_ready:
            # The registry's list may be empty by now.
            await self._pool.wait_list(self._call.method, wait=True)
        again = self.place(pinned)
        self._connecting.append(again)
        return again

    async def _in_time(self, waiting: Awaitable[T]) -> T:
        """Wait within the call's deadline."""
        with self._connecting_for_call():
            async with time_limit(self._call.remaining()):
                return await waiting


def name_call(method: str, error: UnavailableError) -> None:
    """Prefix the error's message with the method."""
    if not error.message.startswith(f"{method}: "):
        error.message = f"{method}: {error.message}"
        error.args = (error.message,)


def mode_of(call: ClientCall, mode: FailMode) -> FailMode:
    """Return the fail mode of a call, which its view or its client sets."""
    return cast(FailMode, call._options.fail_mode or mode)


def plain_connection(pool: ConnectionPool, call: ClientCall) -> ClientEngine | None:
    """Return the open connection if the call sets no fail mode, endpoint or preference; otherwise None."""
    options = call._options
    if options.fail_mode is None and options.endpoint is None and options.prefer is None:
        return pool.at_once(ready=call._needs_ready)
    return None


def may_retry(call: AttemptedCall, error: FastRPCError, mode: FailMode) -> bool:
    """Return whether the fail mode could retry; if not, the call ends without running the fail mode."""
    if call.inside_retry:
        return False
    if error.processed == "no":
        may_repeat = error.retryable
    else:
        may_repeat = call.is_idempotent and (error.retryable or isinstance(error, UnavailableError))
    if may_repeat and was_load(error) and is_sequential(mode):
        # Ask the budget here, as the fail mode would do next. In an outage most calls end here, at about the cost of a
        # successful call.
        return mode.retries > 0 and bool(call.retry_policy.budget.has_room)
    return may_repeat
