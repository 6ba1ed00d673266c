"""An interceptor that answers first and proceeds afterwards."""

import asyncio
from typing import Any

import pytest

from fastrpc import Call, Proceed
from fastrpc.testing import connected
from tests.support.arith import Arith


@pytest.mark.parametrize("method", ["arith.mul", "arith.add", "arith.sub"])
async def test_proceeding_after_the_answer_is_an_error(method: str) -> None:
    refreshing: list[asyncio.Task[Any]] = []

    async def answer_from_a_cache(call: Call, proceed: Proceed) -> Any:
        async def refresh() -> Any:
            return await proceed(call)

        refreshing.append(asyncio.create_task(refresh()))
        return 41

    arith = Arith()
    async with connected(arith, interceptors=[answer_from_a_cache]) as client:
        assert await client.call(method, 6, 7) == 41
        with pytest.raises(RuntimeError, match=f"{method} ended before"):
            await refreshing[0]
    assert arith.ran == 0
