"""Retries of a day take the test of a program a moment, and come in the same order each time."""

import time
from typing import Any

import pytest

import fastrpc
from fastrpc import Backoff, Message, Topic
from fastrpc.testing import FakeClock, broker, connected

pytestmark = pytest.mark.one_loop

NUMBERS = Topic("numbers", int)
DAY = 86_400.0


async def order_of_retries() -> list[tuple[int, int]]:
    """Return number and delivery of each start, of 20 messages that fail ten times each, at pauses up to a day."""
    seen: list[tuple[int, int]] = []

    @fastrpc.service("retried")
    class Retried:
        @fastrpc.subscriber(
            NUMBERS, deliveries=None, backoff=Backoff(first=0.5, factor=5, longest=DAY, jitter=0)
        )
        async def number(self, message: Message[int]) -> None:
            seen.append((message.value, message.delivery))
            if message.delivery <= 10:
                raise ValueError("again")

    async with broker(FakeClock()) as steered, connected(Retried(), broker=steered):
        for number in range(20):
            await steered.publish(NUMBERS, number, delay=number * 7)
        await steered.advance(4 * DAY)
        state: Any = (await steered.groups())[0]
        assert state.lag == 0
    return seen


async def test_retries_come_in_the_same_order_each_time(caplog: pytest.LogCaptureFixture) -> None:
    # Each failure is logged with its traceback.
    caplog.set_level("CRITICAL", "fastrpc.server")
    first = await order_of_retries()
    assert len(first) == 220
    for _ in range(19):
        assert await order_of_retries() == first


@pytest.mark.measures
async def test_two_hundred_retries_take_less_than_a_second_of_processor_time() -> None:
    began = time.process_time()
    await order_of_retries()
    assert time.process_time() - began < 1.0
