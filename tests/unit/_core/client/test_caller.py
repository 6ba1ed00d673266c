"""Calls of a client at once, whose head is an AwaitedCall."""

from typing import Any

import pytest

from fastrpc import method, service
from fastrpc._core.client.awaited_call import AwaitedCall
from fastrpc._core.client.caller import AwaitedBatch
from tests.support.either_client import CLIENTS, either, nowhere


@service("desk")
class Desk:
    @method
    async def mul(self, left: int, right: int = 2) -> int:
        return left * right


async def test_the_head_stands_for_its_calls() -> None:
    async with nowhere("async") as client:
        head = client.with_options(hash_key="red").call_many(Desk.mul, [(3, 4), (5,)], return_exceptions=True)
        assert isinstance(head, AwaitedCall)
        assert head.arguments == (3, 4)
        assert head.hash_key == "red"
        batch = head._batch
        assert isinstance(batch, AwaitedBatch)
        assert (batch.size, batch.returns_errors, batch.packed()) == (2, True, [])
        single = batch.single(head, 1)
        assert (single.arguments, single.hash_key, single.method) == ((5,), "red", "desk.mul")
        with pytest.raises(IndexError, match="no call 2"):
            batch.single(head, 2)
        with pytest.raises(RuntimeError, match="are missing, or were collected"):
            batch.collect(head)
        other = client.call(Desk.mul, 1)
        with pytest.raises(ValueError, match="does not stand for this batch"):
            batch.single(other, 0)
        other.close()
        single.close()
        head.close()


class Slow:
    def __init__(self) -> None:
        self.deadlines: list[Any] = []

    async def __call__(self, call: Any, proceed: Any) -> Any:
        self.deadlines.append(call.deadline)
        return await proceed(call)


@pytest.mark.parametrize("kind", CLIENTS)
async def test_calls_of_a_batch_share_one_deadline_inside_interceptors(kind: str) -> None:
    slow = Slow()
    async with either(kind, Desk(), interceptors=[slow]) as client:
        view = client.with_options(timeout=30)
        assert await view.call_many(Desk.mul, [(n,) for n in range(20)]) == [2 * n for n in range(20)]
    assert len(slow.deadlines) == 20
    if kind == "sync":
        # Its calls are made one after the other: each has at most the time of the batch.
        assert len(set(slow.deadlines)) == 1
