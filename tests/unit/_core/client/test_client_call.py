"""A call of ours: interceptors, fail modes and selectors see the same state of it with either client."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from fastrpc import method, service
from fastrpc._core.client.awaited_call import AwaitedCall
from fastrpc._core.client.batch_call import BatchMember
from fastrpc._core.client.blocking_call import BlockingCall
from fastrpc._core.client.client_call import ClientCall
from fastrpc.failmodes.base import RetryPolicy
from tests.support.either_client import CLIENTS, either


@service("desk")
class Desk:
    @method
    async def mul(self, left: int, right: int = 2) -> int:
        return left * right

    @method
    async def count(self, most: int) -> AsyncIterator[int]:
        for number in range(most):
            yield number


def shown(call: Any) -> dict[str, Any]:
    return {
        "arguments": call.arguments,
        "attempt": call.attempt,
        "cancelled": call.cancelled,
        "endpoint": call.endpoint,
        "identity": call.identity,
        "is_idempotent": call.is_idempotent,
        "inside_retry": call.inside_retry,
        "kind": call.kind,
        "metadata": dict(call.metadata),
        "method": call.method,
        "policy": type(call.retry_policy),
        "priority": call.priority,
        "side": call.side,
        "status": call.status,
        "remaining": 0 < call.remaining() <= 30,
    }


class Watch:
    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.before: list[dict[str, Any]] = []

    async def __call__(self, call: Any, proceed: Any) -> Any:
        self.calls.append(call)
        self.before.append(shown(call))
        return await proceed(call)


@pytest.mark.parametrize("streams", [False, True])
async def test_interceptors_see_the_same_of_a_call_by_either_client(streams: bool) -> None:
    seen = []
    for kind in CLIENTS:
        watch = Watch()
        async with either(kind, Desk(), interceptors=[watch]) as client:
            view = client.with_options(metadata={"tenant": "acme"}, priority=2, idempotent=True, timeout=30)
            if streams:
                async with view.stream(Desk.count, most=3) as numbers:
                    assert [number async for number in numbers] == [0, 1, 2]
            else:
                assert await view.call(Desk.mul, 3, right=5) == 15
        assert all(isinstance(call, ClientCall) for call in watch.calls)
        assert [call.status for call in watch.calls] == [0]
        assert watch.calls[0].endpoint is not None
        seen.append(watch.before)
    assert seen[0] == seen[1]
    assert seen[0][0]["arguments"] == ((3,) if streams else (3, 5))
    assert seen[0][0]["policy"] is RetryPolicy


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize("verb", ["wrap_sent", "wrap_received"])
async def test_a_unary_call_has_no_messages_to_wrap(kind: str, verb: str) -> None:
    async def wrap(call: Any, proceed: Any) -> Any:
        getattr(call, verb)(lambda message: message)
        return await proceed(call)

    async with either(kind, Desk(), interceptors=[wrap]) as client:
        with pytest.raises(RuntimeError, match=r"desk\.mul has no messages to wrap: it is unary"):
            await client.call(Desk.mul, 3)


@pytest.mark.parametrize("kind", [AwaitedCall, BlockingCall, BatchMember])
def test_a_call_fits_the_largest_block_of_pythons_own_allocator(kind: type) -> None:
    collector_head = 16
    assert kind.__basicsize__ + collector_head <= 512
