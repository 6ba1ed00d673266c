"""The attempts of one call: where each goes, and what is learned from how it ends."""

import asyncio
from collections.abc import Awaitable
from typing import Any, cast

from fastrpc._core.caller import BatchCall, ClientCall
from fastrpc._core.client_session import ClientSession
from fastrpc._core.fleet import Placement
from fastrpc.client.pool import Link, Pool
from fastrpc.endpoint import Address, Endpoint
from fastrpc.errors import DeadlineExceededError, FastRPCError, NoEndpointError, UnavailableError

__all__ = ["Attempting", "name_call"]


class Attempting:
    """What a fail mode is given to make the attempts of one call with.

    Args:
        made: the error of an attempt that was made before any fail mode was asked.
    """

    def __init__(self, pool: Pool, call: ClientCall | BatchCall, made: FastRPCError | None) -> None:
        self._pool = pool
        self._call = call
        self._made = made
        #: Whether any attempt went out.
        self.was_sent = made is not None
        self._number = 0 if made is None else 1
        self._may_have_run = made is not None and made.processed != "no"
        self._tried: list[Endpoint] = []
        self._placements: list[Placement] = []
        self._running: list[ClientCall] = []
        self._under_way: list[Placement] = []

    @property
    def waits_for_list(self) -> bool:
        """Whether nothing can be picked yet."""
        return not self._pool.has_list or (not self._pool.links and self._call.caller.wait_for_ready)

    async def wait_list(self) -> None:
        """Return once it is known who serves."""
        call = self._call
        await self._in_time(self._pool.wait_list(call.method, wait=call.caller.wait_for_ready))

    def pick(self) -> Endpoint:
        """Return where the next attempt goes."""
        if self._made is not None:
            return cast(Endpoint, self._call.endpoint)
        pinned: Address | None = self._call.caller.endpoint
        if self._pool.fleet is None or pinned is not None:
            return self._link_at(pinned).endpoint
        # A hedge goes elsewhere than what it runs beside.
        beside = [placement.endpoint for placement in self._under_way]
        placement = self._pool.fleet.pick(self._call, [*self._tried, *beside])
        self._placements.append(placement)
        return placement.endpoint

    def _link_at(self, address: Address | None) -> Link:
        link = self._pool.links[0] if address is None else self._pool.link_at(address)
        if link is None:
            raise NoEndpointError(
                f"{self._call.method}: {address} is none of the endpoints of {self._pool.target}"
            )
        return link

    async def attempt(self, endpoint: Endpoint) -> Any:
        """Make one attempt."""
        if self._made is not None:
            return self._fail_again(endpoint)
        call = cast(ClientCall, self._call)
        session, placement = await self._connection(endpoint)
        attempt = call.attempt_on(session, self._number)
        self._number += 1
        self.was_sent = call.may_have_run = True
        self._running.append(attempt)
        if placement is not None:
            self._under_way.append(placement)
        try:
            value = await attempt
        except BaseException as error:
            self._running.remove(attempt)
            self._note(call, attempt, placement, session, error)
            raise
        self._running.remove(attempt)
        if placement is not None:
            self._under_way.remove(placement)
            placement.concluded()
        call.adopt(attempt)
        for other in self._running:
            other.lose()
        return value

    def _fail_again(self, endpoint: Endpoint) -> None:
        """Let the fail mode judge the attempt that was made before."""
        self._tried.append(endpoint)
        made, self._made = self._made, None
        try:
            raise cast(FastRPCError, made)
        finally:
            # The error holds this frame by its traceback; the frame must not hold the error.
            del made

    def _note(
        self,
        call: ClientCall,
        attempt: ClientCall,
        placement: Placement | None,
        session: ClientSession,
        error: BaseException,
    ) -> None:
        if placement is not None:
            self._under_way.remove(placement)
            placement.concluded(error)
        if isinstance(error, FastRPCError):
            self._may_have_run = self._may_have_run or error.processed != "no"
            call.may_have_run = self._may_have_run or bool(self._running)
            call.adopt(attempt)
            self._tried.append(session.endpoint)

    async def attempt_batch(self, batch: BatchCall) -> list[Any]:
        """Make a whole batch in one attempt; errors stand in place of values."""
        session, placement = await self._connection(self.pick())
        try:
            values = await batch.attempt_on(session)
        except BaseException as error:
            if placement is not None:
                placement.concluded(error)
            raise
        if placement is not None:
            placement.concluded(next((each for each in values if isinstance(each, FastRPCError)), None))
        return values

    async def _connection(self, endpoint: Endpoint) -> tuple[ClientSession, Placement | None]:
        """Return a connection for the next attempt, and what the fleet is to be told of it."""
        pool, call = self._pool, self._call
        if pool.fleet is None:
            session = pool.at_once(ready=call.needs_ready)
            if session is None:
                session = await self._in_time(
                    pool.acquire(wait=call.caller.wait_for_ready, ready=call.needs_ready)
                )
            return session, None
        placement = self._taken(endpoint)
        pinned = endpoint.address if placement is None else None
        if placement is None:
            placement = self._place_at(endpoint.address)
        session = self._session_of(placement)
        if session is not None and not pool.is_closed:
            return session, placement
        placement.dropped()
        return await self._in_time(self._wait_connection(placement, pinned))

    def _taken(self, endpoint: Endpoint) -> Placement | None:
        """Return the placement that was picked for an endpoint; None for one that nobody picked."""
        for placement in self._placements:
            if placement.endpoint is endpoint:
                self._placements.remove(placement)
                return placement
        return None

    def _place_at(self, address: Address) -> Placement:
        fleet, candidate = self._pool.fleet, self._link_at(address).candidate
        assert fleet is not None
        assert candidate is not None
        return fleet.pick_at(self._call, candidate)

    def _session_of(self, placement: Placement) -> ClientSession | None:
        link: Link = placement.candidate.link
        return link.usable(ready=self._call.needs_ready)

    async def _wait_connection(
        self, placement: Placement, pinned: Address | None
    ) -> tuple[ClientSession, Placement]:
        """Pick again with each change, until there is a connection where the call is to go."""
        pool, call = self._pool, self._call
        fleet = pool.fleet
        assert fleet is not None
        while True:
            pool.check_open()
            session = self._session_of(placement)
            if session is not None:
                return session, placement
            placement.dropped()
            link: Link = placement.candidate.link
            pool.start()
            link.start()
            if not call.caller.wait_for_ready and not (link.may_come if pinned else pool.may_come()):
                raise pool.unreachable([link] if pinned else pool.links)
            await pool.wait_changed()
            placement = fleet.pick(call, self._tried) if pinned is None else self._place_at(pinned)

    async def _in_time(self, waiting: Awaitable[Any]) -> Any:
        """Wait within the call's deadline."""
        call = self._call
        try:
            async with asyncio.timeout(call.remaining()):
                return await waiting
        except TimeoutError as timeout:
            raise DeadlineExceededError(
                f"{call.method}: no connection within {call.seconds:.3g} s; {self._pool.tried()}",
                processed="no",
            ) from timeout
        except UnavailableError as unavailable:
            name_call(call.method, unavailable)
            raise


def name_call(method: str, error: UnavailableError) -> None:
    """Let a message begin with the method that it is about."""
    if not error.message.startswith(f"{method}: "):
        error.message = f"{method}: {error.message}"
        error.args = (error.message,)
