"""The calls of a batch, of either client: their answers in order, and the errors among them."""

import asyncio
from typing import Any

import pytest

from fastrpc import CallError, EncodeError, method, service
from tests.support.either_client import CLIENTS, either, nowhere


@service("desk")
class Desk:
    def __init__(self) -> None:
        self.seen: list[int] = []

    @method
    async def half(self, number: int) -> int:
        self.seen.append(number)
        # The later ones end first.
        await asyncio.sleep(0)
        if number % 2:
            raise ValueError("it is odd")
        return number // 2


@pytest.mark.parametrize("kind", CLIENTS)
async def test_answers_stand_in_the_order_of_the_calls(kind: str) -> None:
    async with either(kind, Desk()) as client:
        assert await client.call_many(Desk.half, [(2 * n,) for n in range(50)]) == list(range(50))
        assert await client.call_many(Desk.half, []) == []


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_batch_returns_errors_in_place_of_answers_if_requested(kind: str) -> None:
    async with either(kind, Desk()) as client:
        first, second, third = await client.call_many(Desk.half, [(4,), (5,), (6,)], return_exceptions=True)
        assert (first, third) == (2, 3)
        assert isinstance(second, CallError)


@pytest.mark.parametrize("kind", CLIENTS)
async def test_the_first_error_is_raised_once_all_calls_have_ended(kind: str) -> None:
    desk = Desk()
    async with either(kind, desk) as client:
        with pytest.raises(CallError):
            await client.call_many(Desk.half, [(4,), (5,), (6,), (7,)])
        assert sorted(desk.seen) == [4, 5, 6, 7]


@pytest.mark.parametrize("kind", CLIENTS)
async def test_an_argument_that_cannot_be_encoded_sends_no_call(kind: str) -> None:
    desk = Desk()
    wrong: Any = object()
    async with either(kind, desk) as client:
        with pytest.raises(EncodeError):
            await client.call_many(Desk.half, [(4,), (wrong,)])
        assert await client.call(Desk.half, 8) == 4
    assert desk.seen == [8]


async def test_a_batch_knows_its_calls() -> None:
    async with nowhere("async") as client:
        head = client.call_many(Desk.half, [(4,), (6,)])
        assert (head._batch.size, head._batch.returns_errors) == (2, False)
        head.close()
