"""The attempts of one call: where each goes, and what is learned from how it ends."""

import asyncio
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

from fastrpc._core.caller import BatchCall, ClientCall
from fastrpc._core.client_session import ClientSession
from fastrpc._core.fleet import Fleet, Placement
from fastrpc.client.link import Link
from fastrpc.client.link_rules import REACH_HINT, Patience
from fastrpc.client.pool import Pool
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
        self._placements: list[Placement] = []
        self._running: list[tuple[Any, Placement | None]] = []
        #: Where attempts are still on the way to a connection.
        self._connecting: list[Placement] = []
        #: Where attempts went instead, because there was no connection yet where they were to go.
        self._moved: dict[Endpoint, Endpoint] = {}

    @property
    def waits_for_list(self) -> bool:
        """Whether nothing can be picked yet."""
        return not self._pool.has_list or (not self._pool.links and self._call._options.wait_for_ready)

    def patience(self) -> Patience | None:
        """Return how long the next attempt waits for a connection; None for the first, which fails at once."""
        if not self._was_attempted:
            return None
        return Patience(self._pool.config.backoff.first)

    @property
    def asks_once(self) -> bool:
        """Whether a pick stands while a connection may still come: those of users are told what came of each."""
        return bool(self._pool.fleet.selector.observes_each_pick)

    def pick(self) -> Endpoint:
        """Return where the next attempt goes."""
        if self._made is not None:
            return cast(Endpoint, self._call.endpoint)
        pinned: Address | None = self._call._options.endpoint
        if self._pool.fleet is None or pinned is not None:
            return cast(Endpoint, self._link_at(pinned).endpoint)
        placement = self.place(None)
        self._placements.append(placement)
        return placement.endpoint

    def _link_at(self, address: Address | None) -> Any:
        link = self._pool.links[0] if address is None else self._pool.link_at(address)
        if link is None:
            raise NoEndpointError(
                f"{self._call.method}: {address} is none of the endpoints of {self._pool.target}",
                hint="with_options(endpoint=…) takes an endpoint that its target or registry names now",
            )
        return link

    def _fail_again(self, endpoint: Endpoint) -> None:
        """Let the fail mode judge the attempt that was made before."""
        self._tried.append(endpoint)
        made, self._made = self._made, None
        try:
            raise cast(FastRPCError, made)
        finally:
            # The error holds this frame by its traceback; the frame must not hold the error.
            del made

    def _taken(self, endpoint: Endpoint) -> Placement | None:
        """Return the placement that was picked for an endpoint; None for one that nobody picked."""
        for placement in self._placements:
            if placement.endpoint is endpoint:
                self._placements.remove(placement)
                return placement
        return None

    def _went(self, endpoint: Endpoint, placement: Placement) -> None:
        """Have another attempt at the same endpoint go where this one goes."""
        if placement.endpoint is not endpoint:
            self._moved[endpoint] = placement.endpoint

    def place(self, pinned: Address | None) -> Placement:
        """Place the next attempt: at this address, or where the selector says."""
        fleet: Fleet = self._pool.fleet
        if pinned is None:
            # A hedge goes elsewhere than what it runs beside, and so does what it runs beside when it has to move.
            beside = [placement for _, placement in self._running if placement is not None]
            beside += self._connecting
            return fleet.pick(self._call, [*self._tried, *(placement.endpoint for placement in beside)])
        return fleet.pick_at(self._call, self._link_at(pinned).candidate)

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

    def _begin(self, attempt: Any, placement: Placement | None) -> None:
        self._number += 1
        self.was_sent = self._call._may_have_run = True
        self._running.append((attempt, placement))

    def _end(
        self, attempt: Any, session: Any, placement: Placement | None, error: BaseException | None
    ) -> None:
        """Take note of how an attempt ended, and on which connection."""
        call = self._call
        self._running.remove((attempt, placement))
        if placement is not None:
            placement.ended(error)
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
        session, placement = await self._connection(endpoint)
        try:
            attempt = cast(ClientCall, self._call)._attempt_on(session, self._number)
        except BaseException:
            # At once: an error that is kept keeps this frame, and what was placed in it.
            if placement is not None:
                placement.dropped()
            raise
        self._begin(attempt, placement)
        try:
            value = await attempt
        except BaseException as error:
            self._end(attempt, session, placement, error)
            raise
        self._end(attempt, session, placement, None)
        for other, _ in self._running:
            other._lose()
        return value

    async def attempt_batch(self, batch: BatchCall) -> list[Any]:
        """Make a whole batch in one attempt; errors stand in place of values."""
        session, placement = await self._connection(self.pick())
        try:
            values: list[Any] = await batch._attempt_on(session)
        except BaseException as error:
            if placement is not None:
                placement.ended(error)
            raise
        if placement is not None:
            placement.ended(next((each for each in values if isinstance(each, FastRPCError)), None))
        return values

    async def _connection(self, endpoint: Endpoint) -> tuple[ClientSession, Placement | None]:
        """Return a connection for the next attempt, and what the fleet is to be told of it."""
        pool, call = self._pool, self._call
        if pool.fleet is None:
            session = pool.at_once(ready=call._needs_ready)
            if session is None:
                session = await self._in_time(
                    pool.acquire(
                        wait=call._options.wait_for_ready, ready=call._needs_ready, patience=self.patience()
                    )
                )
            return session, None
        placement = self._taken(endpoint)
        pinned = None
        if placement is None:
            pinned = self._moved.get(endpoint, endpoint).address
            placement = self.place(pinned)
        session = self._session_of(placement)
        if session is not None and not pool.is_closed:
            return session, placement
        found = await self._in_time(self._wait_connection(placement, pinned))
        if pinned is None:
            self._went(endpoint, found[1])
        return found

    def _session_of(self, placement: Placement) -> ClientSession | None:
        link: Link = placement.candidate.link
        return link.usable(ready=self._call._needs_ready)

    async def _wait_connection(
        self, placement: Placement, pinned: Address | None
    ) -> tuple[ClientSession, Placement]:
        """Pick again with each change, until there is a connection where the call is to go.

        A selector of the user's own is not asked again before what it picked turned out to be out of reach.
        """
        pool, call = self._pool, self._call
        patience = self.patience()
        self._connecting.append(placement)
        try:
            while True:
                pool.check_open()
                session = self._session_of(placement)
                if session is not None:
                    return session, placement
                link: Link = placement.candidate.link
                if pinned is None:
                    pool.start()
                link.start(is_wanted=True)
                is_kept = link.may_come and self.asks_once
                if not is_kept:
                    placement.undone()
                if not call._options.wait_for_ready and not (link.may_come if pinned else pool.may_come()):
                    links = [link] if pinned else pool.links
                    if patience is None or patience.is_over(links):
                        raise pool.unreachable(links)
                await (pool.wait_changed() if pinned is None else link.wait_changed())
                if not is_kept or not link.may_come:
                    placement.undone()
                    self._connecting.remove(placement)
                    placement = self.place(pinned)
                    self._connecting.append(placement)
        except BaseException:
            # Above all the end of its time: nobody is on the way there any more.
            placement.dropped()
            raise
        finally:
            if placement in self._connecting:
                self._connecting.remove(placement)

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
