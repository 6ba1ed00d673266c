"""The attempts of one call: where each one goes, and what the endpoint set learns from its outcome."""

import asyncio
import contextlib
import math
import random
import time
from collections.abc import Awaitable, Iterator, Sequence
from typing import Any, TypeVar, cast

from fastrpc._core.balancing.endpoint_set import EndpointSet, Pick
from fastrpc._core.balancing.selectors import EndpointState
from fastrpc._core.calling.awaited_call import AwaitedCall
from fastrpc._core.calling.client_session import ClientSession
from fastrpc.client.endpoint_plan import EndpointPlan
from fastrpc.client.key_wait import KeyWait
from fastrpc.client.patience import Patience
from fastrpc.client.pool import Pool
from fastrpc.client.reach_errors import REACH_HINT, unreachable
from fastrpc.client.subchannel import Subchannel
from fastrpc.client.wire import carries_streams
from fastrpc.endpoint import Address, Endpoint
from fastrpc.errors import (
    ConnectError,
    DeadlineExceededError,
    FastRPCError,
    NoEndpointError,
    UnavailableError,
)
from fastrpc.failmodes.base import AttemptedCall, FailMode, is_sequential, was_load

__all__ = ["Attempting", "BaseAttempting", "may_retry", "name_call"]

T = TypeVar("T")


class BaseAttempting:
    """The part of a call's attempts that both clients share.

    Args:
        made: the error of an attempt made before the fail mode ran; None without one.
    """

    #: Whether attempts go only where streams can, as far as there is such an endpoint.
    is_stream = False

    def __init__(self, pool: Any, call: Any, made: FastRPCError | None) -> None:
        self._pool = pool
        self._call = call
        self._made = made
        #: Whether any attempt was sent.
        self.was_sent = made is not None
        #: Whether an attempt ended that may have reached a server. An attempt without a connection does not count.
        self._was_attempted = made is not None and not isinstance(made, ConnectError)
        self._number = 0 if made is None else 1
        self._may_have_run = made is not None and made.processed != "no"
        self._tried: list[Endpoint] = []
        self._picks: list[Pick] = []
        self._running: list[tuple[Any, Pick | None]] = []
        #: Picks of attempts that still wait for a connection.
        self._connecting: list[Pick] = []
        #: Endpoints that took an attempt instead of the picked one, which had no connection yet.
        self._moved: dict[Endpoint, Endpoint] = {}
        endpoint_set: EndpointSet | None = pool.endpoint_set
        #: The wait for the endpoint of the call's key; None for a call that may go anywhere.
        self._key_wait = None
        if endpoint_set is not None and endpoint_set.has_key(call):
            self._key_wait = KeyWait(pool.config.timeouts.connect)

    @property
    def waits_for_list(self) -> bool:
        """Whether the registry has not sent a list yet."""
        return not self._pool.has_list or (not self._pool.subchannels and self._call._options.wait_for_ready)

    def patience(self) -> Patience | None:
        """Return the patience of the next attempt; None for the first attempt, which does not wait."""
        if not self._was_attempted:
            return None
        return Patience(self._pool.config.backoff.first)

    @property
    def asks_once(self) -> bool:
        """Whether a pick stands while its endpoint may still connect.

        True for user-defined selectors: they are told the outcome of each pick.
        """
        return bool(self._pool.endpoint_set.selector.observes_each_pick)

    # Each is a coroutine: those of a `SyncClient` never suspend, and `drive` runs them.

    async def prepare(self) -> None:
        """Wait until the list of endpoints is known."""
        raise NotImplementedError

    async def _start(self, endpoint: Endpoint) -> tuple[Any, Any, Pick | None]:
        """Return an attempt on a connection, that connection, and the pick that reports the outcome."""
        raise NotImplementedError

    async def _start_batch(self, batch: Any) -> tuple[Any, Pick | None]:
        """Return an attempt of a whole batch, and the pick that reports its outcome."""
        raise NotImplementedError

    async def _outcome(self, attempt: Any) -> Any:
        """Return the answer to an attempt, or raise its error."""
        raise NotImplementedError

    async def _outcomes(self, batch: Any) -> list[Any]:
        """Return the answers to the attempt of a batch, errors in place of those that failed."""
        raise NotImplementedError

    def _check(self) -> None:
        """Refuse an attempt that must not be made."""

    async def attempt(self, endpoint: Endpoint) -> Any:
        """Make one attempt."""
        self._check()
        if self._made is not None:
            return self._fail_again(endpoint)
        attempt, session, pick = await self._start(endpoint)
        self._begin(attempt, pick)
        try:
            value = await self._outcome(attempt)
        except BaseException as error:
            self._end(attempt, session, pick, error)
            raise
        self._end(attempt, session, pick, None)
        for other, _ in self._running:
            other._lose()
        return value

    async def attempt_batch(self, batch: Any) -> list[Any]:
        """Make one attempt of a whole batch. A failed call's error stands in place of its value."""
        attempt, pick = await self._start_batch(batch)
        try:
            values = await self._outcomes(attempt)
        except BaseException as error:
            if pick is not None:
                pick.ended(error)
            raise
        if pick is not None:
            pick.ended(next((each for each in values if isinstance(each, FastRPCError)), None))
        return values

    def pick(self) -> Endpoint:
        """Return the endpoint of the next attempt."""
        if self._made is not None:
            return cast(Endpoint, self._call.endpoint)
        pinned: Address | None = self._call._options.endpoint
        if self._pool.endpoint_set is None or pinned is not None:
            return cast(Endpoint, self._subchannel_at(pinned).endpoint)
        pick = self.place(None)
        self._picks.append(pick)
        return pick.endpoint

    def _subchannel_at(self, address: Address | None) -> Any:
        subchannel = self._pool.subchannels[0] if address is None else self._pool.subchannel_at(address)
        if subchannel is None:
            raise NoEndpointError(
                f"{self._call.method}: {address} is none of the endpoints of {self._pool.target}",
                hint="with_options(endpoint=…) takes an endpoint that its target or registry names now",
            )
        return subchannel

    def _fail_again(self, endpoint: Endpoint) -> None:
        """Raise the error of the earlier attempt, so that the fail mode judges it."""
        self._tried.append(endpoint)
        made, self._made = self._made, None
        try:
            raise cast(FastRPCError, made)
        finally:
            # The error's traceback holds this frame: a reference from the frame to the error would be a cycle.
            del made

    def _taken(self, endpoint: Endpoint) -> Pick | None:
        """Return the waiting pick of an endpoint; None if the selector did not pick that endpoint."""
        for pick in self._picks:
            if pick.endpoint is endpoint:
                self._picks.remove(pick)
                return pick
        return None

    def _went(self, endpoint: Endpoint, pick: Pick) -> None:
        """Send later attempts at the same endpoint to where this one goes."""
        if pick.endpoint is not endpoint:
            self._moved[endpoint] = pick.endpoint

    def place(self, pinned: Address | None) -> Pick:
        """Place the next attempt: at this address, or where the selector says."""
        endpoint_set: EndpointSet = self._pool.endpoint_set
        if pinned is None:
            # A hedge avoids the endpoints of the attempts beside it, and so does an attempt that has to move.
            beside = [pick for _, pick in self._running if pick is not None]
            beside += self._connecting
            tried = [*self._tried, *(pick.endpoint for pick in beside)]
            return self._place_key(tried) if endpoint_set.places_keys else self._place_past(tried)
        return endpoint_set.pick_at(self._call, self._subchannel_at(pinned).endpoint_state)

    def _place_past(self, tried: Sequence[Endpoint]) -> Pick:
        endpoint_set: EndpointSet = self._pool.endpoint_set
        return self._place_stream(tried) if self.is_stream else endpoint_set.pick(self._call, tried)

    def _place_key(self, tried: Sequence[Endpoint]) -> Pick:
        """Place an attempt by its key: at the first endpoint that is connected, or that the call may wait for.

        An endpoint that was tried is better than one that is not connected.
        """
        absent = self._absent()
        there = [one.endpoint for one in absent]
        for avoided in ([*tried, *there], there, tried):
            pick = self._place_past(avoided)
            if pick.endpoint_state not in absent or avoided is tried:
                break
            pick.undone()
        return pick

    def _absent(self) -> set[EndpointState]:
        """Return the endpoints without a connection for calls with a key, except those that the call may wait for."""
        endpoint_set: EndpointSet = self._pool.endpoint_set
        ready = self._pool.ready_among(endpoint_set.left)
        if self._key_wait is not None and not ready:
            self._key_wait.renew()
        return {
            one
            for one in endpoint_set.left
            if one not in ready and self.key_wait_ends(one.subchannel) is None
        }

    def key_wait_ends(self, subchannel: EndpointPlan | None) -> float | None:
        """Return the instant until which the call waits for an endpoint of its key; None if it does not."""
        if self._key_wait is None or subchannel is None:
            return None
        return self._key_wait.ends(subchannel, time.monotonic(), self._seconds_left())

    def begin_key_wait(self, subchannel: EndpointPlan) -> None:
        """Wait for the endpoint of the key from now on."""
        if self._key_wait is not None:
            self._key_wait.begin(subchannel, time.monotonic(), self._seconds_left())

    def _seconds_left(self) -> float | None:
        left: float | None = self._call.remaining()
        return left

    def _place_stream(self, tried: Sequence[Endpoint]) -> Pick:
        """Place an attempt of a stream: not where streams cannot go, even if nothing else is connected yet."""
        endpoint_set: EndpointSet = self._pool.endpoint_set
        config = self._pool.config
        pick = endpoint_set.pick(self._call, tried)
        if carries_streams(pick.endpoint, config):
            return pick
        able = [one for one in endpoint_set.left if carries_streams(one.endpoint, config)]
        if not able:
            # The error there says why.
            return pick
        pick.undone()
        unable = [one.endpoint for one in endpoint_set.left if one not in able]
        pick = endpoint_set.pick(self._call, [*tried, *unable])
        if carries_streams(pick.endpoint, config):
            return pick
        pick.undone()
        untried = [one for one in able if one.endpoint not in tried]
        return endpoint_set.pick_at(self._call, random.choice(untried or able))

    def candidates(self, subchannels: Sequence[T]) -> Sequence[T]:
        """Return the subchannels that an attempt may wait for."""
        if not self.is_stream:
            return subchannels
        able = [one for one in subchannels if carries_streams(cast(Any, one).endpoint, self._pool.config)]
        return able or subchannels

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

    def _begin(self, attempt: Any, pick: Pick | None) -> None:
        self._number += 1
        self.was_sent = self._call._may_have_run = True
        self._running.append((attempt, pick))

    def _end(self, attempt: Any, session: Any, pick: Pick | None, error: BaseException | None) -> None:
        """Record the outcome of an attempt and its connection."""
        call = self._call
        self._running.remove((attempt, pick))
        if pick is not None:
            pick.ended(error)
        if error is None:
            call._adopt(attempt)
        elif isinstance(error, FastRPCError):
            self._may_have_run = self._may_have_run or error.processed != "no"
            self._was_attempted = self._was_attempted or session.is_ready or error.processed != "no"
            call._may_have_run = self._may_have_run or bool(self._running)
            call._adopt(attempt)
            self._tried.append(attempt.endpoint)


class Attempting(BaseAttempting):
    """The `pick` and `attempt` that a fail mode makes one call with."""

    _pool: Pool
    _call: AwaitedCall

    async def prepare(self) -> None:
        call = self._call
        if self.waits_for_list:
            await self._in_time(self._pool.wait_list(call.method, wait=call._options.wait_for_ready))

    async def _start(self, endpoint: Endpoint) -> tuple[AwaitedCall, ClientSession, Pick | None]:
        session, pick = await self._connection(endpoint)
        try:
            return self._call._attempt_on(session, self._number), session, pick
        except BaseException:
            # Here, not in a destructor: an error that is kept alive keeps this frame and its pick.
            if pick is not None:
                pick.dropped()
            raise

    async def _start_batch(self, batch: AwaitedCall) -> tuple[AwaitedCall, Pick | None]:
        session, pick = await self._connection(self.pick())
        return batch._batch.attempt_on(batch, session), pick

    async def _outcome(self, attempt: AwaitedCall) -> Any:
        return await attempt

    async def _outcomes(self, batch: AwaitedCall) -> list[Any]:
        values: list[Any] = await batch
        return values

    async def _connection(self, endpoint: Endpoint) -> tuple[ClientSession, Pick | None]:
        """Return a connection for the next attempt, and the pick that reports its outcome."""
        pool, call = self._pool, self._call
        if pool.endpoint_set is None:
            session = pool.at_once(ready=call._needs_ready)
            if session is None:
                session = await self._in_time(
                    pool.acquire(
                        wait=call._options.wait_for_ready,
                        ready=call._needs_ready,
                        patience=self.patience(),
                        priority=call._options.priority,
                    )
                )
            return session, None
        pick = self._taken(endpoint)
        pinned = None
        if pick is None:
            pinned = self._moved.get(endpoint, endpoint).address
            pick = self.place(pinned)
        session = self._session_of(pick, pinned)
        if session is not None and not pool.is_closed:
            return session, pick
        found = await self._in_time(self._wait_connection(pick, pinned))
        if pinned is None:
            self._went(endpoint, found[1])
        return found

    def _session_of(self, pick: Pick, pinned: Address | None) -> ClientSession | None:
        subchannel: Subchannel = pick.endpoint_state.subchannel
        is_awaited = pinned is None and self.key_wait_ends(subchannel) is not None
        return subchannel.usable(ready=is_awaited or self._call._needs_ready)

    async def _wait_connection(self, pick: Pick, pinned: Address | None) -> tuple[ClientSession, Pick]:
        """Pick again after each change, until the picked endpoint has a connection.

        A user-defined selector picks again only after its pick proved unreachable; so does a call with a key, which
        waits for its endpoint as `KeyWait` says.
        """
        pool, call = self._pool, self._call
        patience = self.patience()
        self._connecting.append(pick)
        try:
            while True:
                pool.check_open()
                session = self._session_of(pick, pinned)
                if session is not None:
                    return session, pick
                subchannel: Subchannel = pick.endpoint_state.subchannel
                ends = self.key_wait_ends(subchannel) if pinned is None else None
                if ends is not None:
                    pick = await self._wait_for_key(pick, ends)
                    continue
                if pinned is None:
                    pool.start()
                subchannel.start(is_wanted=True)
                is_kept = subchannel.may_come and self.asks_once
                if not is_kept:
                    pick.undone()
                subchannels = [subchannel] if pinned else self.candidates(pool.subchannels)
                if not call._options.wait_for_ready and pool.is_in_vain(subchannels, patience):
                    raise unreachable(subchannels)
                priority = call._options.priority
                await (pool if pinned is None else subchannel).wait_changed(priority)
                if not is_kept or not subchannel.may_come:
                    pick = await self._picked_again(pick, pinned)
        except BaseException:
            # Above all the deadline: the attempt no longer waits for this endpoint.
            pick.dropped()
            raise
        finally:
            if pick in self._connecting:
                self._connecting.remove(pick)

    async def _wait_for_key(self, pick: Pick, ends: float) -> Pick:
        """Wait for a change at the endpoint of the call's key, whose dial goes before those of all others.

        Returns the pick, or that of the key's next endpoint where the wait is over.
        """
        subchannel: Subchannel = pick.endpoint_state.subchannel
        self.begin_key_wait(subchannel)
        subchannel.start(goes_first=True)
        self._pool.start()
        seconds = None if math.isinf(ends) else ends - time.monotonic()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await subchannel.wait_changed(self._call._options.priority)
        is_over = not subchannel.is_ready and self.key_wait_ends(subchannel) is None
        return await self._picked_again(pick, None) if is_over else pick

    async def _picked_again(self, pick: Pick, pinned: Address | None) -> Pick:
        """Undo the pick of an attempt that still connects, and return another one."""
        pick.undone()
        self._connecting.remove(pick)
        if self._call._options.wait_for_ready:
            # The registry may name no endpoint by now.
            await self._pool.wait_list(self._call.method, wait=True)
        again = self.place(pinned)
        self._connecting.append(again)
        return again

    async def _in_time(self, waiting: Awaitable[T]) -> T:
        """Wait within the call's deadline."""
        with self._connecting_for_call():
            async with asyncio.timeout(self._call.remaining()):
                return await waiting


def name_call(method: str, error: UnavailableError) -> None:
    """Prefix the error's message with the method."""
    if not error.message.startswith(f"{method}: "):
        error.message = f"{method}: {error.message}"
        error.args = (error.message,)


def may_retry(call: AttemptedCall, error: FastRPCError, mode: FailMode) -> bool:
    """Return whether the fail mode could retry; False ends the call without running it."""
    if call.inside_retry:
        return False
    if error.processed == "no":
        may_repeat = error.retryable
    else:
        may_repeat = call.is_idempotent and (error.retryable or isinstance(error, UnavailableError))
    if may_repeat and was_load(error) and is_sequential(mode):
        # The fail mode would ask the budget next. In an outage most calls end here, at about the cost of a good call.
        return mode.retries > 0 and bool(call.retry_policy.budget.has_room)
    return may_repeat
