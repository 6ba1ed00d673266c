"""Nothing is said not to have been processed that the server gets after all."""

import asyncio
import gc

import pytest

from fastrpc import Client, DeadlineExceededError, method, service
from fastrpc._core.client_session import ClientSession
from tests.support.served import served


@service("ledger")
class Ledger:
    def __init__(self) -> None:
        self.started: list[int] = []

    @method
    async def note(self, number: int) -> int:
        self.started.append(number)
        return number


async def test_an_overdue_request_that_is_written_may_still_run() -> None:
    ledger = Ledger()
    async with served(ledger) as target, Client(target) as client:
        await client.call(Ledger.note, 0)
        [session] = [found for found in gc.get_objects() if isinstance(found, ClientSession) and found.transport]
        session.pause_writing()
        with pytest.raises(DeadlineExceededError) as caught:
            await client.with_options(timeout=0.03).call(Ledger.note, 1)
        session.resume_writing()
        while len(ledger.started) < 2:
            await asyncio.sleep(0.001)

        assert caught.value.processed == "unknown"
