"""`Limits.longest_call`: the server ends calls by itself, even if their callers would wait longer."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

import fastrpc
from fastrpc import Client, DeadlineExceededError, Limits, ServerConfig
from tests.support.either_client import CLIENTS, either
from tests.support.kept_connection import KeptConnection, gate_for
from tests.support.served import served

pytestmark = pytest.mark.one_loop

#: Long enough for a handler to begin where the machine stalls.
LONGEST = 0.5
CONFIG = ServerConfig(limits=Limits(longest_call=LONGEST))


@fastrpc.service("slow")
class Slow:
    def __init__(self) -> None:
        self.seen: list[float | None] = []

    def note(self) -> None:
        self.seen.append(fastrpc.current_call().remaining())

    @fastrpc.method
    async def wait(self) -> None:
        self.note()
        await asyncio.Event().wait()

    @fastrpc.method(timeout=30)
    async def capped(self) -> None:
        self.note()

    @fastrpc.method(timeout=60)
    async def generous(self) -> None:
        self.note()

    @fastrpc.method
    async def blocking(self) -> float | None:
        return fastrpc.current_call().remaining()

    @fastrpc.method
    async def list(self) -> AsyncIterator[int]:
        self.note()
        yield 1
        await asyncio.Event().wait()

    @fastrpc.method
    async def total(self, numbers: AsyncIterator[int]) -> int:
        self.note()
        return sum([number async for number in numbers])


@pytest.mark.parametrize("timeout", [None, 60, 0.4])
@pytest.mark.parametrize("kind", CLIENTS)
async def test_call_ends_at_the_earlier_of_both(kind: str, timeout: float | None) -> None:
    slow = Slow()
    async with either(kind, slow, server_config=CONFIG) as client:
        with pytest.raises(DeadlineExceededError):
            await client.with_options(timeout=timeout).call(Slow.wait)
        assert slow.seen[0] is not None
        assert slow.seen[0] <= (timeout if timeout == 0.4 else LONGEST)


@pytest.mark.parametrize(("method", "longest"), [("slow.capped", 30), ("slow.generous", 50)])
async def test_method_caps_further_but_not_less(method: str, longest: float) -> None:
    slow = Slow()
    async with gate_for(slow, config=ServerConfig(limits=Limits(longest_call=50))) as gate:
        KeptConnection(gate).call(method, timeout=90)
        assert slow.seen[0] is not None
        assert longest - 10 < slow.seen[0] <= longest


@pytest.mark.parametrize("kind", CLIENTS)
async def test_streams_end_too(kind: str) -> None:
    slow = Slow()
    async with either(kind, slow, server_config=CONFIG) as client:
        async with client.with_options(timeout=None).stream("slow.list") as stream:
            assert await stream.receive() == 1
            with pytest.raises(DeadlineExceededError):
                await stream.receive()
        assert slow.seen[0] is not None


async def test_built_in_streams_continue() -> None:
    async with served(Slow(), config=CONFIG) as target, Client(target) as client:
        async with client.stream("fastrpc.health.watch", "") as stream:
            assert await stream.receive() == "SERVING"
            with pytest.raises(DeadlineExceededError):
                await client.with_options(timeout=None).call(Slow.wait)
            assert await client.call("fastrpc.health.check", "") == "SERVING"
            target.server.set_serving(False)
            assert await stream.receive() == "NOT_SERVING"


async def test_without_longest_call_a_patient_caller_has_no_limit() -> None:
    slow = Slow()
    async with gate_for(slow) as gate:
        call: Any = KeptConnection(gate).call("slow.wait", timeout=float("inf"))
        assert slow.seen == [None]
        gate.cancel_call(call)


@pytest.mark.parametrize("seconds", [0, -1, "1", True, float("nan"), float("inf")])
def test_only_a_time_above_zero_is_accepted(seconds: Any) -> None:
    with pytest.raises(fastrpc.ConfigError, match="Limits.longest_call is"):
        Limits(longest_call=seconds)
