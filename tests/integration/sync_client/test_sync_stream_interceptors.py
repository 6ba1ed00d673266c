"""Interceptors of a SyncClient around streams run without a loop, in a context of their own."""

import asyncio
import contextvars
from typing import Any

import pytest

from fastrpc import Call, Proceed
from tests.support.blocking_feed import Feed, calling


@pytest.mark.parametrize("place", ["before", "behind"])
def test_an_interceptor_that_needs_a_loop_is_named(place: str) -> None:
    async def waits(call: Call, proceed: Proceed) -> Any:
        if place == "before":
            await asyncio.sleep(0)
        value = await proceed(call)
        await asyncio.sleep(0)
        return value

    with calling(Feed(), interceptors=[waits]) as client:
        with pytest.raises(RuntimeError, match=r"waits.*needs an event loop"):
            list(client.stream(Feed.count, 3))


def test_context_variables_of_an_interceptor_are_its_own() -> None:
    place: contextvars.ContextVar[str] = contextvars.ContextVar("place", default="outside")
    seen: list[str] = []

    async def sets(call: Call, proceed: Proceed) -> Any:
        place.set("inside")
        try:
            return await proceed(call)
        finally:
            seen.append(place.get())

    with calling(Feed(), interceptors=[sets]) as client:
        for _ in client.stream(Feed.count, 3):
            assert place.get() == "outside"
    assert seen == ["inside"]
