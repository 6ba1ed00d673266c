"""Nothing is said not to have been processed that the server gets after all."""

import asyncio
import contextlib
import gc
from typing import Any

import pytest

from fastrpc import Call, Client, DeadlineExceededError, FastRPCError, Proceed, method, service
from fastrpc._core.client.client_connection import ClientConnection
from tests.support.served import served


@service("ledger")
class Ledger:
    def __init__(self) -> None:
        self.started: list[int] = []

    @method
    async def note(self, number: int) -> int:
        self.started.append(number)
        return number


async def test_an_overdue_request_that_was_written_may_still_run() -> None:
    ledger = Ledger()
    async with served(ledger) as target, Client(target) as client:
        await client.call(Ledger.note, 0)
        [session] = [
            found for found in gc.get_objects() if isinstance(found, ClientConnection) and found.transport
        ]
        session.stream.pause_writing()
        with pytest.raises(DeadlineExceededError) as caught:
            await client.with_options(timeout=0.03).call(Ledger.note, 1)
        session.stream.resume_writing()
        while len(ledger.started) < 2:
            await asyncio.sleep(0.001)

        assert caught.value.processed == "unknown"


async def test_calls_that_an_interceptor_starts_after_the_drain_are_not_reported_as_unprocessed() -> None:
    entered = asyncio.Event()

    async def stubborn(call: Call, proceed: Proceed) -> Any:
        entered.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return await proceed(call)

    ledger = Ledger()
    async with served(ledger, interceptors=[stubborn]) as target, Client(target) as client:
        call = asyncio.create_task(client.call(Ledger.note, 1))
        await entered.wait()
        await target.server.drain(timeout=0.01)
        with pytest.raises(FastRPCError) as caught:
            await call

    assert ledger.started == [1]
    assert caught.value.processed != "no"
