"""The attempts of one call: where each goes, and what is learned from how it ends."""

import asyncio
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

from fastrpc._core.balancing.endpoint_set import EndpointSet, Pick
from fastrpc._core.calling.batch_call import BatchCall
from fastrpc._core.calling.client_call import ClientCall
from fastrpc._core.calling.client_session import ClientSession
from fastrpc.client.plan import REACH_HINT, Patience
from fastrpc.client.pool import Pool
from fastrpc.client.subchannel import Subchannel
from fastrpc.endpoint import Address, Endpoint
from fastrpc.errors import (
    ConnectError,
    DeadlineExceededError,
    FastRPCError,
    NoEndpointError,
    UnavailableError,
)

__all__ = ["Attempting", "BaseAttempting", "name_call"]

T = TypeVar("T")


class BaseAttempting:
    """What the attempts of a call have in common, with a loop or without one.

    Args:
        made: the error of an attempt that was made before any fail mode was asked.
    """

    def __init__(self, pool: Any, call: Any, made: FastRPCError | None) -> None:
        self._pool = pool
        self._call = call
        self._made = made
        #: Whether any attempt went out.
        self.was_sent = made is not None
        #: Whether an attempt is over that a server had, or may have had: not one whose connection never came to be.
        self._was_attempted = made is not None and not isinstance(made, ConnectError)
        self._number = 0 if made is None else 1
        self._may_have_run = made is not None and made.processed != "no"
        self._tried: list[Endpoint] = []
        self._picks: list[Pick] = []
        self._running: list[tuple[Any, Pick | None]] = []
        #: Where attempts are still on the way to a connection.
        self._connecting: list[Pick] = []
        #: Where attempts went instead, because there was no connection yet where they were to go.
        self._moved: dict[Endpoint, Endpoint] = {}

    @property
    def waits_for_list(self) -> bool:
        """Whether nothing can be picked yet."""
        return not self._pool.has_list or (not self._pool.subchannels and self._call._options.wait_for_ready)

    def patience(self) -> Patience | None:
        """Return how long the next attempt waits for a connection; None for the first, which fails at once."""
        if not self._was_attempted:
            return None
        return Patience(self._pool.config.backoff.first)

    @property
    def asks_once(self) -> bool:
        """Whether a pick stands while a connection may still come: those of users are told what came of each."""
        return bool(self._pool.endpoint_set.selector.observes_each_pick)

    def pick(self) -> Endpoint:
        """Return where the next attempt goes."""
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
        """Let the fail mode judge the attempt that was made before."""
        self._tried.append(endpoint)
        made, self._made = self._made, None
        try:
            raise cast(FastRPCError, made)
        finally:
            # The error holds this frame by its traceback; the frame must not hold the error.
            del made

    def _taken(self, endpoint: Endpoint) -> Pick | None:
        """Return the pick that was picked for an endpoint; None for one that nobody picked."""
        for pick in self._picks:
            if pick.endpoint is endpoint:
                self._picks.remove(pick)
                return pick
        return None

    def _went(self, endpoint: Endpoint, pick: Pick) -> None:
        """Have another attempt at the same endpoint go where this one goes."""
        if pick.endpoint is not endpoint:
            self._moved[endpoint] = pick.endpoint

    def place(self, pinned: Address | None) -> Pick:
        """Place the next attempt: at this address, or where the selector says."""
        endpoint_set: EndpointSet = self._pool.endpoint_set
        if pinned is None:
            # A hedge goes elsewhere than what it runs beside, and so does what it runs beside when it has to move.
            beside = [pick for _, pick in self._running if pick is not None]
            beside += self._connecting
            return endpoint_set.pick(self._call, [*self._tried, *(pick.endpoint for pick in beside)])
        return endpoint_set.pick_at(self._call, self._subchannel_at(pinned).endpoint_state)

    @contextmanager
    def _connecting_for_call(self) -> Iterator[None]:
        """Name the call in the errors of what waits for a connection inside."""
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
        """Take note of how an attempt ended, and on which connection."""
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
    """What a fail mode is given to make the attempts of one call with."""

    _pool: Pool
    _call: ClientCall | BatchCall

    async def wait_list(self) -> None:
        """Return once it is known who serves."""
        call = self._call
        await self._in_time(self._pool.wait_list(call.method, wait=call._options.wait_for_ready))

    async def attempt(self, endpoint: Endpoint) -> Any:
        """Make one attempt."""
        if self._made is not None:
            return self._fail_again(endpoint)
        session, pick = await self._connection(endpoint)
        try:
            attempt = cast(ClientCall, self._call)._attempt_on(session, self._number)
        except BaseException:
            # At once: an error that is kept keeps this frame, and what was placed in it.
            if pick is not None:
                pick.dropped()
            raise
        self._begin(attempt, pick)
        try:
            value = await attempt
        except BaseException as error:
            self._end(attempt, session, pick, error)
            raise
        self._end(attempt, session, pick, None)
        for other, _ in self._running:
            other._lose()
        return value

    async def attempt_batch(self, batch: BatchCall) -> list[Any]:
        """Make a whole batch in one attempt; errors stand in place of values."""
        session, pick = await self._connection(self.pick())
        try:
            values: list[Any] = await batch._attempt_on(session)
        except BaseException as error:
            if pick is not None:
                pick.ended(error)
            raise
        if pick is not None:
            pick.ended(next((each for each in values if isinstance(each, FastRPCError)), None))
        return values

    async def _connection(self, endpoint: Endpoint) -> tuple[ClientSession, Pick | None]:
        """Return a connection for the next attempt, and what the endpoint set is to be told of it."""
        pool, call = self._pool, self._call
        if pool.endpoint_set is None:
            session = pool.at_once(ready=call._needs_ready)
            if session is None:
                session = await self._in_time(
                    pool.acquire(
                        wait=call._options.wait_for_ready, ready=call._needs_ready, patience=self.patience()
                    )
                )
            return session, None
        pick = self._taken(endpoint)
        pinned = None
        if pick is None:
            pinned = self._moved.get(endpoint, endpoint).address
            pick = self.place(pinned)
        session = self._session_of(pick)
        if session is not None and not pool.is_closed:
            return session, pick
        found = await self._in_time(self._wait_connection(pick, pinned))
        if pinned is None:
            self._went(endpoint, found[1])
        return found

    def _session_of(self, pick: Pick) -> ClientSession | None:
        subchannel: Subchannel = pick.endpoint_state.subchannel
        return subchannel.usable(ready=self._call._needs_ready)

    async def _wait_connection(self, pick: Pick, pinned: Address | None) -> tuple[ClientSession, Pick]:
        """Pick again with each change, until there is a connection where the call is to go.

        A selector of the user's own is not asked again before what it picked turned out to be out of reach.
        """
        pool, call = self._pool, self._call
        patience = self.patience()
        self._connecting.append(pick)
        try:
            while True:
                pool.check_open()
                session = self._session_of(pick)
                if session is not None:
                    return session, pick
                subchannel: Subchannel = pick.endpoint_state.subchannel
                if pinned is None:
                    pool.start()
                subchannel.start(is_wanted=True)
                is_kept = subchannel.may_come and self.asks_once
                if not is_kept:
                    pick.undone()
                subchannels = [subchannel] if pinned else pool.subchannels
                if not call._options.wait_for_ready and pool.is_in_vain(subchannels, patience):
                    raise pool.unreachable(subchannels)
                await (pool.wait_changed() if pinned is None else subchannel.wait_changed())
                if not is_kept or not subchannel.may_come:
                    pick.undone()
                    self._connecting.remove(pick)
                    pick = self.place(pinned)
                    self._connecting.append(pick)
        except BaseException:
            # Above all the end of its time: nobody is on the way there any more.
            pick.dropped()
            raise
        finally:
            if pick in self._connecting:
                self._connecting.remove(pick)

    async def _in_time(self, waiting: Awaitable[T]) -> T:
        """Wait within the call's deadline."""
        with self._connecting_for_call():
            async with asyncio.timeout(self._call.remaining()):
                return await waiting


def name_call(method: str, error: UnavailableError) -> None:
    """Let a message begin with the method that it is about."""
    if not error.message.startswith(f"{method}: "):
        error.message = f"{method}: {error.message}"
        error.args = (error.message,)
