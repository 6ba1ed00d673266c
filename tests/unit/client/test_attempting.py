"""Where the attempts of one call go."""

import asyncio
import contextlib
from types import SimpleNamespace
from typing import Any, cast

from fastrpc._core.fleet import Fleet
from fastrpc.client.attempting import Attempting
from fastrpc.endpoint import Endpoint
from fastrpc.selectors import selector_for


async def test_hedge_goes_elsewhere_than_an_attempt_that_still_connects() -> None:
    fleet = Fleet(selector_for("consistent_hash"))
    fleet.update([Endpoint("memory://a"), Endpoint("memory://b")])
    waits = asyncio.Event()

    async def wait_changed() -> None:
        waits.set()
        await asyncio.Event().wait()

    for candidate in fleet.candidates:
        candidate.link = SimpleNamespace(usable=lambda *, ready: None, start=lambda: None, may_come=True)
    pool = SimpleNamespace(
        fleet=fleet,
        is_closed=False,
        check_open=lambda: None,
        start=lambda: None,
        may_come=lambda: True,
        wait_changed=wait_changed,
    )
    call = SimpleNamespace(
        method="arith.mul",
        hash_key="key",
        needs_ready=False,
        remaining=lambda: None,
        caller=SimpleNamespace(endpoint=None, wait_for_ready=False),
    )
    attempts = Attempting(cast(Any, pool), cast(Any, call), None)
    first = attempts.pick()
    attempt = asyncio.ensure_future(attempts.attempt(first))
    await waits.wait()
    assert attempts.pick() != first
    attempt.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await attempt
    # It is over, and held nothing against its endpoint.
    assert attempts.pick() == first
