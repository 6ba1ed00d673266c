"""Servers that restart by turns while endless streams and calls continue."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fastrpc import (
    Backoff,
    Client,
    ClientConfig,
    FastRPCError,
    Server,
    StreamEndedError,
    UnavailableError,
    current_call,
    method,
    service,
)
from tests.support.served import SCHEMES, served
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

QUICK = ClientConfig(backoff=Backoff(first=0.01, longest=0.05), early_calls="all")

#: Seconds that a server gives its calls to end.
DRAIN_SECONDS = 0.1


@service("endless")
class Endless:
    @method(idempotent=True)
    async def ticks(self) -> AsyncIterator[int]:
        number = 0
        while True:
            yield number
            number += 1
            await asyncio.sleep(0.001)

    @method
    async def flood(self) -> AsyncIterator[bytes]:
        while True:
            yield bytes(1_000)

    @method
    async def echo(self, messages: AsyncIterator[int]) -> AsyncIterator[int]:
        async for message in messages:
            yield message

    @method
    async def polite(self) -> AsyncIterator[int]:
        """End once the server drains."""
        yield 1
        await current_call().draining
        yield 2

    @method
    async def once(self, number: int) -> int:
        await asyncio.sleep(0)
        return number


class Program:
    """A client that reads endless streams, opens them again when they end, and also makes calls."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.is_over = False
        self.calls = 0
        #: The number of streams of each kind that ended as expected, and the other ends.
        self.ends: Counter[str] = Counter()
        self.surprises: list[str] = []

    async def read(self, name: str) -> None:
        while not self.is_over:
            has_begun = False
            try:
                async with self.client.stream(getattr(Endless, name)) as messages:
                    async for _ in messages:
                        has_begun = True
                self.note(name, None)
            except FastRPCError as error:
                self.note(name, error, has_begun)

    async def talk(self) -> None:
        while not self.is_over:
            has_begun = False
            try:
                async with self.client.open(Endless.echo) as stream:
                    while not self.is_over:
                        await stream.send(1)
                        await stream.receive()
                        has_begun = True
            except FastRPCError as error:
                self.note("echo", error, has_begun)
                await asyncio.sleep(0)

    def note(self, name: str, error: FastRPCError | None, has_begun: bool = True) -> None:
        if name == "polite":
            expected = error is None
        elif not has_begun:
            # Never started: a stream that sends is not tried elsewhere by itself.
            expected = isinstance(error, UnavailableError) and error.processed == "no" and name == "echo"
        else:
            expected = (
                type(error) is UnavailableError
                and error.processed == "yes"
                and error.retryable is (name == "ticks")
                and error.hint == "open it again"
            )
        if expected:
            self.ends[name] += has_begun
        else:
            self.surprises.append(f"{name}, {has_begun}: {error!r} {error and error.processed}")

    async def call(self, number: int) -> None:
        while not self.is_over:
            assert await self.client.call(Endless.once, number) == number
            self.calls += 1
            await asyncio.sleep(0)


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_rolling_restarts_fail_no_call_and_end_streams_clearly(scheme: str, scale: Any) -> None:
    async with contextlib.AsyncExitStack() as stack:
        targets = [await stack.enter_async_context(served(Endless, scheme=scheme)) for _ in range(2)]
        servers = [target.server for target in targets]
        client = await stack.enter_async_context(Client(list(targets), config=QUICK))
        await client.ready(timeout=10)
        program = Program(client)
        async with asyncio.TaskGroup() as group:
            for name in ("ticks", "flood", "polite"):
                for _ in range(10):
                    group.create_task(program.read(name))
            for number in range(5):
                group.create_task(program.talk())
                group.create_task(program.call(number))
            try:
                await restart_in_turn(stack, servers, targets, program, scale(2))
            finally:
                program.is_over = True
                for server in servers:
                    await server.drain(DRAIN_SECONDS)
    assert program.surprises == []
    assert all(program.ends[name] for name in ("ticks", "flood", "echo", "polite"))


async def restart_in_turn(
    stack: contextlib.AsyncExitStack,
    servers: list[Server],
    targets: list[Any],
    program: Program,
    restarts: int,
) -> None:
    for number in range(restarts):
        index = number % 2
        enough = program.calls + 200
        assert not await servers[index].drain(DRAIN_SECONDS)
        servers[index] = await stack.enter_async_context(Server(Endless))
        await servers[index].listen(targets[index])
        await eventually(lambda: len(program.client._pool.connections) == 2)
        await eventually(lambda: program.calls > enough)  # noqa: B023 - awaited at once


async def test_streams_that_a_drain_ended_are_no_fault_of_their_endpoint() -> None:
    async with served(Endless, scheme="tcp") as other, served(Endless, scheme="tcp") as target:
        async with Client([target, other], config=QUICK) as client:
            view = client.with_options(endpoint=target)
            streams = [view.stream(Endless.ticks) for _ in range(50)]
            for stream in streams:
                await stream.receive()
            await target.server.drain(0)
            for stream in streams:
                with pytest.raises(UnavailableError, match=r"Timeouts\.drain"):
                    while True:
                        await stream.receive()
            async with Server(Endless) as restarted:
                await restarted.listen(target)
                # The breaker of the endpoint holds nothing back.
                assert await view.with_options(wait_for_ready=True).call(Endless.once, 1) == 1


async def test_stream_of_a_server_that_drains_raises_the_same_each_time() -> None:
    async with served(Endless, scheme="tcp") as target, Client(target) as client:
        stream = client.open(Endless.echo)
        await stream.send(1)
        assert await stream.receive() == 1
        await target.server.drain(0)
        for act in (stream.receive, stream.receive_many, lambda: stream.send(2), lambda: anext(stream)):
            with pytest.raises(UnavailableError) as ended:
                await act()
            assert not isinstance(ended.value, StreamEndedError)
            assert (ended.value.processed, ended.value.retryable) == ("yes", False)
            assert "Timeouts.drain" in str(ended.value)
