"""Where the attempts of one call go."""

import asyncio
import functools
from types import SimpleNamespace
from typing import Any, cast

from fastrpc import ClientConfig
from fastrpc._core.balancing.endpoint_set import EndpointSet
from fastrpc.client.attempting import Attempting
from fastrpc.endpoint import Endpoint
from fastrpc.selectors import selector_for
from tests.support.waiting import eventually


class Connecting:
    """A pool whose endpoints are dialled again after a failure; `started` is where attempts are on the way to."""

    def __init__(self, *addresses: str) -> None:
        self.endpoint_set = EndpointSet(selector_for("consistent_hash"))
        self.endpoint_set.update([Endpoint(address) for address in addresses])
        self.started: list[Endpoint] = []
        self.is_closed = False
        self.config = ClientConfig()
        self.waiting: list[asyncio.Future[None]] = []
        for endpoint_state in self.endpoint_set.endpoint_states:
            start = functools.partial(self._note, endpoint_state.endpoint)
            endpoint_state.subchannel = SimpleNamespace(
                usable=lambda *, ready: None, start=start, may_come=True, is_expected=False
            )

    def check_open(self) -> None: ...

    def _note(self, endpoint: Endpoint, *, is_wanted: bool = False) -> None:
        assert is_wanted
        self.started.append(endpoint)

    def start(self) -> None: ...

    def call_for(self, subchannel: object) -> None: ...

    @property
    def connections(self) -> list[Any]:
        return []

    def ready_among(self, endpoint_states: object) -> set[Any]:
        return set()

    @property
    def subchannels(self) -> list[Any]:
        return [each.subchannel for each in self.endpoint_set.endpoint_states]

    def are_unreachable(self, subchannels: list[Any], patience: object) -> bool:
        return False

    async def wait_changed(self, priority: int = 0) -> None:
        self.waiting.append(asyncio.get_running_loop().create_future())
        await self.waiting[-1]

    def change(self) -> None:
        waiting, self.waiting = self.waiting, []
        for waiter in waiting:
            waiter.set_result(None)


def attempts_of(pool: Connecting) -> Attempting:
    call = SimpleNamespace(
        method="arith.mul",
        hash_key="key",
        _needs_ready=False,
        remaining=lambda: None,
        _options=SimpleNamespace(endpoint=None, prefer=None, wait_for_ready=False, priority=0),
    )
    return Attempting(cast(Any, pool), cast(Any, call), None)


async def ended(*attempts: "asyncio.Future[Any]") -> None:
    for attempt in attempts:
        attempt.cancel()
    await asyncio.gather(*attempts, return_exceptions=True)


async def test_concurrent_attempts_use_different_endpoints_when_they_pick_again() -> None:
    pool = Connecting("memory://a", "memory://b", "memory://c")
    attempts = attempts_of(pool)
    tasks = []
    for count in (1, 2):
        tasks.append(asyncio.ensure_future(attempts.attempt(attempts.pick())))
        await eventually(lambda: len(pool.waiting) == count)  # noqa: B023 - awaited at once
    first, hedge = pool.started
    pool.change()
    await eventually(lambda: len(pool.waiting) == 2)
    assert pool.started == [first, hedge, first, hedge]
    await ended(*tasks)


async def test_hedge_goes_elsewhere_than_an_attempt_that_still_connects() -> None:
    pool = Connecting("memory://a", "memory://b")
    attempts = attempts_of(pool)
    first = attempts.pick()
    attempt = asyncio.ensure_future(attempts.attempt(first))
    await eventually(lambda: pool.waiting)
    assert attempts.pick() != first
    await ended(attempt)
    # It is over, and held nothing against its endpoint.
    assert attempts.pick() == first


async def test_a_pick_is_known_by_its_address_after_the_record_has_changed() -> None:
    pool = Connecting("memory://a", "memory://b")
    attempts = attempts_of(pool)
    picked = attempts.pick()
    pool.endpoint_set.update([Endpoint(address, weight=5) for address in ("memory://a", "memory://b")])
    pick = attempts._taken(picked)
    assert pick is not None
    assert pick.endpoint.address == picked.address
    pick.dropped()
