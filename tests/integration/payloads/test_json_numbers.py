"""Codec "json" and numbers that JSON has not: they fail at the side that sends them, and never arrive as None."""

import logging
import math
from typing import Any

import pytest

import fastrpc
from fastrpc import CallError, EncodeError, Server, Status
from tests.support.either_client import CLIENTS
from tests.support.guarded import calling

pytestmark = pytest.mark.one_loop


@fastrpc.service("numbers")
class Numbers:
    @fastrpc.method
    async def take(self, one: float | None, more: list[float | None] | None = None) -> str:
        return repr((one, more))

    @fastrpc.method
    async def give(self, text: str) -> float | None:
        return None if text == "none" else float(text)


BAD: list[tuple[Any, ...]] = [(math.nan,), (-math.inf,), (None, [None, math.inf])]


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize("method", [Numbers.take, "numbers.take"])
async def test_an_argument_fails_at_the_caller(kind: str, method: Any) -> None:
    async with Server(Numbers()) as server:
        target = str(await server.listen("tcp://127.0.0.1:0"))
        async with calling(kind, target) as client:
            view = client.with_options(codec="json")
            for arguments in BAD:
                with pytest.raises(EncodeError, match="NaN and infinity are not numbers of JSON"):
                    await view.call(method, *arguments)
            assert await view.call(method, None, [None, 0.5]) == "(None, [None, 0.5])"
            # msgpack has these numbers.
            assert await client.call(method, math.inf, [-math.inf]) == "(inf, [-inf])"


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_result_fails_at_the_server(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    async with Server(Numbers()) as server:
        target = str(await server.listen("tcp://127.0.0.1:0"))
        async with calling(kind, target) as client:
            view = client.with_options(codec="json")
            with caplog.at_level(logging.ERROR), pytest.raises(CallError) as caught:
                await view.call(Numbers.give, "nan")
            assert caught.value.status is Status.INTERNAL
            assert "NaN and infinity are not numbers of JSON" in caplog.text
            assert await view.call(Numbers.give, "none") is None
            assert await client.call(Numbers.give, "inf") == math.inf
