"""Every kind of call at once, with cancellations and deadlines at random: no answer is another call's."""

import asyncio
import random
from typing import Any

import pytest

import fastrpc
from fastrpc import CallError, Client, FastRPCError, Status, current_call
from fastrpc.compressors.base import compressor_numbers
from tests.support.served import SCHEMES, served
from tests.support.waiting import eventually

SIZES = (0, 10, 1_000, 16_000, 17_000, 70_000, 300_000)
SHARES = (6, 10, 10, 3, 3, 2, 1)
COMPRESSORS = [None, *(known.name for known in compressor_numbers().values())]


@fastrpc.service("mixed")
class Mixed:
    """Each handler answers with the number of its call in front of its argument."""

    @fastrpc.method
    async def turns(self, number: int, data: bytes, turns: int) -> bytes:
        for _ in range(turns):
            await asyncio.sleep(0)
        current_call().reply_metadata["number"] = str(number)
        return number.to_bytes(8, "little") + data

    @fastrpc.method
    async def later(self, number: int, data: bytes, turns: int) -> bytes:
        await asyncio.sleep(turns / 1_000)
        return number.to_bytes(8, "little") + data

    @fastrpc.method
    def thread(self, number: int, data: bytes, turns: int) -> bytes:
        return number.to_bytes(8, "little") + data

    @fastrpc.method(inline=True)
    def inline(self, number: int, data: bytes, turns: int) -> bytes:
        if turns == 5:
            raise CallError(Status.ABORTED, str(number), details=number)
        return number.to_bytes(8, "little") + data


class Traffic:
    """Makes random calls and keeps the failures."""

    def __init__(self, client: Client, seed: int) -> None:
        self.client = client
        self.chance = random.Random(seed)
        self.wrong: list[Any] = []
        self.answered = 0

    def view(self) -> Client:
        """Return the client with random options."""
        chance, options = self.chance, dict[str, Any]()
        if chance.random() < 0.3:
            options["compressor"] = chance.choice(COMPRESSORS)
        if chance.random() < 0.2:
            options["timeout"] = chance.choice((0.001, 0.003, 0.01, 0.05))
        if chance.random() < 0.2:
            options["codec"] = chance.choice(("msgpack", "json"))
        if chance.random() < 0.2:
            options["metadata"] = {"key": "v" * chance.randrange(2_000)}
        return self.client.with_options(**options)

    async def call(self, number: int) -> None:
        """Make one call, or a batch, in some way; compare the result."""
        chance, view = self.chance, self.view()
        method = chance.choice((Mixed.turns, Mixed.later, Mixed.thread, Mixed.inline))
        data = bytes([number & 255]) * chance.choices(SIZES, SHARES)[0]
        arguments = (number, data, chance.randrange(7))
        expected = number.to_bytes(8, "little") + data
        answers: list[bytes | FastRPCError]
        match chance.choice(("call", "call", "request", "call_many", "notify")):
            case "call":
                answers = [await view.call(method, *arguments)]
            case "request":
                answers = [(await view.request(method, *arguments)).value]
            case "call_many":
                answers = await view.call_many(method, [arguments] * 3, return_exceptions=True)
            case _:
                await view.notify(method, *arguments)
                answers = []
        self.answered += len(answers)
        self.wrong += [number for answer in answers if isinstance(answer, bytes) and answer != expected]

    async def attempt(self, number: int) -> None:
        """Make one call and perhaps cancel it; look at how it ended."""
        task = asyncio.ensure_future(self.call(number))
        if self.chance.random() < 0.25:
            for _ in range(self.chance.randrange(12)):
                await asyncio.sleep(0)
            task.cancel()
        try:
            await task
        except CallError as error:
            if error.status is not Status.ABORTED or error.details != number:
                self.wrong.append(error)
        except (fastrpc.DeadlineExceededError, fastrpc.OverloadedError, asyncio.CancelledError):
            # While calls expire before they start, those with little time left are refused.
            pass


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("seed", [1, 2])
async def test_mixed_calls_never_cross_and_leak_nothing(scheme: str, seed: int, scale: Any) -> None:
    count = scale(400)
    async with served(Mixed, scheme=scheme) as target, Client(target) as client:
        await client.ready()
        (session,) = client._pool.connections
        traffic = Traffic(client, seed)
        for start in range(0, count, 100):
            await asyncio.gather(*(traffic.attempt(start + n) for n in range(100)))
        assert traffic.wrong == []
        assert traffic.answered > count // 4
        for side in (client, target.server):
            await eventually(lambda side=side: not side.stats()["buffered"])  # type: ignore[misc]
        await eventually(
            lambda: not client.stats()["live"]["calls"] and not client.stats()["live"]["waiting"]
        )
        await eventually(lambda: not target.server.stats()["live"]["calls"])
        assert client._pool.connections == [session]
        # The remaining timers are the checks of the two connections.
        assert session.loop_state.live_timers <= 2
